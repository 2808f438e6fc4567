"""Faults of rewards, models and prompts under the real trainer; each test is a row of the table."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from fault_table import note
from test_store_faults import HOSTILE
from test_train_child import _signals_and_environment, made, rows  # noqa: F401

from workbench.config import TaskConfig
from workbench.runs.launcher import Launcher
from workbench.runs.rundir import read_process
from workbench.store.reader import Store
from workbench.store.state import read_state, write_state
from workbench.tasks import load_task
from workbench.train import child

QUIET = {"evaluation": {"prompts": 0}, "probe": {"prompts": 0}}
PLAIN = {"name": "short", "function": "tiny_runs:short", "lower": -1.0, "upper": 0.0}
EVERY_TOKEN = range(40)
slow = pytest.mark.slow


def objective(fault: str) -> list[dict[str, Any]]:
    bounds = {"lower": 0.0, "upper": 1.0}
    function = f"test_fault_training:{fault}"
    return [PLAIN, {"name": "own", "function": function, **bounds}]


CALLS = {"count": 0}


def _second_call() -> bool:
    CALLS["count"] += 1
    return CALLS["count"] > 1


def hangs(prompts, completions, completion_ids, **columns):  # type: ignore[no-untyped-def]
    while _second_call():
        time.sleep(600)
    return [0.5] * len(prompts)


def raises(prompts, completions, completion_ids, **columns):  # type: ignore[no-untyped-def]
    if _second_call():
        raise KeyError("no such word")
    return [0.5] * len(prompts)


def wrong_length(prompts, completions, completion_ids, **columns):  # type: ignore[no-untyped-def]
    return [0.5] * (len(prompts) - _second_call())


def infinity(prompts, completions, completion_ids, **columns):  # type: ignore[no-untyped-def]
    return [math.inf if _second_call() else 0.5, *[0.5] * (len(prompts) - 1)]


def steps_of(run_dir: Path) -> set[int]:
    return {r["step"] for r in rows(run_dir, "rollouts") if r["split"] == "train"}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param("raises", "reward raises", marks=slow),
        ("wrong_length", "reward returns the wrong length"),
        pytest.param("infinity", "reward returns infinity", marks=slow),
    ],
)
def test_a_reward_that_misbehaves_ends_the_run_by_name(
    tmp_path: Path, fault: str, words: str
) -> None:
    CALLS["count"] = 0
    run_dir = made(tmp_path, objectives=objective(fault), **QUIET)
    assert child.main([str(run_dir)]) == 1
    state = read_state(run_dir)
    message = str(state["message"])
    assert state["status"] == "failed" and "'own'" in message and steps_of(run_dir) == {0}
    shown = message.partition("  prompt:")[0]
    note(words, f"failed: {shown}", "every step before it; no value is ever replaced by 0")


@slow
def test_a_reward_that_hangs_can_be_stopped(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    tests = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{tests.parent}:{tests}")
    run_dir = made(tmp_path, objectives=objective("hangs"), **QUIET)
    write_state(run_dir, status="stopped")
    runs = Launcher(run_dir.parent)
    runs.resume("tiny")
    try:
        deadline = time.monotonic() + 200
        while not rows(run_dir, "rollouts") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert steps_of(run_dir) == {0} and runs.get("tiny").status == "running"
        said = list(runs.stop_phases("tiny", seconds=1.0))
    finally:
        record = read_process(run_dir)
        if record:
            try:
                os.killpg(record["pgid"], signal.SIGKILL)
            except ProcessLookupError:
                pass  # that is what the test is about
    assert said[-1] == "stopped" and steps_of(run_dir) == {0}
    info = runs.get("tiny")
    note("reward hangs", f"running, and its step stands still; stop ends it ({info.message})",
         "every published step")  # fmt: skip


@slow
@pytest.mark.parametrize(
    ("words", "suppressed", "check"),
    [
        ("model emits only padding", set(EVERY_TOKEN) - {0}, lambda r: r["truncated"]),
        ("model never stops", {2}, lambda r: r["truncated"] and r["num_tokens"] == 6),
        (
            "completions are empty",
            set(EVERY_TOKEN) - {2},
            lambda r: r["completion"] == "" and not r["truncated"],
        ),
    ],
)
def test_a_model_that_says_nothing_or_too_much(
    tmp_path: Path, words: str, suppressed: set[int], check: Any
) -> None:
    extra = {"generation_kwargs": {"suppress_tokens": sorted(suppressed)}}
    run_dir = made(tmp_path, steps=2, grpo={"extra": extra}, **QUIET)
    assert child.main([str(run_dir)]) == 0, read_state(run_dir)
    written = [r for r in rows(run_dir, "rollouts") if r["split"] == "train"]
    assert len(written) == 32 and all(check(r) for r in written), written[0]
    assert all(math.isfinite(r["advantage"]) for r in written)
    cut = all(r["truncated"] for r in written)
    seen = "every completion marked as cut off" if cut else "completions shown as empty"
    note(words, f"finished; {seen}", "every row as it was, with finite advantages")


def test_a_prompt_longer_than_the_context(tmp_path: Path) -> None:
    run_dir = made(tmp_path, **QUIET)
    prompts = tmp_path / "prompts.jsonl"
    long = {"prompt": " ".join(["w1"] * 300), "prompt_id": "long", "kind": "even"}
    prompts.write_text(prompts.read_text() + "\n" + json.dumps(long))
    assert child.main([str(run_dir)]) == 1
    message = str(read_state(run_dir)["message"])
    assert "300" in message and "128" in message
    note("prompt longer than the context", f"failed before training: {message}",
         "nothing was begun")  # fmt: skip


def test_a_table_of_ten_thousand_prompts(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"question {i}"}) for i in range(10_000)))
    task = load_task(TaskConfig(name="file", path=str(path)))
    assert len(task.train) + len(task.calibration) + len(task.report) == 10_000
    note("prompts table of 10,000 rows", f"{len(task.train):,} to train, the rest held out",
         "every row, each in one split")  # fmt: skip


def test_hostile_text_in_prompts(tmp_path: Path) -> None:
    """What was written is what is read; what is shown of it is harmless."""
    from workbench.formatting import esc

    texts = [t.encode("utf-8", "replace").decode() for t in HOSTILE if t.strip()]
    path = tmp_path / "hostile.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": t, "kind": t[:50]}) for t in texts))
    task = load_task(TaskConfig(name="file", path=str(path), eval_path=None))
    found = {e.prompt for e in (*task.train, *task.calibration, *task.report)}
    assert found == set(texts)
    shown = [esc(t) for t in texts]
    assert not any(set(s) & set("<>\u202e\u200b\x00\x07\x1b") for s in shown)
    note("unicode, right-to-left, zero-width and control characters",
         f"as text; what hides or reorders is spelled out: {esc(chr(0x202E))}",
         "every character as it came (a lone surrogate, which no file can hold, as ?)")  # fmt: skip


@slow
def test_a_disk_that_is_full_at_a_checkpoint(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from workbench.train import checkpoint

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run_dir = made(tmp_path, steps=3, logging={"checkpoint_every": 2}, **QUIET)
    monkeypatch.setattr(checkpoint, "save_file", full)
    assert child.main([str(run_dir)]) == 1
    message = read_state(run_dir)["message"]
    assert "No space left" in message and steps_of(run_dir) >= {0, 1}
    assert not list((run_dir / "checkpoints").glob("step-*"))
    monkeypatch.undo()
    assert child.main([str(run_dir), "--resume"]) == 0
    assert len(Store(run_dir.parent).sql("SELECT DISTINCT step FROM rollouts")) == 3
    note("disk full at a checkpoint", f"failed: {message}; resume goes on from the last whole one",
         "every published step; no half checkpoint")  # fmt: skip
