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
from transformers.trainer_pt_utils import safe_globals

from workbench.runs.checkpoints import (
    damage_of,
    find,
    list_checkpoints,
    newest_whole,
    read_trainer,
    step_of,
)
from workbench.train import checkpoint as checkpoints
from workbench.train.monitor import RunMonitor
from workbench.train.rewards import ObjectiveReward
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
        trainer.rendering,
        trainer.eos_token_ids,
        trainer.rewards,
        trainer.weighing,
        trainer.reference,
        judge and ObjectiveReward.trusted(judge, "task.judge"),
        "",
        16,
        trainer.memory.judge_calls,
        trainer.state,
    )
    return RunMonitor(trainer, roller, probes, lambda: None, lambda text: None)


def test_probes_do_not_change_the_training_and_are_judged_apart(tmp_path: Path) -> None:
    judged: list[str] = []

    def judge(completions: Any, prompt_id: Any, **columns: Any) -> list[float]:
        judged.extend(prompt_id)
        return [0.5] * len(completions)

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


def test_checkpoints_hold_nothing_that_could_run(tmp_path: Path) -> None:
    run(tmp_path, "saved", SaveAt(2, stop=True), scalarizer=CONDUCTOR)
    saved = tmp_path / "saved" / "step-000002"
    for file in saved.iterdir():
        if file.suffix == ".safetensors":
            with safe_open(file, "np") as tensors:
                assert list(tensors.keys())
        elif file.suffix in (".pt", ".pth"):  # transformers' own, read with weights_only
            with safe_globals():
                assert torch.load(file, weights_only=True)
        else:
            assert file.suffix in (".json", ".jinja"), file.name
            json.loads(file.read_text())
    assert read_trainer(saved)["step"] == 2
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
    kept = list_checkpoints(tmp_path / "checkpoints")
    assert [step_of(p) for p in kept] == [2, 5, 6]
    removed = [step for step, _, values in recorder.saved if values.get("removed")]
    assert removed == [1, 3, 4]
    assert [s for s, _, v in recorder.saved if v.get("score") == 0.9] == [2]


def test_an_unfinished_checkpoint_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".step-000004").mkdir()
    (tmp_path / "step-000005").mkdir()  # no trainer.json
    assert list_checkpoints(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="not a checkpoint"):
        read_trainer(tmp_path / "step-000005")


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


def test_a_checkpoint_is_visible_only_after_every_row_that_it_covers(tmp_path: Path) -> None:
    seen: list[tuple[int, list[int]]] = []

    class Slow(Recorder):
        def flush(self) -> bool:
            there = [step_of(p) for p in list_checkpoints(tmp_path / "checkpoints")]
            seen.append((len(self.batches), there))
            return len(seen) < 3

    recorder = Slow()
    trainer = tiny_trainer(tmp_path, recorder, steps=3)
    trainer.add_callback(SaveAt(1, 2, 3))
    with pytest.raises(OSError, match="the rows before it could not be written"):
        trainer.train()  # the last one must be written, so its failure ends the run
    # flushed with the rows of the steps before in hand, and before its own name is there
    assert seen == [(1, []), (2, [1]), (3, [1, 2])]
    assert [step_of(p) for p in list_checkpoints(tmp_path / "checkpoints")] == [1, 2]


def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path: Path) -> None:
    run(tmp_path, "saved", SaveAt(1, 2, 3))
    saved = tmp_path / "saved"
    one, two, three = list_checkpoints(saved)[:3]
    assert newest_whole(saved) == (list_checkpoints(saved)[-1], [])
    for path in list_checkpoints(saved)[3:]:
        (path / "trainer.json").unlink()
    flipped = bytearray((three / "optimizer.pt").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (three / "optimizer.pt").write_bytes(flipped)
    (two / "model.safetensors").unlink()
    assert newest_whole(saved) == (
        one,
        [(three, "optimizer.pt is damaged"), (two, "model.safetensors is missing")],
    )
    (one / "trainer.json").write_text("{")
    assert damage_of(one) == "trainer.json is damaged" and newest_whole(saved)[0] is None


def test_one_resolver_knows_best_last_and_steps(tmp_path: Path) -> None:
    for step, score in ((5, 0.2), (10, 0.9), (15, None)):
        path = tmp_path / "checkpoints" / f"step-{step:06d}"
        path.mkdir(parents=True)
        (path / "trainer.json").write_text(json.dumps({"score": score}))
    found = {name: find(tmp_path, name) for name in ("base", "last", "best", "5", 10)}
    steps = {name: path and step_of(path) for name, path in found.items()}
    assert steps == {"base": None, "last": 15, "best": 10, "5": 5, 10: 10}
    with pytest.raises(FileNotFoundError, match="no checkpoint '7' in .*; there are: 5, 10, 15"):
        find(tmp_path, 7)


def test_what_the_watching_decides_by_goes_with_the_checkpoint(tmp_path: Path) -> None:
    first, recorder = run(tmp_path, "saved", SaveAt(2, stop=True))
    first.memory.add({"audit_error": 0.0, "judge": 1.0, "weight/short": 0.5})
    first.memory.told, first.memory.judge_calls = {"collapse"}, {"probe": 12}
    path = checkpoints.save(first)
    other = tiny_trainer(tmp_path / "other", Recorder(), steps=6)
    calls = other.memory.judge_calls
    other.memory.load(read_trainer(path)["memory"])
    assert other.memory.history == [{"audit_error": 0.0}] and other.memory.told == {"collapse"}
    assert calls == {"probe": 12}  # the same dict that the roller counts in
