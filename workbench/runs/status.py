"""How a run is: what its child last said, checked against the processes that are really there.

::

    queued ──> starting ──> running ──> (ending) ──> finished | stopped | failed
                                │ stop file: stopping     ▲
                                └─ processes all gone ────┘ failed, or stopped when it was asked

A run has ended when its last process is gone, not when it says so: what it holds (files, memory, a
GPU) is free only then. Until then it is ``running`` in the phase ``ending``.
"""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench.runs import processes
from workbench.runs.rundir import ACTIVE, ENDED, last_words, read_guest, read_process

DIED = "its process ended without saying how (killed, or out of memory?): see the end of log.txt"
STARTING_GRACE = 30.0
"""Seconds between "starting" and the moment the child's number is on disk."""


class Look:
    """One look at any number of runs; the processes are listed at most once.

    Args:
        gone: runs that are known to have ended, as ``key`` names them; added to.
    """

    def __init__(self, gone: set[tuple[Any, ...]] | None = None) -> None:
        self._gone = set() if gone is None else gone

    @cached_property
    def _snapshot(self) -> processes.Snapshot:
        return processes.Snapshot()

    def state(self, path: Path) -> dict[str, Any]:
        """state.json as it should be read.

        A run that says it is active and has no process left is given its ending; ``unsaid`` is
        then true: nothing on disk says so yet.
        """
        state = last_words(path)
        status = state.get("status")
        if status in ENDED:
            return self._after_its_last_word(path, state)
        if status not in ACTIVE:
            return state
        record = read_process(path)
        if processes.alive(record) or (not record and processes.alive(read_guest(path))):
            return state
        left = self._snapshot.trainers(record, path)
        if left:
            pids = ", ".join(str(p.pid) for p in left)
            said = f"its main process was ended from outside; still at work: {pids}"
            return state | {"status": "running", "message": f"{said}. Stop the run to end them"}
        if not record and time.time() - state.get("heartbeat", 0.0) < STARTING_GRACE:
            return state
        if (again := last_words(path)) != state:
            return self.state(path) if again.get("status") in ENDED else again
        ending = {"status": "failed", "message": DIED}
        if (path / "stop").exists():
            ending = {"status": "stopped", "message": "ended when it was asked to stop"}
        return state | ending | {"pid": None, "eta_seconds": None, "unsaid": True}

    def _after_its_last_word(self, path: Path, state: dict[str, Any]) -> dict[str, Any]:
        known = (path, state.get("status"), state.get("starts"), state.get("heartbeat"))
        if known in self._gone:
            return state
        record = read_process(path)
        if record and self._snapshot.trainers(record, path):
            return state | {"status": "running", "phase": "ending"}
        self._gone.add(known)
        return state

    def trainers(self, path: Path) -> list[int]:
        """Numbers of the processes that train this run."""
        return [p.pid for p in self._snapshot.trainers(read_process(path), path)]

    def evaluations(self, path: Path) -> list[int]:
        """Numbers of the processes that evaluate this run."""
        return [p.pid for p in self._snapshot.evaluations(read_process(path), path)]
