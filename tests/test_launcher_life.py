"""The life of a run against real child processes: start, adopt, stop, resume, queue, delete."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from workbench.config.io import ConfigError
from workbench.runs import processes
from workbench.runs.launcher import Launcher
from workbench.runs.rundir import LauncherError, UnknownRunError, read_process
from workbench.store.state import read_state, write_state

CHILD = (sys.executable, str(Path(__file__).with_name("launcher_child.py")))


def launcher(runs_dir, **options) -> Launcher:
    return Launcher(runs_dir, command=CHILD, **options)


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def linked(runs_dir: Path) -> Path:
    """The same directory, reached in another way."""
    link = runs_dir.with_name("link")
    if not link.is_symlink():
        link.symlink_to(runs_dir)
    return link


def status(runs, run_id):
    return runs.get(run_id).status


def test_a_run_starts_in_its_own_group_and_finishes(runs_dir):
    runs = launcher(runs_dir)
    run_id = runs.start({"name": "one", "steps": 5})
    wait_for(lambda: status(runs, run_id) == "finished")
    info = runs.get("one")
    assert (info.run_id, info.step, info.steps, info.name) == (run_id, 5, 5, "one")
    assert read_process(runs_dir / run_id)["pgid"] == read_process(runs_dir / run_id)["pid"]
    assert (runs_dir / run_id / "log.txt").read_text() == "child fresh\n"
    identity = json.loads((runs_dir / run_id / "run.json").read_text())
    assert identity["versions"]["trl"].startswith("1.")
    assert identity["seed"] == 0 and identity["kind"] == "maestro"


def test_names_are_made_up_kept_apart_and_changed(runs_dir):
    runs = launcher(runs_dir)
    first = runs.start({"steps": 1})
    second = runs.start({"steps": 1})
    assert [runs.get(r).name for r in (first, second)] == ["etudes-static", "etudes-static-2"]
    with pytest.raises(LauncherError, match="the name 'etudes-static' is taken"):
        runs.start({"steps": 1, "name": "etudes-static"})
    with pytest.raises(LauncherError, match="is taken"):
        runs.start({"steps": 1, "name": first})
    runs.rename(first, "mine")
    assert runs.get("mine").run_id == first
    with pytest.raises(LauncherError, match="the name 'mine' is taken"):
        runs.rename(second, "mine")
    with pytest.raises(ConfigError, match="name: '../x' is not allowed"):
        runs.rename(second, "../x")


def test_a_double_click_starts_one_run(runs_dir):
    runs = launcher(runs_dir)
    found = []
    clicks = [
        threading.Thread(target=lambda: found.append(runs.start({"steps": 2}, token="click-7")))
        for _ in range(4)
    ]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert len(set(found)) == 1 and len(runs.list()) == 1
    assert runs.start({"steps": 2}, token="click-8") != found[0]


def test_a_later_launcher_adopts_a_live_run_and_stops_it_when_asked(runs_dir, monkeypatch):
    monkeypatch.setenv("FAKE_STEP", "0.05")
    run_id = launcher(runs_dir).start({"steps": 10_000, "name": "long"})
    later = launcher(runs_dir)
    wait_for(lambda: later.get("long").step > 2)
    assert later.list()[0].status == "running"
    phases = list(later.stop_phases("long", seconds=10))
    assert phases == ["asked to stop after the current step", "stopped"]
    assert processes.group(read_process(runs_dir / run_id), runs_dir / run_id) == []
    step = later.get("long").step
    later.resume("long")
    wait_for(lambda: later.get("long").step > step)
    assert "child resumed" in (runs_dir / run_id / "log.txt").read_text()
    later.stop("long", seconds=10)


def test_a_run_started_by_a_process_that_is_gone_lives_on(runs_dir):
    code = (
        "import sys; from workbench.runs.launcher import Launcher;"
        f"print(Launcher({str(runs_dir)!r}, command={CHILD!r}).start({{'steps': 10000}}))"
    )
    run_id = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    runs = launcher(runs_dir)
    wait_for(lambda: status(runs, run_id) == "running")
    record = read_process(runs_dir / run_id)
    assert processes.alive(record) and psutil.Process(record["pid"]).ppid() != os.getpid()
    assert runs.stop(run_id, seconds=10).status == "stopped"
    assert not processes.alive(record)


def test_a_deaf_run_is_terminated_then_killed_with_its_grandchild(runs_dir, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "deaf")
    runs = launcher(runs_dir)
    run_id = runs.start({"steps": 10_000})
    path = runs_dir / run_id
    wait_for(lambda: len(processes.group(read_process(path), path)) == 2 and runs.get(run_id).step)
    phases = list(runs.stop_phases(run_id, seconds=0.3))
    assert phases == [
        "asked to stop after the current step",
        "did not stop within 0 s: terminating it",
        "killing its process group",
        "stopped",
    ]
    assert processes.group(read_process(path), path) == []
    assert runs.get(run_id).message == "killed: it did not stop when asked"


def test_a_run_that_only_hears_signals_is_terminated(runs_dir, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "polite")
    runs = launcher(runs_dir)
    run_id = runs.start({"steps": 10_000})
    wait_for(lambda: runs.get(run_id).step > 0)
    phases = list(runs.stop_phases(run_id, seconds=0.5))
    assert phases[-2:] == ["did not stop within 0 s: terminating it", "stopped"]


def test_a_grandchild_that_outlives_its_leader_is_found_and_ended(runs_dir, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "deaf")
    runs = launcher(runs_dir)
    run_id = runs.start({"steps": 10_000})
    path = runs_dir / run_id
    wait_for(lambda: len(processes.group(read_process(path), path)) == 2)
    os.kill(read_process(path)["pid"], signal.SIGKILL)
    wait_for(lambda: not processes.alive(read_process(path)))
    (left,) = processes.group(read_process(path), path)
    for reached in (runs, launcher(linked(runs_dir))):
        info = reached.get(run_id)
        assert info.status == "running" and f"still at work: {left.pid}" in info.message
        for act in (reached.resume, reached.delete):
            with pytest.raises(LauncherError, match=rf"is running \(process {left.pid}\): stop it"):
                act(run_id)
    runs.stop(run_id, now=True)
    assert processes.group(read_process(path), path) == []
    runs.delete(run_id)


def test_ranks_in_sessions_of_their_own_are_ended_too(runs_dir, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "ranks")  # as torchrun starts them
    runs = launcher(runs_dir)
    run_id = runs.start({"steps": 10_000})
    path = runs_dir / run_id
    wait_for(lambda: len(processes.group(read_process(path), path)) == 2)
    groups = {os.getpgid(p.pid) for p in processes.group(read_process(path), path)}
    assert len(groups) == 2
    runs.stop(run_id, now=True)
    assert processes.group(read_process(path), path) == []


def test_a_run_that_dies_without_a_word_is_failed_and_says_so(runs_dir, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "crash")
    runs = launcher(runs_dir)
    run_id = runs.start({"steps": 10})
    wait_for(lambda: status(runs, run_id) == "failed")
    assert "without saying how" in runs.get(run_id).message
    assert read_state(runs_dir / run_id)["status"] == "failed"
    monkeypatch.setenv("FAKE_MODE", "well")
    runs.resume(run_id)
    wait_for(lambda: status(runs, run_id) == "finished")
    with pytest.raises(LauncherError, match="is finished: nothing to resume"):
        runs.resume(run_id)


def test_a_reused_process_number_is_never_adopted_nor_signalled(runs_dir):
    runs = launcher(runs_dir)
    run_id = runs.start({"steps": 1})
    wait_for(lambda: status(runs, run_id) == "finished")
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        record = processes.identify(stranger.pid)
        assert processes.alive(record)
        stale = record | {"ticks": record["ticks"] - 1, "pid_created": 1.0, "pgid": stranger.pid}
        (runs_dir / run_id / "process.json").write_text(json.dumps(stale))
        write_state(runs_dir / run_id, status="running")
        assert status(runs, run_id) == "failed"
        runs.stop(run_id, seconds=0.1, now=True)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_group_of_others_that_a_run_joined_is_left_alone(runs_dir):
    """A run started by hand in a script's group, of which this test is a member."""
    runs = launcher(runs_dir)
    run_id = runs.start({"steps": 1})
    wait_for(lambda: status(runs, run_id) == "finished")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    record = processes.identify(child.pid)
    assert record["pgid"] == os.getpgid(0) != child.pid
    (runs_dir / run_id / "process.json").write_text(json.dumps(record))
    assert [p.pid for p in processes.group(record, runs_dir / run_id)] == [child.pid]
    runs.stop(run_id, now=True)
    assert child.wait(30) == -signal.SIGKILL


def test_the_limit_queues_and_whoever_polls_next_starts(runs_dir):
    runs = launcher(runs_dir, limit=1)
    first = runs.start({"steps": 10_000})
    second = runs.start({"steps": 3})
    third = runs.start({"steps": 3})
    assert [status(runs, r) for r in (second, third)] == ["queued", "queued"]
    assert launcher(runs_dir).get(third).status == "queued"
    runs.stop(third)
    assert status(runs, third) == "stopped"
    runs.stop(first, seconds=10)
    pollers = [launcher(runs_dir, limit=1) for _ in range(4)]
    threads = [threading.Thread(target=poller.list) for poller in pollers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: status(runs, second) == "finished")
    assert (runs_dir / second / "log.txt").read_text() == "child fresh\n"
    assert status(runs, third) == "stopped"


def test_delete_refuses_what_is_active(runs_dir):
    runs = launcher(runs_dir)
    run_id = runs.start({"steps": 10_000})
    with pytest.raises(
        LauncherError, match=r"is (starting|running) \(process \d+\): stop it first"
    ):
        runs.delete(run_id)
    runs.stop(run_id, seconds=10)
    runs.delete(run_id)
    assert runs.list() == [] and not (runs_dir / run_id).exists()
    with pytest.raises(UnknownRunError, match="holds no runs yet"):
        runs.get(run_id)


def test_a_child_that_cannot_be_started_is_a_failed_run(runs_dir):
    runs = Launcher(runs_dir, command=("/nonexistent/python",))
    with pytest.raises(LauncherError, match="could not be started"):
        runs.start({"steps": 1, "name": "x"})
    assert status(runs, "x") == "failed"


def test_a_reported_failure_keeps_its_message(runs_dir, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "fail")
    runs = launcher(runs_dir)
    run_id = runs.start({"steps": 1})
    wait_for(lambda: status(runs, run_id) == "failed")
    assert runs.get(run_id).message == "ValueError: objective 'vowels' raised"
