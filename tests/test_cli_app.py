"""The command app: ends on SIGTERM and leaves runs running."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from workbench.__main__ import main
from workbench.pages.app import build_app
from workbench.runs.launcher import Launcher
from workbench.runs.spawn import MAX_ACTIVE

ROOT = Path(__file__).parent.parent
CHILD = (sys.executable, str(Path(__file__).with_name("cli_child.py")))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answered(port: int, process: subprocess.Popen) -> int:
    """Status of the app's first answer."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the app ended by itself"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                return page.status
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError("the app did not answer")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_app_ends_and_its_runs_go_on(tmp_path, monkeypatch, how):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    runs = Launcher(tmp_path / "runs", command=CHILD)
    run_id = runs.start({"steps": 100_000})
    port = free_port()
    app = subprocess.Popen(
        [sys.executable, "-m", "workbench", "app", "--port", str(port)],
        cwd=tmp_path,
        env=os.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert answered(port, app) == 200
        app.send_signal(how)
        assert app.wait(30) == 0
        assert f"http://127.0.0.1:{port}" in app.stdout.read()
        assert runs.get(run_id).status in ("starting", "running")
    finally:
        app.kill()
        app.wait()
        runs.stop(run_id, now=True)


def test_a_taken_port_is_one_clear_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "workbench", "app", "--port", port],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 1
    assert port in done.stderr and "Traceback" not in done.stderr


def test_how_many_runs_go_at_once_is_said_on_the_command_line(tmp_path, monkeypatch, capsys):
    served = {}
    monkeypatch.setattr("workbench.pages.serve", lambda *args, **options: served.update(options))
    where = ["--runs-dir", str(tmp_path)]
    for words, limit in (([], MAX_ACTIVE), (["--max-runs", "1"], 1), (["--max-runs", "0"], None)):
        assert main(["app", *words, *where]) == 0
        assert served["max_runs"] == limit
    assert main(["app", "--max-runs", "-1", *where]) != 0
    assert "--max-runs -1: at least 1, or 0 for no limit" in capsys.readouterr().err
    assert build_app(tmp_path, max_runs=1).router.wb.launcher.limit == 1
