"""The life of a run under faults of machine, disk and processes; each test is a row of the table.

The child publishes real rows through the real writer; only the numbers in them are made up.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_table import note
from store_batches import make_batch, make_run

from workbench.config.io import load
from workbench.runs import processes, rundir
from workbench.runs.launcher import Launcher
from workbench.runs.rundir import read_process
from workbench.store import segments
from workbench.store import writer as writer_module
from workbench.store.archive import archive
from workbench.store.reader import Store
from workbench.store.state import read_state, write_state
from workbench.store.writer import RunWriter

TESTS = Path(__file__).parent
CHILD = (sys.executable, str(TESTS / "cli_child.py"))
SIMPLE = (sys.executable, str(TESTS / "launcher_child.py"))
COUNT = "SELECT step, count(*) AS n, count(DISTINCT (group_id, sample)) AS d FROM rollouts " \
    "WHERE split = 'train' GROUP BY step ORDER BY step"  # fmt: skip


@pytest.fixture
def runs_dir(tmp_path, monkeypatch):
    """A runs directory whose processes are gone when the test ends."""
    monkeypatch.setenv("PYTHONPATH", f"{TESTS.parent}:{TESTS}")
    yield tmp_path / "runs"
    for path in tmp_path.glob("*/*/process.json"):
        processes.end_group(read_process(path.parent), path.parent, signal.SIGKILL, 5)


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def steps_of(root) -> list[int]:
    rows = Store(root).sql(COUNT)
    assert (rows.n == rows.d).all(), "no row is there twice"
    return rows.step.tolist()


def test_a_trainer_killed_at_random_moments(runs_dir, monkeypatch):
    monkeypatch.setenv("FAKE_STEP", "0.02")
    runs, rng, total = Launcher(runs_dir, command=CHILD), random.Random(0), 60
    run = runs.start({"name": "one", "steps": total, "objectives": ["format", "length"]})
    published, message = [], ""
    for _ in range(2):
        files = len(list(runs_dir.glob("*/segments/rollouts/*")))
        wait_for(lambda n=files: len(list(runs_dir.glob("*/segments/rollouts/*"))) > n)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(read_process(runs_dir / run)["pid"], signal.SIGKILL)
        wait_for(lambda: runs.get(run).status in ("failed", "finished"))
        message = runs.get(run).message or message
        after = steps_of(runs_dir)
        assert set(published) <= set(after)
        published = after
        if runs.get(run).status == "failed":
            runs.resume(run)
    wait_for(lambda: runs.get(run).status == "finished")
    assert steps_of(runs_dir) == list(range(total))
    archive(runs_dir)
    assert steps_of(runs_dir) == list(range(total))
    note("trainer killed at random moments", f"failed: {message}; resume goes on",
         "every published step, each row once")  # fmt: skip


@pytest.mark.slow
def test_an_app_that_is_killed(runs_dir, monkeypatch):
    monkeypatch.setenv("FAKE_STEP", "0.002")
    code = (
        "import sys, time; from workbench.runs.launcher import Launcher;"
        f"r = Launcher({str(runs_dir)!r}, command={SIMPLE!r});"
        "print(r.start({'name': 'one', 'steps': 300}), flush=True); time.sleep(60)"
    )
    app = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    run = app.stdout.readline().strip()
    app.kill()
    app.wait()
    later = Launcher(runs_dir)
    wait_for(lambda: later.get(run).status == "finished")
    assert later.get(run).step == 300
    note("app killed", "the next app, or `workbench list`, shows the run where it is",
         "everything: runs are no children of the app's life")  # fmt: skip


def test_a_machine_that_was_rebooted(runs_dir, monkeypatch):
    runs = Launcher(runs_dir, command=SIMPLE)
    run = runs.start({"name": "one", "steps": 3})
    wait_for(lambda: runs.get(run).status == "finished")
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:  # after the boot its number belongs to somebody else
        stale = processes.identify(stranger.pid) | {"boot": "an earlier one"}
        (runs_dir / run / "process.json").write_text(json.dumps(stale))
        write_state(runs_dir / run, status="running", step=1)
        info = runs.get(run)
        assert info.status == "failed" and info.step == 1
        runs.stop(run, now=True)
        assert stranger.poll() is None
        runs.resume(run)
        wait_for(lambda: runs.get(run).status == "finished")
    finally:
        stranger.kill()
        stranger.wait()
    note("machine rebooted", f"failed: {info.message}; resume goes on",
         "all that was published; the stranger with the old number is left alone")  # fmt: skip


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_was_moved(runs_dir, monkeypatch, days):
    monkeypatch.setenv("FAKE_STEP", "0.05")
    runs = Launcher(runs_dir, command=SIMPLE)
    run = runs.start({"name": "one", "steps": 100_000})
    wait_for(lambda: runs.get(run).step > 1)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + days * 86_400)
    assert runs.get(run).status == "running"
    other = runs.start({"name": "two", "steps": 1})
    assert {i.name for i in runs.list()} == {"one", "two"} and other != run
    assert runs.stop(run, seconds=20).status == "stopped"
    note("clock moved by a day", "nothing: processes are told by ticks since boot",
         "everything; stop and resume still find the run")  # fmt: skip


class FullDisk:
    """The nth fsync finds the disk full, once; ``count`` tells how many there were."""

    def __init__(self, fails_at: int | None) -> None:
        self.fails_at, self.count = fails_at, 0
        self.fsync = os.fsync

    def __call__(self, handle: int) -> None:
        self.count += 1
        if self.count == self.fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.fsync(handle)


def live(root: Path, disk: FullDisk, monkeypatch) -> RunWriter:
    """A whole life of a run's writer on such a disk."""
    monkeypatch.setattr(os, "fsync", disk)
    try:
        run_dir = root / "20260101-000000-abcd"
        with RunWriter(run_dir, flush_seconds=0) as writer:
            for step in range(3):
                writer.rollouts(make_batch(step))
                writer.metrics(step, {"loss": 0.5})
                writer.state(step=step)
                writer.flush(timeout=5)
            writer.warning(2, "x", "message", "advice")
            writer.state(status="finished")
        return writer
    finally:
        monkeypatch.undo()


def test_a_disk_that_is_full_at_each_write_of_a_run(tmp_path, monkeypatch):
    make_run(tmp_path / "whole")
    writes = FullDisk(None)
    live(tmp_path / "whole", writes, monkeypatch)
    assert writes.count > 10
    for n in range(1, writes.count + 1):
        root = tmp_path / str(n)
        run_dir = make_run(root)
        monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
        writer = live(root, FullDisk(n), monkeypatch)
        assert len(writer.problems) == 1 and "No space left" in writer.problems[0], n
        assert read_state(run_dir)["status"] == "finished"
        files = sorted((run_dir / "segments").glob("*/.*.tmp"))
        assert files == [], n
        assert {d.name for d in (run_dir / "segments").iterdir()} == {
            "rollouts", "contexts", "metrics", "warnings"
        }  # fmt: skip
    store = Store(root)
    assert store.sql("SELECT count(*) AS n FROM rollouts").n[0] == 24
    note("disk full at each write of a run", f"in the log and the run's message: "
         f"{writer.problems[0]}", f"everything, at each of the {writes.count} writes: "
         "rows wait in memory until there is room; what had to be given up is counted")  # fmt: skip


def test_a_disk_that_is_full_at_each_write_of_a_launch(tmp_path, monkeypatch):
    said, n = "", 0
    while True:
        n += 1
        disk = FullDisk(n)
        monkeypatch.setattr(os, "fsync", disk)
        try:
            run = rundir.create(tmp_path / "runs", load({"name": "one"}), token=None, parent=None,
                                cwd=tmp_path)  # fmt: skip
            break
        except OSError as error:
            said = str(error)
            assert [p for p in (tmp_path / "runs").iterdir()] == [], f"half a run after write {n}"
        finally:
            monkeypatch.undo()
    assert n > 4 and list((tmp_path / "runs").iterdir()) == [tmp_path / "runs" / run]
    note("disk full at each write of a launch", f"the launch is refused: {said}",
         "no half run, the name stays free")  # fmt: skip


def test_a_runs_directory_that_became_read_only(runs_dir, monkeypatch):
    run_dir = make_run(runs_dir)
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
    refuse, said = [True], []

    def replace(source, target):
        if refuse and str(runs_dir) in str(target):
            raise OSError(errno.EROFS, "Read-only file system")
        os.rename(source, target)

    monkeypatch.setattr(segments.os, "replace", replace)
    with RunWriter(run_dir, flush_seconds=0) as writer:
        for step in range(3):
            writer.rollouts(make_batch(step, contexts=None))
        assert not writer.flush(timeout=3)
        said += writer.problems
        assert [i.name for i in Launcher(runs_dir).list()] == [f"name-{run_dir.name}"]
        refuse.clear()
    monkeypatch.undo()
    assert steps_of(runs_dir) == [0, 1, 2]
    seen = f"in the log and the run's message: {said[0]}; lists and pages still show the run"
    note("runs directory read-only", seen, "all of it once the directory can be written again")


def test_a_store_that_is_moved_while_a_run_writes(runs_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_STEP", "0.1")  # it must outlive the move
    runs = Launcher(runs_dir, command=CHILD)
    run = runs.start({"name": "one", "steps": 60, "objectives": ["format", "length"]})
    wait_for(lambda: list(runs_dir.glob("*/segments/rollouts/*.parquet")))
    elsewhere = tmp_path / "elsewhere"
    runs_dir.rename(elsewhere)
    before = steps_of(elsewhere)
    assert Launcher(elsewhere).get("one").status in ("running", "starting")
    time.sleep(0.4)
    assert not runs_dir.exists(), "no second, half directory grows in the old place"
    assert set(before) <= set(steps_of(elsewhere))
    elsewhere.rename(runs_dir)
    wait_for(lambda: runs.get(run).status == "finished")
    assert steps_of(runs_dir) == list(range(60))
    shutil.move(runs_dir, elsewhere)
    assert steps_of(elsewhere) == list(range(60))
    note("store moved while live", "the run's steps stand still in the new place",
         "all that was published, in the new place; what is new waits, and follows when the "
         "directory is moved back")  # fmt: skip


@pytest.mark.slow
def test_a_child_that_ignores_sigterm(runs_dir, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "deaf")
    runs = Launcher(runs_dir, command=CHILD)
    run = runs.start({"name": "one", "steps": 100_000, "objectives": ["format", "length"]})
    path = runs_dir / run
    wait_for(lambda: list(path.glob("segments/rollouts/*.parquet")))
    before = steps_of(runs_dir)
    said = list(runs.stop_phases(run, seconds=0.2))
    assert processes.group(read_process(path), path) == []
    assert set(before) <= set(steps_of(runs_dir)) and runs.get(run).status == "stopped"
    seen = " → ".join(re_seconds(s) for s in said)
    note("child ignores SIGTERM", f"{seen} ({runs.get(run).message})",
         "every published step; no process of its group is left")  # fmt: skip


def re_seconds(text: str) -> str:
    """The patience of this test is not that of a user."""
    return text.replace("within 0 s", "in time")


def test_wrong_times_in_files_do_not_hide_a_run(tmp_path):
    """A clock that stood in 1970, in 2100 or before all time when a run was made."""
    for i, value in enumerate((0.0, 4e9, -1.0)):
        run_dir = make_run(tmp_path, f"20260101-000000-{i:04d}")
        for name, key in (("run.json", "created"), ("state.json", "heartbeat")):
            content = json.loads((run_dir / name).read_text())
            (run_dir / name).write_text(json.dumps(content | {key: value}))
    assert len(Launcher(tmp_path).list()) == 3 == len(Store(tmp_path).runs())
