"""States that tell the truth: ended means gone, whoever waits starts, locks end, kills are mended.

Real processes and real kills; ``launcher_child.py`` says how the children behave.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_table import note
from store_batches import fill, make_run
from test_launcher_life import launcher, linked, wait_for

from workbench.api.workbench import Workbench
from workbench.config.io import load
from workbench.runs import locks, processes, rundir
from workbench.runs.deletion import leftovers
from workbench.runs.locks import LAUNCHER, LockedError, held
from workbench.runs.rundir import ENDED, LauncherError, read_process
from workbench.store.archive import archive
from workbench.store.doctor import examine
from workbench.store.reader import Store
from workbench.store.state import read_state, write_state

CHILD = (sys.executable, str(Path(__file__).with_name("launcher_child.py")))


# -- ended means gone -------------------------------------------------------------------------


def test_a_run_has_ended_when_its_process_is_gone(runs_dir, monkeypatch):
    """Deleting or resuming right after it ended works, every time."""
    monkeypatch.setenv("FAKE_MODE", "lingers")
    wb = Workbench(runs_dir, limit=None, command=CHILD)
    for name in "ab":
        run = wb.start({"steps": 2, "name": name})
        path = runs_dir / run
        wait_for(lambda p=path: read_state(p)["status"] == "finished")
        info = run.info
        assert (info.status, info.phase) == ("running", "ending")
        assert run.wait(progress=False).status == "finished"
        assert processes.group(read_process(path), path) == []
        wb.delete(run)
    run = wb.start({"steps": 10_000, "name": "long"})
    wait_for(lambda: run.info.step > 0)
    wb.stop(run, wait=False)
    assert run.wait(progress=False).status == "stopped"
    wb.resume(run)
    wb.stop(run, wait=True)


def test_ranks_go_on_when_their_leader_is_killed_and_are_refused_by_name(runs_dir, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "ranks")
    runs = launcher(runs_dir)
    run = runs.start({"steps": 10_000, "name": "both"})
    path = runs_dir / run
    wait_for(lambda: len(processes.group(read_process(path), path)) == 2)
    leader = read_process(path)["pid"]
    os.kill(leader, 9)
    wait_for(lambda: not processes.alive(read_process(path)))
    through_link = launcher(linked(runs_dir))
    (rank,) = processes.group(read_process(path), path)
    assert [i.status for i in through_link.list()] == ["running"]
    with pytest.raises(LauncherError, match=rf"run 'both' is running \(process {rank.pid}\)"):
        through_link.resume("both")
    rank.kill()
    wait_for(lambda: through_link.get("both").status == "failed")
    assert "without saying how" in through_link.get("both").message
    note("main process of two killed", "running, with the numbers of the processes that are left; "
         "resume and delete are refused until they are stopped, through links too",
         "everything; no second trainer writes the run")  # fmt: skip


def test_a_copy_of_a_running_run_has_no_process(runs_dir):
    runs = launcher(runs_dir)
    run = runs.start({"steps": 10_000, "name": "one"})
    wait_for(lambda: runs.get(run).step > 0)
    copy = runs_dir.with_name("copy")
    subprocess.run(["cp", "-r", runs_dir, copy], check=True)
    copied = launcher(copy)
    assert copied.get("one").status == "failed"
    copied.stop("one", now=True)
    assert runs.get(run).status == "running", "stopping the copy must not end the original"
    runs.stop(run, now=True)


# -- the queue --------------------------------------------------------------------------------


def test_a_queued_run_starts_for_whoever_waits(runs_dir):
    first = launcher(runs_dir, limit=1).start({"steps": 20, "name": "first"})
    second = launcher(runs_dir, limit=1).start({"steps": 2, "name": "second"})
    wb = Workbench(runs_dir, limit=None, command=CHILD)  # as ``workbench resume`` has it
    assert wb.run(second).status == "queued"
    assert wb.run(second).wait(progress=False, timeout=60).status == "finished"
    assert wb.run(first).status == "finished"


def test_a_queued_run_that_cannot_start_does_not_stop_the_line(runs_dir):
    runs = launcher(runs_dir, limit=1)
    first = runs.start({"steps": 10_000})
    bad, good = runs.start({"steps": 1, "name": "bad"}), runs.start({"steps": 1, "name": "good"})
    (runs_dir / bad / "config.yaml").write_text("steps: [")
    runs.stop(first, seconds=10)
    wait_for(lambda: runs.get(good).status == "finished")
    assert runs.get(bad).status == "failed"


# -- locks ------------------------------------------------------------------------------------


def test_a_lock_says_who_holds_it_and_waiting_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.1)
    runs = launcher(tmp_path / "runs")
    runs.start({"steps": 1, "name": "one"})
    path = tmp_path / "runs" / LAUNCHER
    assert path.stat().st_mode & 0o777 == 0o600, "who can only read must not be able to hold it"
    code = (
        "import sys, time; from pathlib import Path; from workbench.runs.locks import held\n"
        f"with held(Path({str(path)!r})):\n    print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=rf"held by process {other.pid} \("), held(path, 0.1):
            pass
        note("lock held by another process", "lists go on; a start, resume or deletion waits for "
             "30 s, then says which process holds the lock",
             "everything; who can only read the directory cannot open the lock")  # fmt: skip
        assert [i.name for i in runs.list()] == ["one"], "looking needs no lock"
    finally:
        other.kill()
        other.wait()
    with held(path, 5):  # a killed holder holds nothing
        pass
    with path.open() as reader:  # a lock file of an older version, or of a group's member
        fcntl.flock(reader, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match="left no name in it after 0.1 s"), held(path, 0.1):
            pass


def test_those_who_share_a_directory_share_its_locks(tmp_path):
    tmp_path.chmod(0o775)
    with held(tmp_path / "x.lock"):
        assert (tmp_path / "x.lock").stat().st_mode & 0o777 == 0o660


# -- kills ------------------------------------------------------------------------------------

KILLED = """
import os, signal, shutil, sys
from workbench.runs.launcher import Launcher
from workbench.runs import rundir
from workbench.config.io import load
from workbench.store import annotations

def dies(module, name, after):
    whole = getattr(module, name)
    def killed(*args, **more):
        if after:
            whole(*args, **more)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(module, name, killed)

root, act, target, name, after = sys.argv[1:]
places = {"rundir": rundir, "annotations": annotations, "Path": rundir.Path, "shutil": shutil}
place = places[target]
dies(place, name, after == "after")
runs = Launcher(root, command=("/bin/true",))
runs.delete("one") if act == "delete" else runs.start(load({"name": "two", "steps": 1}))
"""


def ended(root: Path, run_id: str, name: str) -> Path:
    run = make_run(root, run_id, name=name)
    write_state(run, status="finished")
    return run


def killed(root: Path, *words: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(root), *words], capture_output=True)
    assert done.returncode == -9, done.stderr.decode()


@pytest.mark.parametrize(
    "where",
    [
        ("Path", "rename", "after"),
        ("annotations", "tombstone", "after"),
        ("shutil", "rmtree", "before"),
    ],
)
def test_a_deletion_that_is_killed_is_finished_by_whoever_comes_next(tmp_path, where):
    run = ended(tmp_path, "20260101-000000-0001", "one")
    fill(run, range(3), contexts=None)
    other = ended(tmp_path, "20260101-000000-0002", "other")
    fill(other, range(2), contexts=None)
    killed(tmp_path, "delete", *where)
    assert [i.run_id for i in launcher(tmp_path).list()] == [other.name]
    assert leftovers(tmp_path) == []
    assert set(Store(tmp_path).sql("SELECT DISTINCT run_id FROM rollouts").run_id) == {other.name}
    note("deletion killed at each step", "the run is gone from the list",
         "nothing of it: the next command, or `workbench doctor --mend`, finishes it")  # fmt: skip


def test_doctor_too_finishes_a_deletion(tmp_path):
    run = ended(tmp_path, "20260101-000000-0001", "one")
    fill(run, range(3), contexts=None)
    archive(tmp_path)
    killed(tmp_path, "delete", "Path", "rename", "after")
    examine(tmp_path, mend=True)
    assert leftovers(tmp_path) == []
    assert Store(tmp_path).sql("SELECT count(*) AS n FROM rollouts").n[0] == 0


@pytest.mark.parametrize(
    "where", [("rundir", "write_atomically", "after"), ("rundir", "write_state", "after")]
)
def test_a_start_that_is_killed_leaves_nothing(tmp_path, where):
    killed(tmp_path, "start", *where)
    (half,) = leftovers(tmp_path)
    runs = launcher(tmp_path)
    assert runs.list() == [] and not half.exists()
    runs.start({"name": "two", "steps": 1})
    wait_for(lambda: runs.get("two").status in ENDED)
    note("launch killed at each step", "no such run", "the name; what was half made is removed by "
         "the next command")  # fmt: skip


# -- damage of one run costs that run ---------------------------------------------------------

DAMAGED = [
    ("run.json", b"[" * 200_000),
    ("run.json", b'{"name": "x", "created": 1e999}'),
    ("run.json", b'{"name": "\\ud83d"}'),
    ("run.json", None),
    ("state.json", b"[" * 200_000),
    ("state.json", b'{"status": "failed", "message": "\\ud83d"}'),
    ("state.json", None),
    ("process.json", b"[" * 200_000),
    ("process.json", None),
]


@pytest.mark.parametrize(("name", "content"), DAMAGED)
def test_damage_of_one_run_costs_that_run_only(tmp_path, name, content):
    """``None``: a directory stands where the file should be, so that it cannot even be read."""
    good = ended(tmp_path, "20260101-000000-0001", "good")
    bad = ended(tmp_path, "20260101-000000-0002", "bad")
    (bad / name).unlink(missing_ok=True)
    (bad / name).mkdir() if content is None else (bad / name).write_bytes(content)
    runs = launcher(tmp_path)
    listed = {i.run_id: i for i in runs.list()}
    assert good.name in listed
    for info in listed.values():
        json.dumps(info.as_dict(), allow_nan=False, ensure_ascii=False).encode()
        time.localtime(info.created)
    assert runs.get("good").name == "good"
    if bad.name in listed:
        runs.delete(bad.name)
    assert [i.name for i in runs.list()] == ["good"]
    note("one run's files damaged", "that run is failed and names the file; it can be deleted",
         "all other runs, in every list")  # fmt: skip


def test_a_text_that_no_output_can_hold_is_reported_all_the_same(runs_dir, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "odd")
    runs = launcher(runs_dir)
    run = runs.start({"steps": 1, "name": "odd"})
    wait_for(lambda: runs.get(run).status == "failed")
    message = runs.get(run).message
    assert message.encode() and message.startswith("ValueError: ")
    assert "ValueError: \\ud83d" in (runs_dir / run / "log.txt").read_text("utf-8")


def test_an_odd_working_directory_is_found_again(tmp_path):
    odd = tmp_path / os.fsdecode(b"a\xffb")
    odd.mkdir()
    run = rundir.create(tmp_path / "runs", load({"name": "one"}), token=None, parent=None, cwd=odd)
    identity = json.loads((tmp_path / "runs" / run / "run.json").read_text())
    identity["cwd"].encode()
    assert rundir.working_directory(identity) == odd
