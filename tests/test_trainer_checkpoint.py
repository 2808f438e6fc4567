"""Stopping and resuming: the same numbers as a run that ran through, and nothing is unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_runs import EXAMPLES, Recorder, tiny_trainer
from transformers import TrainerCallback

from workbench.train import checkpoint as checkpoints
from workbench.train.monitor import RunMonitor
from workbench.train.rollout import RolloutGenerator

CONDUCTOR = {"name": "conductor", "update_every": 2, "learning_rate": 0.05}
ANCHORED = {
    "name": "conductor",
    "meta_reward": "anchor",
    "anchor": {"source": "judge", "fraction": 0.3, "noise": 0.1},
}


class SaveAt(TrainerCallback):
    """Checkpoints after given steps; stops after the last of them where asked."""

    def __init__(self, *steps: int, stop: bool = False) -> None:
        self.steps, self.stop = steps, stop

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save = state.global_step in self.steps
        if self.stop and state.global_step == self.steps[-1]:
            control.should_training_stop = True


def run(
    tmp_path: Path, where: str, callback: Any = None, resume: Path | None = None, **changes: Any
) -> tuple[Any, Recorder]:
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, recorder, steps=6, **changes)
    trainer.checkpoint_dir = tmp_path / where
    if callback is not None:
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer, recorder


@pytest.mark.parametrize(
    "changes",
    [
        {"scalarizer": CONDUCTOR, "reward_scaling": "running"},
        {
            "scalarizer": ANCHORED,
            "grpo": {"beta": 0.1, "kl_in_reward": True, "lr_scheduler_type": "cosine"},
        },
        {
            # one generation serves two updates of two micro-batches: the checkpoint at step 3
            # falls between them, and the buffered batch must come back
            "scalarizer": CONDUCTOR,
            "grpo": {"num_iterations": 2, "gradient_accumulation_steps": 2},
        },
    ],
    ids=["conductor", "anchored", "buffered"],
)
def test_a_resumed_run_equals_one_that_ran_through(tmp_path: Path, changes: dict[str, Any]) -> None:
    through, whole = run(tmp_path, "through", **changes)
    _, first = run(tmp_path, "stopped", SaveAt(3, stop=True), **changes)
    saved = tmp_path / "stopped" / "step-000003"
    torch.rand(7), np.random.rand(7)  # the process that resumes has another past
    resumed, rest = run(tmp_path, "stopped", resume=saved, **changes)
    batches = [*first.batches, *rest.batches]
    assert [b.step for b in batches] == [b.step for b in whole.batches]
    for ours, theirs in zip(batches, whole.batches, strict=True):
        assert list(ours.completions) == list(theirs.completions)
        np.testing.assert_array_equal(ours.advantages, theirs.advantages)
        np.testing.assert_array_equal(ours.weights, theirs.weights)
    state, expected = resumed.weighing.state(), through.weighing.state()
    assert state.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(state[name], expected[name])
    for name, tensor in through.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor)
    assert resumed.counters == through.counters


def test_a_synced_reference_comes_back(tmp_path: Path) -> None:
    grpo = {"beta": 0.1, "kl_in_reward": True, "reference_sync_every": 2}
    changes = {"grpo": grpo, "scalarizer": {"name": "static"}}

    def with_sync(callback: SaveAt, resume: Path | None = None) -> Recorder:
        recorder = Recorder()
        trainer = tiny_trainer(tmp_path, recorder, steps=6, **changes)
        trainer.add_callback(callback)
        trainer.add_callback(monitor_of(trainer))
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        return recorder

    whole = with_sync(SaveAt(3))
    resumed = with_sync(SaveAt(7), tmp_path / "checkpoints" / "step-000003")
    np.testing.assert_array_equal(resumed.batches[0].kl, whole.batches[3].kl)
    np.testing.assert_array_equal(resumed.batches[-1].advantages, whole.batches[-1].advantages)
    # a sync after the second update makes the third batch's reference the policy itself
    np.testing.assert_allclose(whole.batches[2].kl, 0.0, atol=1e-6)
    assert whole.batches[1].kl.mean() > 1e-6


def monitor_of(trainer: Any, probes: tuple = (), judge: Any = None) -> RunMonitor:
    roller = RolloutGenerator(
        trainer.model,
        trainer.processing_class,
        trainer.eos_token_ids,
        trainer.rewards,
        trainer.weighing,
        trainer.reference,
        judge,
        "",
        None,
        16,
        {},
    )
    return RunMonitor(trainer, roller, probes, lambda: None, lambda text: None)


def test_probes_do_not_change_the_training_and_are_judged_apart(tmp_path: Path) -> None:
    judged: list[str] = []

    def judge(example: Any, completion: str) -> float:
        judged.append(example.prompt_id)
        return 0.5

    def batches(*probes: Any) -> Recorder:
        recorder = Recorder()
        changes = {"scalarizer": CONDUCTOR, "probe": {"every": 2, "num_generations": 2}}
        trainer = tiny_trainer(tmp_path, recorder, steps=3, **changes)
        trainer.add_callback(monitor_of(trainer, probes, judge))
        trainer.train()
        assert trainer.counters.anchor_calls == 0
        return recorder

    without, with_probes = batches(), batches(*EXAMPLES[:3])
    training = [b for b in with_probes.batches if b.split == "train"]
    for ours, theirs in zip(training, without.batches, strict=True):
        np.testing.assert_array_equal(ours.advantages, theirs.advantages)
        np.testing.assert_array_equal(ours.policy, theirs.policy)
    probes = [b for b in with_probes.batches if b.split == "probe"]
    assert [b.step for b in probes] == [0, 2, 3]  # before training, every second, the last
    assert all(list(b.prompt_ids) == ["p0", "p0", "p1", "p1", "p2", "p2"] for b in probes)
    np.testing.assert_allclose(probes[0].weights, 0.5)  # W = b = 0: the distribution is flat
    assert probes[-1].actions is None and len(judged) == 18
    states = [s for s in with_probes.states if "headline" in s]
    assert states[-1]["headline"] == 0.5 and states[-1]["step"] == 3


def test_checkpoints_hold_safetensors_and_json_alone(tmp_path: Path) -> None:
    run(tmp_path, "saved", SaveAt(2, stop=True), scalarizer=CONDUCTOR)
    saved = tmp_path / "saved" / "step-000002"
    for file in saved.iterdir():
        if file.suffix == ".safetensors":
            with safe_open(file, "np") as tensors:
                assert list(tensors.keys())
        else:
            assert file.suffix == ".json", file.name
            json.loads(file.read_text())
    assert checkpoints.read_trainer(saved)["step"] == 2
    assert set(checkpoints.load_conductor(saved)) >= {"weight", "bias", "log_temperature"}


def test_retention_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    scores = {1: 0.2, 2: 0.9, 3: 0.3, 4: 0.4, 5: None, 6: 0.5}

    class Scored(SaveAt):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            trainer.headline = scores[state.global_step]
            control.should_save = True

    recorder = Recorder()
    trainer = tiny_trainer(
        tmp_path, recorder, steps=6, logging={"checkpoint_every": 0, "keep_checkpoints": 2}
    )
    trainer.add_callback(Scored())
    trainer.train()
    kept = checkpoints.list_checkpoints(tmp_path / "checkpoints")
    assert [checkpoints.step_of(p) for p in kept] == [2, 5, 6]
    removed = [step for step, _, values in recorder.saved if values.get("removed")]
    assert removed == [1, 3, 4]
    assert [s for s, _, v in recorder.saved if v.get("score") == 0.9] == [2]


def test_an_unfinished_checkpoint_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".step-000004").mkdir()
    (tmp_path / "step-000005").mkdir()  # no trainer.json
    assert checkpoints.list_checkpoints(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="not a checkpoint"):
        checkpoints.read_trainer(tmp_path / "step-000005")


def test_a_disk_that_refuses_once_costs_one_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = checkpoints.save

    def refusing(trainer: Any) -> Any:
        if trainer.state.global_step < 3:
            raise OSError(28, "No space left on device")
        return save(trainer)

    monkeypatch.setattr(checkpoints, "save", refusing)
    _, recorder = run(tmp_path, "saved", SaveAt(2, 3, stop=True))
    assert [w[:2] for w in recorder.warnings] == [(2, "checkpoint")]
    assert "No space left" in recorder.warnings[0][2]
    assert [step for step, *_ in recorder.saved] == [3]
    with pytest.raises(OSError, match="No space"):
        run(tmp_path, "lost", SaveAt(1, stop=True))  # the last chance is not passed over
