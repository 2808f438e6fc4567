"""Starting a run's child: its own session and group, its output in the log, its number on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.config.environment import MARK, ROLE
from workbench.runs import forkserver, processes
from workbench.runs.rundir import last_words, read_identity, working_directory
from workbench.store.state import write_atomically, write_state

Child = forkserver.Forked | subprocess.Popen[bytes]
CHILD = ("-m", "workbench.train.child")
MAX_ACTIVE = 4
"""Runs that are active at once before further ones queue, unless told otherwise."""

AUTH = "WORKBENCH_AUTH"
"""Who may use the app; no run is told."""


def beginning(launch: Mapping[str, Any]) -> list[str]:
    """The command line up to the run's directory, for one process or for several.

    Args:
        launch: ``processes``, how many on this machine; ``accelerate_config``, a file of
            ``accelerate config`` (FSDP, DeepSpeed, several machines) that decides instead.
    """
    processes_here = launch.get("processes") or 1
    if launch.get("accelerate_config"):
        words = ["-m", "accelerate.commands.launch", "--config_file", launch["accelerate_config"]]
        words += ["--num_processes", str(processes_here)] if processes_here > 1 else []
        return [sys.executable, *words, *CHILD]
    if processes_here > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
        return [sys.executable, *torchrun, str(processes_here), *CHILD]
    return [sys.executable, *CHILD]


def environment(run_dir: Path, role: str | None = None) -> dict[str, str]:
    """The environment of a process that works for a run; ``role`` as in ``config.environment``."""
    inherited = {k: v for k, v in os.environ.items() if k not in (AUTH, ROLE)}
    return inherited | ({ROLE: role} if role else {}) | {
        MARK: processes.mark(run_dir),
        "PYTHONUNBUFFERED": "1",
        # a text that UTF-8 has no bytes for must not end the process that reports it
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip


def spawn(path: Path, command: Sequence[str] | None = None) -> Child:
    """Start the child of a run whose state says ``queued``; the caller holds the launcher's lock.

    Args:
        path: the run's directory; it is appended to the command, and ``--resume`` on every start
            but the first. The child starts where the run was first launched.
        command: beginning of the command line; None: this Python and ``workbench.train.child``, as
            the run's ``launch`` says.

    Raises:
        OSError: the program cannot be started or the directory not be written.
    """
    starts = last_words(path).get("starts", 0)
    (path / "process.json").unlink(missing_ok=True)
    write_state(path, status="starting", message=None, pid=None, starts=starts + 1)
    identity = read_identity(path)
    words = [*(command or beginning(identity.get("launch") or {})), str(path)]
    with (path / "log.txt").open("ab") as log:
        child = forkserver.start(
            [*words, *(["--resume"] if starts else [])],
            cwd=working_directory(identity),
            env=environment(path),
            stdout=log,
            stderr=log,
        )
    record = processes.identify(child.pid) | {"mark": processes.mark(path)}
    write_atomically(path / "process.json", json.dumps(record).encode())
    return child
