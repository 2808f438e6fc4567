"""Ending a run's child: ask, then terminate, then kill the whole group; each step verified."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

from workbench.runs import processes
from workbench.runs.rundir import ENDED, LauncherError, last_words, read_guest, read_process
from workbench.store.state import write_state

PATIENCE = 20.0
"""Seconds that each way of stopping gets, at least, before the next and harsher one."""
STEPS_OF_PATIENCE = 3.0


def patience(path: Path) -> float:
    """Seconds to wait for a run to stop by itself: never less than three of its steps."""
    rate = last_words(path).get("steps_per_second") or 0.0
    return max(PATIENCE, STEPS_OF_PATIENCE / rate) if rate > 0 else PATIENCE


def stop_phases(path: Path, seconds: float | None = None, now: bool = False) -> Iterator[str]:
    """End the child of a run and yield what is being done, in words, as it is done.

    Args:
        path: the run's directory.
        seconds: how long each way gets; None: as long as the run's pace suggests.
        now: kill at once. The last published step stays; nothing since the last checkpoint does.

    Raises:
        LauncherError: a process of the group is left even after it was killed.
    """
    record = read_process(path)
    wait = patience(path) if seconds is None else seconds
    gone = not processes.group(record, path)
    if gone and last_words(path).get("status") in ENDED:
        yield str(last_words(path)["status"])
        return
    (path / "stop").touch()
    if processes.alive(read_guest(path)):
        yield "asked to stop after the current step; its process is a script, and is left alone"
        until = time.monotonic() + wait
        while last_words(path).get("status") not in ENDED and time.monotonic() < until:
            time.sleep(0.1)
        yield str(last_words(path).get("status"))
        return
    if not gone and not now:
        yield "asked to stop after the current step"
        gone = processes.wait_gone(record, path, wait)
        if not gone:
            yield f"did not stop within {wait:.0f} s: terminating it"
            gone = processes.end_group(record, path, signal.SIGTERM, wait)
    if not gone:
        yield "killing its process group"
        gone = processes.end_group(record, path, signal.SIGKILL, max(wait, 5.0))
    if not gone:
        left = [p.pid for p in processes.group(record, path)]
        raise LauncherError(f"processes {left} cannot be ended (stuck in the system?)")
    if last_words(path).get("status") not in ENDED:
        message = "killed: it did not stop when asked" if not now else "killed on request"
        write_state(path, status="stopped", message=message, pid=None, eta_seconds=None)
    yield str(last_words(path).get("status"))
