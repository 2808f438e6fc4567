"""A forked child is what a fresh one is: its words, environment, place, output, end and mark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_launcher_life import wait_for

from workbench.config.environment import EVALUATION, MARK, ROLE
from workbench.runs import forkserver, processes
from workbench.runs.forkserver import SERVER, Forked, preloaded, start

ECHO = """
import atexit, json, os, sys, time
def main():
    atexit.register(print, "bye")
    print(json.dumps([sys.argv[1:], os.getcwd(), os.environ.get("TOLD"), os.environ.get("HIDDEN"),
                      os.getsid(0) == os.getpid(), sys.stdin.read(), __name__]))
    print("\\ud83d", file=sys.stderr)
    time.sleep(float(os.environ.get("SECONDS", "0")))
    if os.environ.get("RAISES"):
        raise ValueError("no")
    return 3
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "echo_child.py").write_text(ECHO)
    return folder


@pytest.fixture(params=["forked", "fresh"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, folder: Path):
    """Children come from a server, or without one."""
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("HIDDEN", "of the server")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:backslashreplace")
    monkeypatch.delenv(SERVER, raising=False)
    if request.param == "fresh":
        yield False
    else:
        with preloaded(["echo_child"]):
            yield True


def child(place: Path, **env: str):
    place.mkdir(exist_ok=True)
    told = {k: v for k, v in os.environ.items() if k != "HIDDEN"} | {"TOLD": "ü", **env}
    with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
        words = [sys.executable, "-m", "echo_child", "--two", "words and more"]
        return start(words, cwd=place, env=told, stdout=out, stderr=err)


def test_a_child_gets_what_it_is_given_and_its_end_is_told(server: bool, tmp_path: Path) -> None:
    place = tmp_path / "a place"
    process = child(place)
    assert isinstance(process, Forked) == server
    assert process.wait(60) == 3 == process.poll() == process.returncode
    said, bye = (place / "out").read_text().splitlines()
    words = ["--two", "words and more"]
    assert json.loads(said) == [words, str(place), "ü", None, True, "", "__main__"]
    assert bye == "bye", "what is to be done at the end is done"
    assert (place / "err").read_text().splitlines()[-1] == "\\ud83d"


def test_an_error_ends_up_in_its_log(server: bool, tmp_path: Path) -> None:
    assert child(tmp_path, RAISES="1").wait(60) == 1
    assert (tmp_path / "err").read_text().splitlines()[-1] == "ValueError: no"


def test_a_child_carries_its_mark_and_a_kill_is_told(server: bool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = child(run, SECONDS="60", **{MARK: str(run), ROLE: EVALUATION})
    assert os.getpgid(process.pid) == process.pid, "from the first moment"
    (found,) = processes.Snapshot().evaluations({}, run)
    assert found.pid == process.pid and process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL


def test_what_the_server_does_not_have_is_spawned(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SERVER, "/nowhere:another_module")
    with (tmp_path / "out").open("wb") as out:
        words = [sys.executable, "-m", "platform"]
        process = start(words, cwd=None, env=dict(os.environ), stdout=out, stderr=out)
    assert isinstance(process, subprocess.Popen) and process.wait(60) == 0


def test_a_server_ends_with_the_process_that_started_it_and_its_children_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    code = (
        "import os, time; from test_runs_forkserver import child, preloaded; from pathlib import "
        "Path\nwith preloaded(['echo_child']):\n"
        f"    c = child(Path({str(tmp_path)!r}), SECONDS='60')\n    print(c.pid, flush=True)\n"
        "    time.sleep(60)"
    )
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{folder}")
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    forked = processes.psutil.Process(int(starter.stdout.readline()))
    parent = forked.parent()
    assert parent is not None and parent.pid != starter.pid
    starter.kill()
    starter.wait()
    wait_for(lambda: not parent.is_running() or parent.status() == "zombie")
    assert forked.is_running() and forked.status() != "zombie"
    forked.kill()


def test_marks_longer_than_the_room_are_left_to_a_fresh_child(server: bool, tmp_path: Path) -> None:
    process = child(tmp_path, **{MARK: "/x" * forkserver._ROOM[MARK]})
    assert isinstance(process, subprocess.Popen) and process.wait(60) == 3


def test_ends_that_come_at_once_are_told_apart(server: bool, tmp_path: Path) -> None:
    """A child that has ended before anything was asked: its number and its code are two things."""
    many = [child(tmp_path / str(i)) for i in range(5)]
    time.sleep(0.5)
    assert [process.wait(60) for process in many] == [3] * 5
    assert len({process.pid for process in many}) == 5


def test_time_outs_do_not_lose_the_end(server: bool, tmp_path: Path) -> None:
    process = child(tmp_path, SECONDS="0.3")
    while process.poll() is None:
        time.sleep(0.05)
    assert process.returncode == 3
