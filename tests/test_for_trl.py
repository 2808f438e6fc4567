"""A script written for TRL becomes a MAESTRO run by changing two names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from tiny_models import save_tiny, tiny_model, tiny_tokenizer
from tiny_runs import EXAMPLES, low_words, short
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from workbench import MaestroConfig, MaestroTrainer, Workbench
from workbench.config.io import ConfigError

ROWS = [{"prompt": e.prompt, "kind": e.kind, "mark": f"m{i}"} for i, e in enumerate(EXAMPLES)]
SETTINGS: dict[str, Any] = {
    "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 6,
    "max_steps": 3, "learning_rate": 0.01, "seed": 3, "report_to": "none", "use_cpu": True,
    "save_strategy": "no", "bf16": False, "lr_scheduler_type": "constant",
}  # fmt: skip


def script(trainer: Any, config: Any, folder: Path, **more: Any) -> Any:
    """The shape of TRL's own example scripts; ``trainer`` and ``config`` are the two names."""
    args = config(output_dir=str(folder / "out"), **{**SETTINGS, **more.pop("args", {})})
    made = trainer(
        model=more.pop("model", None) or tiny_model(),
        reward_funcs=[short, low_words],
        args=args,
        train_dataset=Dataset.from_list(ROWS),
        processing_class=tiny_tokenizer(),
        **more,
    )
    made.train()
    return made


def ours(folder: Path, **more: Any) -> Any:
    where = {"runs_dir": str(folder / "runs"), "run_name": "mine", **more.pop("args", {})}
    return script(MaestroTrainer, MaestroConfig, folder, args=where, **more)


def test_two_names_changed(tmp_path):
    script(GRPOTrainer, GRPOConfig, tmp_path)
    trainer = ours(tmp_path)
    wb = Workbench(tmp_path / "runs")
    run = wb.runs().iloc[0]
    assert (run["name"], run["status"], run["step"]) == ("mine", "finished", 3)
    assert run["run_id"] == trainer.run_id and run["scalarizer"] == "conductor"
    rows = wb.rollouts("mine", split="train")
    assert len(rows) == 3 * 8 and set(rows["kind"]) == {"even", "odd"}
    weights = np.array([list(dict(w).values()) for w in rows["weights"]])
    assert np.allclose(weights.sum(axis=1), 1) and len(wb.conductor("mine")) == 1
    assert "trl" in trainer._tag_names and trainer.state.global_step == 3


def test_static_weights_are_trls_own_training(tmp_path):
    """With constant weights the policy moves as TRL moves it, up to the order of prompts."""
    trainer = ours(tmp_path, args={"scalarizer": "static", "reward_weights": [1.0, 3.0]})
    rows = Workbench(tmp_path / "runs").rollouts("mine", split="train")
    assert dict(rows["weights"].iloc[0]) == {"short": 0.25, "low_words": 0.75}
    assert trainer.config.scalarizer.weights == {"short": 1.0, "low_words": 3.0}


def test_an_adapter_callbacks_a_judge_and_held_out_prompts(tmp_path):
    seen: list[int] = []
    judged: list[int] = []

    class Count(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            seen.append(state.global_step)

    def judge(prompts: Any, completions: Any, **_: Any) -> list[float]:
        judged.append(len(completions))
        return [float("w1" in c) for c in completions]

    anchored = {"name": "conductor", "meta_reward": "anchor", "head": "kernel",
                "anchor": {"source": "judge", "fraction": 0.5}}  # fmt: skip
    trainer = ours(
        tmp_path,
        model=str(save_tiny(tmp_path / "model")),
        peft_config=LoraConfig(r=2, target_modules="all-linear"),
        callbacks=[Count()],
        eval_dataset=Dataset.from_list([{"prompt": "w5 w6 w7"}, {"prompt": "w8 w9"}]),
        judge=judge,
        args={"scalarizer": anchored, "probe_every": 2},
    )
    wb = Workbench(tmp_path / "runs")
    assert seen == [1, 2, 3] and sum(judged) > 0
    assert set(wb.rollouts("mine", split="probe")["prompt"]) == {"w5 w6 w7", "w8 w9"}
    assert any("lora" in name for name, _ in trainer.model.named_parameters())
    assert wb.rollouts("mine", split="train")["judge"].notna().any()


def test_every_column_reaches_the_reward_functions(tmp_path):
    got: list[list[str]] = []

    def marked(prompts: Any, completions: Any, mark: list[str], **_: Any) -> list[float]:
        got.append(mark)
        return [float(len(c)) for c in completions]

    args = MaestroConfig(output_dir=str(tmp_path), runs_dir=str(tmp_path / "runs"), **SETTINGS)
    MaestroTrainer(
        tiny_model(), marked, args, Dataset.from_list(ROWS), processing_class=tiny_tokenizer()
    ).train()
    assert len(got) == 3 and all(set(m) <= {r["mark"] for r in ROWS} for m in got)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"steps_per_generation": 2}, "steps_per_generation"),
        ({"per_device_train_batch_size": 6}, "groups of 4|divisible by"),
        ({"scalarizer": "no-such"}, "no-such"),
        ({"scalarizer": {"name": "conductor", "emphasis": 7}}, "emphasis.*7"),
        ({"reward_weights": [1.0, 2.0]}, "the scalarizer chooses"),
        ({"bounds": {"shrt": [0, 1]}}, "'shrt'.*the rewards are"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path, args, said):
    with pytest.raises((ValueError, ConfigError), match=said):
        ours(tmp_path, args=args)


def test_a_reward_that_raises_leaves_a_failed_run(tmp_path):
    def raises(**_: Any) -> list[float]:
        raise KeyError("answer")

    args = MaestroConfig(
        output_dir=str(tmp_path), runs_dir=str(tmp_path / "runs"), run_name="mine", **SETTINGS
    )
    trainer = MaestroTrainer(
        tiny_model(), [raises], args, Dataset.from_list(ROWS), processing_class=tiny_tokenizer()
    )
    with pytest.raises(RuntimeError, match="answer"):
        trainer.train()
    state = Workbench(tmp_path / "runs").state("mine")
    assert state["status"] == "failed" and "answer" in state["message"]


def test_training_is_reproducible(tmp_path):
    first, second = ours(tmp_path / "a"), ours(tmp_path / "b")
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
