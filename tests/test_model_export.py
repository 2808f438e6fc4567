"""A checkpoint as a model folder: what others need is in it, what only resuming needs is not."""

import json

import pytest
from pages_world import make_world

from workbench.api.model_export import card
from workbench.api.workbench import Workbench
from workbench.runs.checkpoints import UnknownCheckpointError
from workbench.store.writer import RunWriter

FILES = ("config.json", "model.safetensors", "tokenizer.json", "conductor.safetensors")
OWN = ("optimizer.safetensors", "random.safetensors", "trainer.json", "trainer_state.json")


@pytest.fixture
def wb(tmp_path) -> Workbench:
    wb = Workbench(make_world(tmp_path / "runs", steps=4))
    run_dir = wb.launcher.path("maestro")
    with RunWriter(run_dir) as writer:
        for step, score in ((2, 0.7), (4, 0.6)):
            folder = run_dir / "checkpoints" / f"step-{step:06d}"
            folder.mkdir(parents=True)
            for name in (*FILES, *OWN):
                (folder / name).write_text(f"{name} of {step}")
            (folder / "trainer.json").write_text(json.dumps({"score": score}))
            (folder / "link").symlink_to("/etc/passwd")
            writer.checkpoint(step, folder, {"score": score})
    return wb


def test_the_best_checkpoint_is_the_one_exported(wb):
    folder = wb.export_model("maestro")
    assert folder == wb.runs_dir / "exports" / f"{wb.resolve('maestro')}-step-2"
    assert sorted(p.name for p in folder.iterdir()) == sorted([*FILES, "README.md"])
    assert (folder / "model.safetensors").read_text() == "model.safetensors of 2"


def test_the_card_says_what_it_is(wb):
    text = (wb.export_model("maestro", "last") / "README.md").read_text()
    outcome = wb.outcome("maestro")
    assert text.startswith("# maestro, step 4\n")
    assert f"| all | {outcome['judge_before']:.3f} | {outcome['judge_after']:.3f} |" in text
    assert "scalarizer:\n" in text


def test_a_second_export_replaces_the_first(wb):
    folder = wb.export_model("maestro", 4)
    (folder / "stale").touch()
    assert wb.export_model("maestro", 4) == folder
    assert not (folder / "stale").exists()
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_a_run_that_takes_the_name_of_another_does_not_take_its_exports(wb):
    first = wb.export_model("maestro", 4)
    run = wb.rename("maestro", "old")
    wb.rename("equal", "maestro")
    other = wb.launcher.path("maestro") / "checkpoints" / "step-000004"
    other.mkdir(parents=True)
    (other / "model.safetensors").write_text("of the other")
    (other / "trainer.json").write_text('{"score": 1.0}')
    with RunWriter(other.parent.parent) as writer:
        writer.checkpoint(4, other, {"score": 1.0})
    second = wb.export_model("maestro", 4)
    assert second != first == wb.runs_dir / "exports" / f"{run}-step-4"
    assert (first / "model.safetensors").read_text() == "model.safetensors of 4"


@pytest.mark.parametrize("wanted", ["../4", "-1", "first", "base"])
def test_what_names_no_checkpoint_is_refused(wb, wanted):
    with pytest.raises(ValueError, match="allowed are best, last or a step"):
        wb.export_model("maestro", wanted)


def test_a_step_without_a_checkpoint_is_refused(wb):
    with pytest.raises(UnknownCheckpointError, match="no checkpoint '3' .* there are: 2, 4"):
        wb.export_model("maestro", 3)


def test_a_run_without_checkpoints_says_so(wb):
    with pytest.raises(UnknownCheckpointError, match="there are: none"):
        wb.export_model("equal")


def test_a_kind_cannot_leave_its_cell():
    outcome = {
        "run_id": "r", "name": "n", "rollouts": 1, "judge_before": None, "judge_after": 0.5,
        "weights": {"format": 1.0},
        "per_family": {
            "a|b\n<img>": {"judge_before": None, "judge_after": 0.5, "weights": {"format": 1.0}}
        },
    }  # fmt: skip
    assert "| a/b (img> | – | 0.500 | 1.000 |" in card(outcome, 1, "seed: 0\n")
