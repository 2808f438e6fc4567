"""What a process that looks at runs keeps between two looks: its children, and what has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.runs import rundir
from workbench.runs.locks import LAUNCHER, LockedError, held
from workbench.runs.rundir import RunInfo
from workbench.runs.spawn import Child
from workbench.runs.status import Look
from workbench.store.state import write_state

ENDING = ("status", "message", "pid", "eta_seconds")


class Watch:
    """The runs of a directory, as a launcher sees them.

    Attributes:
        children: what this process has started and not yet seen to end, by run directory.
        phases: how far this process is in stopping a run, in words, by run id.
    """

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self.children: dict[Path, Child] = {}
        self.phases: dict[str, str] = {}
        self._ended = 0
        self._codes: dict[Path, tuple[int, int]] = {}
        self._gone: set[tuple[Any, ...]] = set()

    def look(self) -> Look:
        """A look at any number of runs."""
        return Look(self._gone)

    def infos(self) -> list[RunInfo]:
        """Every run, oldest first."""
        look = self.look()
        return [self.info(path, look) for path in rundir.run_dirs(self.runs_dir)]

    def info(self, path: Path, look: Look | None = None) -> RunInfo:
        """What there is to say of a run, its processes looked at rather than believed."""
        self._reap()
        identity = rundir.read_identity(path)
        state = (look or self.look()).state(path)
        if state.pop("unsaid", False):
            pid, code = self._codes.get(path, (None, None))
            failed = state["status"] == "failed"
            if failed and pid is not None and pid == rundir.read_process(path).get("pid"):
                state["message"] = state["message"].replace("ended", f"ended with code {code}", 1)
            self._put_down(path, state)
        known = RunInfo.__dataclass_fields__
        values = {k: v for k, v in (identity | state).items() if k in known and v is not None}
        if values.get("status") in ("starting", "running") and (path / "stop").exists():
            values |= {"status": "stopping", "message": self.phases.get(path.name)}
        info = RunInfo(**{"status": "failed", **values})
        if "damaged" in identity:
            info = replace(info, message=identity["damaged"])
        return info

    def take_ended(self) -> int:
        """How many children have ended since the last time it was asked."""
        ended, self._ended = self._ended, 0
        return ended

    def _reap(self) -> None:
        """Take note of children that have ended."""
        for path, child in list(self.children.items()):
            code = child.poll()
            if code is not None and self.children.pop(path, None):
                self._codes[path] = child.pid, code
                self._ended += 1

    def _put_down(self, path: Path, ending: Mapping[str, Any]) -> None:
        """Write down the ending of a run whose processes are gone."""
        try:
            with held(self.runs_dir / LAUNCHER, 0.0):  # nothing resumes it while we hold the lock
                if Look().state(path).get("unsaid"):
                    write_state(path, **{k: ending[k] for k in ENDING})
        except (LockedError, OSError):
            return  # it can be seen all the same; whoever looks next writes it
