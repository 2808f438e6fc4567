"""The child process of a run: from a directory to rows, checkpoints and a last word."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_runs import EXAMPLES, tiny_config

from workbench.config.io import to_dict, validate
from workbench.runs import rundir
from workbench.store.state import read_state
from workbench.train import child as train
from workbench.train import evaluate

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def _signals_and_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """main() installs handlers and sets variables for a process of its own."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    environment = dict(os.environ)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


def made(tmp_path: Path, **changes: Any) -> Path:
    """A run's directory as the launcher makes it, over a file of ten prompts."""
    prompts = tmp_path / "prompts.jsonl"
    if not prompts.exists():
        rows = [
            {"prompt": e.prompt, "prompt_id": e.prompt_id, "kind": e.kind, "reference": e.reference}
            for e in EXAMPLES
        ]
        lines = [json.dumps({k: v for k, v in row.items() if v is not None}) for row in rows]
        prompts.write_text("\n".join(lines[:6]))
        (tmp_path / "held.jsonl").write_text("\n".join(lines[6:]))
    task = {"name": "file", "path": str(prompts), "eval_path": str(tmp_path / "held.jsonl")}
    settings: dict[str, Any] = {
        "name": "tiny",
        "steps": 4,
        "task": task,
        "scalarizer": {"name": "conductor", "update_every": 1},
        "probe": {"prompts": 2, "every": 2, "num_generations": 2},
        "evaluation": {"prompts": 2, "num_generations": 2},
        **changes,
    }
    config = validate(to_dict(tiny_config(tmp_path, **settings)))
    run_id = rundir.create(tmp_path / "runs", config, token=None, parent=None, cwd=tmp_path)
    return tmp_path / "runs" / run_id


def rows(run_dir: Path, table: str) -> list[dict[str, Any]]:
    files = sorted((run_dir / "segments" / table).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_a_stopped_run_resumes_finishes_and_can_be_evaluated_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = made(tmp_path)
    (run_dir / "stop").touch()
    assert train.main([str(run_dir)]) == 0
    state = read_state(run_dir)
    assert state["status"] == "stopped" and state["step"] == 1
    assert state["message"] == "stopped on request after step 1"
    assert (run_dir / "checkpoints" / "step-000001" / "trainer.json").is_file()

    (run_dir / "stop").unlink()
    assert train.main([str(run_dir), "--resume"]) == 0
    state = read_state(run_dir)
    assert (state["status"], state["step"], state["attempt"]) == ("finished", 4, 2)
    assert state["message"] is None and state["pid"] is None
    log = capsys.readouterr().out
    assert "resuming after step 1" in log and "step 4/4" in log

    training = [r for r in rows(run_dir, "rollouts") if r["split"] == "train"]
    assert sorted({r["step"] for r in training}) == [0, 1, 2, 3] and len(training) == 4 * 16
    weights = np.array([[v for _, v in r["weights"]] for r in training])
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    probes = [r for r in rows(run_dir, "rollouts") if r["split"] == "probe"]
    assert sorted({r["step"] for r in probes}) == [0, 2, 4]
    phases = {(r["phase"], r["step"]) for r in rows(run_dir, "evaluations")}
    assert phases == {("before", 0), ("after", 4)}  # not once more on resuming
    assert len(rows(run_dir, "conductor_updates")) == 4

    assert evaluate.main([str(run_dir), "--checkpoint", "1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["step"] == 1 and set(answer["means"]) >= {"all", "even", "odd"} - {"even"}
    again = [r for r in rows(run_dir, "evaluations") if r["phase"] == "1-report"]
    assert len(again) == 4 and all(r["judge"] is None for r in again)
    assert evaluate.main([str(run_dir), "--checkpoint", "9"]) == 1
    assert "allowed are base, last, best" in capsys.readouterr().err


def test_a_failing_objective_fails_the_run_and_keeps_its_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objectives = [
        {"name": "short", "function": "tiny_runs:short", "lower": -1.0, "upper": 0.0},
        {"name": "fragile", "function": "test_train_child:fragile", "lower": 0.0, "upper": 1.0},
    ]
    run_dir = made(tmp_path, objectives=objectives, evaluation={"prompts": 0}, probe={"prompts": 0})
    FRAGILE["calls"] = 0
    assert train.main([str(run_dir)]) == 1
    state = read_state(run_dir)
    assert state["status"] == "failed"
    assert "'fragile' raised KeyError" in state["message"] and "row: 0 of 16" in state["message"]
    log = capsys.readouterr().out
    assert "Traceback" in log and 'KeyError: "no such word"' not in log.splitlines()[0]
    published = rows(run_dir, "rollouts")
    assert {r["step"] for r in published} == {0} and len(published) == 16


FRAGILE = {"calls": 0}


def fragile(prompts, completions, completion_ids, **columns):  # type: ignore[no-untyped-def]
    FRAGILE["calls"] += 1
    if FRAGILE["calls"] > 1:
        raise KeyError("no such word")
    return [0.5] * len(prompts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grpo": {"extra": {"use_vlm": True}}}, "grpo.extra.use_vlm: unknown"),
        ({"grpo": {"extra": {"seed": 3}}}, "grpo.extra.seed: set by the run itself; set seed"),
        ({"grpo": {"max_completion_length": 125}}, "do not fit behind the"),
        ({"grpo": {"gradient_accumulation_steps": 3}}, "do not divide"),
    ],
)
def test_what_does_not_fit_is_said_before_training(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    run_dir = made(tmp_path, **changes)
    assert train.main([str(run_dir)]) == 1
    state = read_state(run_dir)
    assert state["status"] == "failed" and message in state["message"]
    assert rows(run_dir, "rollouts") == []


def test_sigterm_ends_a_process_after_its_step_with_a_checkpoint(tmp_path: Path) -> None:
    run_dir = made(tmp_path, steps=5000, evaluation={"prompts": 0})
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}:{TESTS}", "OMP_NUM_THREADS": "1"}
    with (run_dir / "log.txt").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "workbench.train.child", str(run_dir)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 200
        while read_state(run_dir).get("step", 0) < 1 and time.monotonic() < deadline:
            assert child.poll() is None, (run_dir / "log.txt").read_text()
            time.sleep(0.1)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=100) == 0
    finally:
        if child.poll() is None:
            child.kill()
    state = read_state(run_dir)
    assert state["status"] == "stopped"
    assert state["message"] == f"stopped by SIGTERM after step {state['step']}"
    saved = sorted((run_dir / "checkpoints").iterdir())
    assert saved[-1].name == f"step-{state['step']:06d}"
    log_text = (run_dir / "log.txt").read_text()
    assert "Warning" not in log_text and "Traceback" not in log_text
