"""watch: TRL's own trainers, logged and left as they are."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny_models import tiny_model, tiny_tokenizer
from tiny_runs import EXAMPLES, low_words, short
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from workbench import Workbench, watch
from workbench.runs.rundir import LauncherError

TRAINERS = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}
STEPS, ROWS, SIZE = 3, 8, 4


def make(kind: str, folder: Path, **settings: Any) -> Any:
    """What a user's script has: TRL's trainer with two reward functions of her own."""
    trainer, config = TRAINERS[kind]
    args = config(
        output_dir=str(folder), per_device_train_batch_size=ROWS, num_generations=SIZE,
        max_completion_length=6, max_steps=STEPS, learning_rate=0.01, seed=3, logging_steps=1,
        report_to="none", use_cpu=True, save_strategy="no", disable_tqdm=True,
        reward_weights=[0.25, 0.75], beta=0.0, **settings,
    )  # fmt: skip
    rows = [{"prompt": e.prompt, "kind": e.kind} for e in EXAMPLES]
    torch.manual_seed(0)
    return trainer(
        model=tiny_model(), reward_funcs=[short, low_words], args=args,
        train_dataset=Dataset.from_list(rows), processing_class=tiny_tokenizer(),
    )  # fmt: skip


@pytest.mark.parametrize("kind", TRAINERS)
def test_training_is_the_same_to_the_bit_and_every_row_is_in_the_store(kind, tmp_path):
    plain = make(kind, tmp_path / "plain")
    seen: list[tuple[list[str], list[float], list[list[float]]]] = []

    class Spy:
        """What TRL itself keeps of its newest batch."""

        def __init__(self, trainer: Any) -> None:
            inner = trainer._generate_and_score_completions

            def spied(inputs: Any) -> Any:
                output = inner(inputs)
                logs = trainer._logs
                rewards = [list(values)[-ROWS:] for values in logs["rewards"].values()]
                newest = list(logs["completion"])[-ROWS:], list(logs["advantages"])[-ROWS:]
                seen.append((*newest, rewards))
                return output

            trainer._generate_and_score_completions = spied

    Spy(plain)
    plain.train()
    watched = make(kind, tmp_path / "watched")
    watcher = watch(watched, tmp_path / "runs", "mine")
    watched.train()
    for a, b in zip(plain.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(a, b)

    wb = Workbench(tmp_path / "runs")
    runs = wb.runs()
    assert list(runs["name"]) == ["mine"] and list(runs["status"]) == ["finished"]
    assert runs["run_id"].iloc[0] == watcher.run_id
    rows = wb.rollouts("mine", split="train").sort_values(["step", "group_id", "sample"])
    assert len(rows) == STEPS * ROWS
    for step, (completions, advantages, rewards) in enumerate(seen):
        part = rows[rows["step"] == step]
        assert list(part["completion"]) == completions
        assert np.allclose(part["advantage"], advantages, atol=1e-7)
        for name, values in zip(("short", "low_words"), rewards, strict=True):
            logged = [dict(r)[name] for r in part["rewards"]]
            given = [np.nan if v is None else v for v in values]
            assert np.allclose(logged, given, atol=1e-6, equal_nan=True)
        assert dict(part["weights"].iloc[0]) == {"short": 0.25, "low_words": 0.75}
        assert part.groupby("group_id")["prompt"].nunique().eq(1).all()
    assert set(rows["kind"]) == {"even", "odd"}
    assert {"loss", "reward"} <= set(wb.sql("SELECT DISTINCT name FROM metrics")["name"])


def test_what_if_and_diagnostics_read_a_watched_run(tmp_path):
    trainer = make("grpo", tmp_path)
    watch(trainer, tmp_path / "runs", "mine")
    trainer.train()
    wb = Workbench(tmp_path / "runs")
    asked = wb.whatif("mine", weights={"short": 1.0, "low_words": 0.0})
    assert len(asked.rows.advantages) == STEPS * ROWS
    assert len(wb.groups("mine")) == STEPS * ROWS // SIZE


def test_a_store_that_fails_never_stops_the_training(tmp_path):
    trainer = make("grpo", tmp_path)
    watcher = watch(trainer, tmp_path / "runs", "mine")

    def broken(*_: Any) -> None:
        raise OSError("no space left on device")

    watcher.writer.rollouts = broken
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.train()
    assert trainer.state.global_step == STEPS
    ours = [str(w.message) for w in told if "watch:" in str(w.message)]
    assert len(ours) == 1 and "no space left on device" in ours[0]


def test_a_training_that_raises_leaves_a_failed_run(tmp_path):
    def raises(**_: Any) -> list[float]:
        raise KeyError("answer")

    trainer = make("grpo", tmp_path)
    trainer.reward_funcs[0] = raises
    watch(trainer, tmp_path / "runs", "mine")
    with pytest.raises(KeyError, match="answer"):
        trainer.train()
    run = Workbench(tmp_path / "runs").runs().iloc[0]
    assert run["status"] == "failed" and "answer" in run["message"]


def test_a_stop_ends_the_training_and_never_the_process(tmp_path, monkeypatch):
    """However long ago the script said something, it is running; killing is not tried."""
    monkeypatch.setattr("workbench.runs.status.STARTING_GRACE", 0.0)
    monkeypatch.setattr("workbench.runs.stopping.PATIENCE", 0.3)
    trainer = make("grpo", tmp_path)
    watch(trainer, tmp_path / "runs", "mine")
    wb = Workbench(tmp_path / "runs")
    seen: list[str] = []

    class Stop(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            seen.append(wb.state("mine")["status"])
            if state.global_step == 1:
                seen.extend(wb.launcher.stop_phases("mine", now=True))

    trainer.add_callback(Stop())
    trainer.train()
    assert set(seen[:2]) <= {"starting", "running"} and "is left alone" in seen[2]
    assert trainer.state.global_step == 2
    assert wb.state("mine")["status"] == "stopped"
    with pytest.raises(LauncherError):
        wb.resume("mine")


def test_wrong_trainers_and_taken_names_are_refused(tmp_path):
    with pytest.raises(TypeError, match="not dict"):
        watch({}, tmp_path)
    watch(make("grpo", tmp_path), tmp_path / "runs", "mine")
    with pytest.raises(ValueError, match="'mine'"):
        watch(make("grpo", tmp_path), tmp_path / "runs", "mine")
