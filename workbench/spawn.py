"""Starting a run's child: its own session and group, its output in the log, its number on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from workbench import processes
from workbench.rundir import read_identity
from workbench.store.state import read_state, write_atomically, write_state

CHILD = ("-m", "workbench.train")


def spawn(path: Path, command: Sequence[str] | None = None) -> subprocess.Popen[bytes]:
    """Start the child of a run whose state says ``queued``; the caller holds the launcher's lock.

    Args:
        path: the run's directory; it is appended to the command, and ``--resume`` on every start
            but the first. The child starts where the run was first launched.
        command: beginning of the command line; None: this Python and ``workbench.train``.

    Raises:
        OSError: the program cannot be started or the directory not be written.
    """
    starts = read_state(path).get("starts", 0)
    (path / "process.json").unlink(missing_ok=True)
    write_state(path, status="starting", message=None, pid=None, starts=starts + 1)
    cwd = read_identity(path).get("cwd")
    environment = os.environ | {
        processes.MARK: str(path),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    with (path / "log.txt").open("ab") as log:
        child = subprocess.Popen(
            [*(command or (sys.executable, *CHILD)), str(path), *(["--resume"] if starts else [])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd if cwd and Path(cwd).is_dir() else None,
            env=environment,
            start_new_session=True,
        )
    record = processes.identify(child.pid)
    write_atomically(path / "process.json", json.dumps(record).encode())
    return child
