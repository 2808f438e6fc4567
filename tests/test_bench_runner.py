"""The cell runner with real child processes whose bodies do next to nothing."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from workbench.bench import cells, methods
from workbench.bench.runner import Event, finished, run_cells
from workbench.runs import processes, rundir
from workbench.runs.rundir import LauncherError
from workbench.store.state import read_state

GOOD = dict.fromkeys(("grpo", "sft", "none"), ("bench_bodies", "finishes"))


@pytest.fixture(autouse=True)
def bodies_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{tests.parent}:{tests}")


def two_cells() -> list[cells.Cell]:
    chosen = methods.choose("equal,saw")
    return cells.grid(chosen, [0], cells.QUICK)[1:]  # without the cell of the base policy


def test_cells_run_once_and_only_once(tmp_path: Path) -> None:
    events: list[Event] = []
    done = run_cells(two_cells(), tmp_path, 2, events.append, GOOD)
    assert sorted(done) == sorted(c.name for c in two_cells())
    assert {e.what for e in events} >= {"started", "finished"}
    for name, path in done.items():
        assert rundir.read_identity(path)["name"] == name
        assert "hello from the cell" in (path / "log.txt").read_text()
        assert json.loads((path / "process.json").read_text())["pgid"] > 0
        assert rundir.read_config(path).name == name
    again: list[Event] = []
    assert run_cells(two_cells(), tmp_path, 2, again.append, GOOD) == done
    assert again == []
    # a grid that grew runs the new cell alone
    more = [*two_cells(), *cells.grid(methods.choose("gdpo"), [0], cells.QUICK)[1:]]
    assert len(run_cells(more, tmp_path, 1, None, GOOD)) == 3
    assert len((tmp_path / "calls.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize(("body", "said"), [("crashes", "with code -9"), ("raises", "with code 1")])
def test_a_crash_loses_its_own_cell_only(tmp_path: Path, body: str, said: str) -> None:
    bad, good = two_cells()
    bad = cells.Cell(bad.arm, bad.seed, bad.config, "sft")
    events: list[Event] = []
    bodies = GOOD | {"sft": ("bench_bodies", body)}
    assert set(run_cells([bad, good], tmp_path, 2, events.append, bodies)) == {good.name}
    (failure,) = [e for e in events if e.what == "failed"]
    assert failure.cell is bad and said in failure.message
    # the next call clears the ruin and tries again
    assert set(run_cells([bad, good], tmp_path, 2, None, GOOD)) == {bad.name, good.name}
    assert len(list(rundir.run_dirs(tmp_path))) == 2


def test_a_killed_benchmark_leaves_cells_that_are_run_again(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    bench = context.Process(target=_bench_that_hangs, args=(str(tmp_path),))
    bench.start()
    deadline = time.monotonic() + 60
    while not _running(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    (orphan,) = _running(tmp_path)
    assert bench.pid is not None
    with pytest.raises(LauncherError, match=rf"benchmark in .* is held by process {bench.pid} "):
        run_cells(two_cells(), tmp_path, 1, None, GOOD)
    os.kill(bench.pid, signal.SIGKILL)
    bench.join()
    record = rundir.read_process(orphan)
    assert set(run_cells(two_cells(), tmp_path, 1, None, GOOD)) == {c.name for c in two_cells()}
    assert not processes.alive(record)
    assert not orphan.exists()
    assert len(finished(tmp_path)) == 2


def test_a_terminated_benchmark_takes_its_children_along(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    bench = context.Process(target=_bench_that_hangs, args=(str(tmp_path),))
    bench.start()
    deadline = time.monotonic() + 60
    while not _running(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    (cell,) = _running(tmp_path)
    record = rundir.read_process(cell)
    bench.terminate()
    bench.join(30)
    assert bench.exitcode not in (None, 0)
    assert not processes.alive(record)


def _bench_that_hangs(runs_dir: str) -> None:
    bodies = dict.fromkeys(("grpo", "sft"), ("bench_bodies", "hangs"))
    run_cells(two_cells(), Path(runs_dir), 1, None, bodies)


def _running(runs_dir: Path) -> list[Path]:
    paths = list(rundir.run_dirs(runs_dir))
    return [p for p in paths if read_state(p).get("status") == "running" and rundir.read_process(p)]


def test_jobs_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="jobs: 0"):
        run_cells(two_cells(), tmp_path, 0)
