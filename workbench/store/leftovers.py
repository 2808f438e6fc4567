"""What killed processes left in a runs directory: found, named, and removed.

Files that a writer makes are called ``.NAME.tmp`` until they are whole. Folders that an import
fills are ``.import-*`` and locked by the process that fills them; ``.deleted-*`` are runs whose
deletion began.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workbench.store.state import is_live

DELETED = ".deleted-"
YOUNG_SECONDS = 10.0
"""A temporary file that changed less than this ago may still be in work."""

LOOK_AGAIN = 1.0


@dataclass(frozen=True)
class Leftover:
    """Something that will not be finished, and what it is."""

    path: Path
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@contextmanager
def import_folder(root: Path) -> Iterator[Path]:
    """A new hidden folder of this process, locked while it works and removed at the end.

    Raises:
        OSError: the runs directory cannot be written.
    """
    folder = root / f".import-{secrets.token_hex(6)}"
    folder.mkdir(parents=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # it is gone where it became a run
        os.close(handle)


def find(root: Path, wait: bool = False) -> list[Leftover]:
    """Every leftover of a runs directory.

    Args:
        root: the runs directory.
        wait: look at young temporary files twice, a second apart; otherwise they are passed over.
    """
    found = [
        Leftover(p, "an import that was interrupted")
        for p in root.glob(".import-*")
        if not _is_locked(p)
    ]
    found += [
        Leftover(p, "a run that was never whole")
        for p in root.glob(".new-*")
        if time.time() - _changed(p) > YOUNG_SECONDS or wait and not _changes(p)
    ]
    found += [
        Leftover(p, "a deletion that was interrupted")
        for p in root.glob(f"{DELETED}*")
        if wait or time.time() - _renamed(p) > YOUNG_SECONDS
    ]
    temporary = {p: _changed(p) for p in _temporary(root)}
    old = time.time() - YOUNG_SECONDS
    if wait and any(changed > old for changed in temporary.values()):
        time.sleep(LOOK_AGAIN)
        temporary = {p: c for p, c in temporary.items() if c == _changed(p)}
        old = time.time()
    unfinished = [p for p, changed in temporary.items() if 0 < changed <= old]
    found += [Leftover(p, "a file that was never finished") for p in sorted(unfinished)]
    return found


def remove(found: Leftover) -> None:
    """Remove a leftover; one that is gone already is no error, one that stays is found again.

    A run whose deletion began holds its run.json until its rows are deleted too.

    Raises:
        OSError: it cannot be removed.
    """
    if found.path.name.startswith(DELETED) and (found.path / "run.json").exists():
        from workbench.store.annotations import tombstone  # whoever only looks needs no DuckDB

        tombstone(found.path.parent, found.path.name.removeprefix(DELETED))
    if found.path.is_dir() and not found.path.is_symlink():
        shutil.rmtree(found.path, ignore_errors=True)  # another process may be at it as well
    else:
        found.path.unlink(missing_ok=True)


def _temporary(root: Path) -> Iterator[Path]:
    for pattern in (".*.tmp", ".*.tmp.wal", "*/.*.tmp", "*/segments/*/.*.tmp"):
        yield from root.glob(pattern)
    for path in root.glob("*/checkpoints/.*"):
        if not is_live(path.parents[1]):  # a large checkpoint takes its time
            yield path


def _changed(path: Path) -> float:
    """When it last changed; 0 where it is gone."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _changes(path: Path) -> bool:
    """Whether something changes there within a moment."""
    before = _changed(path)
    time.sleep(LOOK_AGAIN)
    return _changed(path) != before


def _renamed(path: Path) -> float:
    """When it got its name, or anything in it changed; now where it is gone."""
    try:
        return path.lstat().st_ctime
    except FileNotFoundError:
        return time.time()


def _is_locked(folder: Path) -> bool:
    """Whether a process works in it, or began to this moment."""
    if time.time() - _changed(folder) < LOOK_AGAIN:
        return True
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
