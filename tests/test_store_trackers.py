"""Other trackers stay usable: `logging.report_to` reaches transformers, beside our own log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Recorder, tiny_trainer
from transformers import TrainerCallback
from transformers.integrations import integration_utils

LOGGED: list[dict[str, Any]] = []


class NotebookTracker(TrainerCallback):
    """A tracker as transformers knows them: it keeps what it is told."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        LOGGED.append({"run": args.run_name, "step": state.global_step} | logs)


@pytest.fixture(autouse=True)
def known_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "notebook", NotebookTracker)
    LOGGED.clear()


def test_a_tracker_that_is_named_hears_what_the_store_does(tmp_path: Path) -> None:
    recorder = Recorder()
    logging = {"report_to": ["notebook"]}
    trainer = tiny_trainer(tmp_path, recorder, steps=2, name="heard", logging=logging)
    trainer.train()
    steps = [entry for entry in LOGGED if "reward" in entry]
    assert [(e["run"], e["step"]) for e in steps] == [("heard", 1), ("heard", 2)]
    stored = [n for _, split, n in recorder.numbers if split == "train" and "reward" in n]
    assert [e["reward"] for e in steps] == pytest.approx([n["reward"] for n in stored])
    assert len(recorder.batches) == 2


def test_nobody_else_hears_anything_unless_named(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, Recorder(), steps=1).train()
    assert LOGGED == []


def test_a_tracker_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nosuch"):
        tiny_trainer(tmp_path, Recorder(), steps=1, logging={"report_to": ["nosuch"]})
