"""Deleting a run for good, in steps that whoever comes next can finish.

Under the launcher's lock the directory is renamed, so that the run is gone from every list; its
rows are hidden; its run.json goes, which says that they are. The rest is removed without the lock.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from workbench.runs.locks import LAUNCHER, PATIENCE_SECONDS, held
from workbench.runs.rundir import MAKING
from workbench.store.leftovers import DELETED


def leftovers(runs_dir: Path) -> list[Path]:
    """Directories of runs whose making or deleting was interrupted."""
    return [p for prefix in (MAKING, DELETED) for p in sorted(runs_dir.glob(f"{prefix}*"))]


def bury(runs_dir: Path, path: Path) -> Path:
    """First half of a deletion, or of one that was interrupted; returns what is to be removed.

    The caller holds the launcher's lock.
    """
    grave = path if path.name.startswith(DELETED) else runs_dir / f"{DELETED}{path.name}"
    if path != grave:
        path.rename(grave)
    if (grave / "run.json").exists():
        from workbench.store.annotations import tombstone  # whoever only looks needs no DuckDB

        tombstone(runs_dir, grave.name.removeprefix(DELETED))
        (grave / "run.json").unlink()
    return grave


def collect(runs_dir: Path, seconds: float = PATIENCE_SECONDS) -> list[str]:
    """Finish what was interrupted while a run was made or deleted; returns what was removed.

    Raises:
        LockedError: the launcher's lock was not to be had in so many seconds.
        OSError: the directory cannot be written.
    """
    if not (left := leftovers(runs_dir)):
        return []
    # whoever makes or buries a run holds the lock: these were interrupted
    with held(runs_dir / LAUNCHER, seconds):
        graves = [
            bury(runs_dir, path) if path.name.startswith(DELETED) else path
            for path in left
            if path.is_dir()
        ]
    for grave in graves:
        shutil.rmtree(grave, ignore_errors=True)  # another process may be at it as well
    return [grave.name for grave in graves]
