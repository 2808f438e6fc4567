"""The scoring pass as the training pass: the same gradients as TRL's own forward, once less run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Recorder, tiny_trainer

from workbench.train.maestro import MaestroTrainer
from workbench.train.shared_pass import has_dropout

CONDUCTOR = {"name": "conductor", "update_every": 2, "learning_rate": 0.05}


class Forwards:
    """Counts the forwards of a whole batch that run with gradients."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.count = 0
        model.register_forward_pre_hook(self._seen)

    def _seen(self, module: torch.nn.Module, args: Any) -> None:
        self.count += torch.is_grad_enabled()


def after(tmp_path: Path, monkeypatch: Any, apart: bool, **changes: Any) -> tuple[Any, Any, int]:
    """Parameters after three steps, the rows that trained them, and forwards with gradients."""
    with monkeypatch.context() as patch:
        if apart:
            patch.setattr(MaestroTrainer, "shares_pass", False)
        recorder = Recorder()
        trainer = tiny_trainer(tmp_path, recorder, scalarizer=CONDUCTOR, steps=3, **changes)
        forwards = Forwards(trainer.model)
        trainer.train()
    parameters = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    return parameters, recorder.batches, forwards.count


@pytest.mark.parametrize(
    "changes",
    [{}, {"grpo": {"beta": 0.05}}, {"aggregation": "normalize_then_sum"}],
    ids=["grpo", "kl", "gdpo"],
)
def test_a_shared_pass_trains_as_two_passes_do(
    tmp_path: Path, monkeypatch: Any, changes: dict[str, Any]
) -> None:
    one, rows, once = after(tmp_path / "one", monkeypatch, apart=False, **changes)
    two, same, twice = after(tmp_path / "two", monkeypatch, apart=True, **changes)
    assert (once, twice) == (3, 3)  # one forward with gradients a step, the scoring pass or TRL's
    for left, right in zip(rows, same, strict=True):
        assert list(left.completions) == list(right.completions)
        assert left.rewards == pytest.approx(right.rewards, abs=1e-5, nan_ok=True)
        assert left.advantages == pytest.approx(right.advantages, abs=1e-3)
    # Adam divides by the gradient's size, so float32 rounding shows where a gradient is nearly 0
    moved = (one - two).abs()
    assert float(moved.max()) < 2e-3 and float(moved.mean()) < 2e-5


def test_passes_stay_apart_where_a_generation_is_used_twice_or_in_parts(tmp_path: Path) -> None:
    for name, grpo in (
        ("iterations", {"num_iterations": 2}),
        ("parts", {"gradient_accumulation_steps": 2}),
    ):
        trainer = tiny_trainer(tmp_path / name, Recorder(), grpo=grpo, steps=2)
        assert not trainer.shares_pass
        trainer.train()
    assert tiny_trainer(tmp_path / "plain", Recorder(), steps=1).shares_pass


def test_dropout_is_found_in_layers_and_in_the_configuration(tmp_path: Path) -> None:
    model = tiny_trainer(tmp_path, Recorder(), steps=1).model
    assert not has_dropout(model)
    model.config.attention_dropout = 0.1
    assert has_dropout(model)
    model.config.attention_dropout = 0.0
    model.add_module("extra", torch.nn.Dropout(0.2))
    assert has_dropout(model)
