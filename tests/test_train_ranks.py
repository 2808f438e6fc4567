"""A run of two processes: one writes, all stop together, a dead one ends the run at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from workbench import Workbench
from workbench.runs import processes
from workbench.runs.rundir import ENDED, read_process

pytestmark = pytest.mark.slow
CONFIG = {
    "steps": 4000,
    "objectives": ["format", "length"],
    "scalarizer": {"name": "conductor", "update_every": 1},
    "grpo": {"num_generations": 2, "prompts_per_step": 2, "max_completion_length": 4},
    "probe": {"prompts": 0},
    "evaluation": {"prompts": 0},
    "logging": {"checkpoint_every": 5},
}


@pytest.fixture
def wb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    bench = Workbench(tmp_path / "runs", limit=None)
    yield bench
    for info in bench.launcher.list():
        if info.status not in ENDED:
            bench.stop(info.run_id, now=True)


def wait_for(wanted: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := wanted()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return found


def members(wb: Workbench, run: str) -> list[psutil.Process]:
    path = wb.launcher.path(run)
    return processes.group(read_process(path), path)


def rank(wb: Workbench, run: str, number: int) -> psutil.Process:
    (found,) = [
        p for p in members(wb, run) if p.environ().get("RANK") == str(number)
    ]  # fmt: skip
    return found


@pytest.mark.parametrize("dead", [1, 0])
def test_a_dead_rank_ends_the_run_and_a_resumed_one_stops_on_every_rank(
    wb: Workbench, dead: int
) -> None:
    run = wb.start(CONFIG, processes=2)
    wait_for(lambda: run.info.step >= 6 or run.status in ENDED, 120)
    assert run.status == "running", run.log()[0]
    killed = rank(wb, run, dead)
    os.kill(killed.pid, signal.SIGKILL)
    began = time.monotonic()
    wait_for(lambda: run.status in ENDED, 60)
    assert run.status == "failed", run.info.message
    assert time.monotonic() - began < 60
    wait_for(lambda: not members(wb, run), 60)

    reached = run.info.step
    run.resume()
    wait_for(lambda: run.info.step > reached or run.status in ENDED, 120)
    assert {rank(wb, run, number).is_running() for number in (0, 1)} == {True}
    run.stop()
    assert run.status == "stopped" and members(wb, run) == []
    last = run.info.step
    newest = wb.checkpoints(run)["step"].max()
    assert newest == last  # the checkpoint of the step at which all stopped
    rows = wb.sql(
        "SELECT count(*) AS n, count(DISTINCT (step, group_id, sample)) AS places, "
        "count(DISTINCT step) AS steps FROM rollouts WHERE split = 'train'"
    )
    n, places, steps = (int(rows[c].iloc[0]) for c in ("n", "places", "steps"))
    assert n == places == 4 * steps and steps >= last  # nobody wrote a row twice
