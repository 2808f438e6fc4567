"""Locks of a runs directory: they belong to those who may write it, and waiting for one ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from workbench.runs.rundir import LauncherError

LAUNCHER = ".launcher.lock"
PATIENCE_SECONDS = 30.0
"""Nothing that is done under the launcher's lock takes this long."""


class LockedError(LauncherError):
    """Another process holds a lock; the text names it."""


@contextmanager
def held(path: Path, seconds: float = PATIENCE_SECONDS, what: str | None = None) -> Iterator[None]:
    """Hold a lock file, and say in it who does.

    It can be opened by those who can write its directory, not by those who can only read it: an
    open file is all that it takes to hold a lock.

    Args:
        path: the lock file; its directory is made.
        seconds: how long to wait for another holder; 0: not at all.
        what: what it protects, in words; None: the path says it.

    Raises:
        LockedError: it was not to be had in that time; who holds it is named.
        OSError: the directory cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=seconds, mode=_mode(path.parent))
    try:
        lock.acquire()
    except Timeout as error:
        waited = f" after {seconds:g} s of waiting" if seconds else ""
        message = f"{what or path} is held by {holder(path)}{waited}: let it finish, or end it"
        raise LockedError(message) from error
    try:
        _sign(path, json.dumps({"pid": os.getpid()}))
        yield
    finally:
        _sign(path, "")
        lock.release()


def _mode(folder: Path) -> int:
    """Reading and writing for the owner, and for the group and others where they write there."""
    writers = folder.stat().st_mode & 0o022
    return 0o600 | writers | writers << 1


def _sign(path: Path, text: str) -> None:
    """Note the holder in the file, in place: replacing it would make another lock of it."""
    with path.open("r+", encoding="ascii") as file:
        file.write(text)
        file.truncate()


def holder(path: Path) -> str:
    """Who holds a lock, in words."""
    try:
        process = psutil.Process(json.loads(path.read_text("ascii"))["pid"])
        return f"process {process.pid} ({' '.join(process.cmdline())[:80]})"
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return "a process that left no name in it"
