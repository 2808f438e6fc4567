"""When rows are archived, and the process of its own that does it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from workbench.store.errors import StoreError

ARCHIVE_SECONDS = 600.0
CROWDED = 500
"""Segments in a reader's memory from which on archiving does not wait for the end of a run."""
PAUSE_SECONDS = 60.0
"""Between two such archives."""


def archive_command(runs_dir: Path, run_id: str | None = None) -> list[str]:
    """The archiver's command line."""
    command = [sys.executable, "-m", "workbench.store.archive", str(runs_dir)]
    return [*command, *(["--run", run_id] if run_id else [])]


def archive_later(runs_dir: Path) -> None:
    """Start the archiver and do not wait for it."""
    subprocess.Popen(
        archive_command(runs_dir),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class Housekeeper:
    """Decides when a process that looks at runs has their rows archived."""

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self._last = -PAUSE_SECONDS

    def look(self, ended: int, waiting: int) -> bool:
        """Start the archiver where runs have ended, or too many segments wait for it.

        Args:
            ended: runs that were found to have ended since the last look.
            waiting: segments that this process holds in memory.

        Returns:
            Whether the archiver was started.
        """
        now = time.monotonic()
        crowded = waiting >= CROWDED and now - self._last >= PAUSE_SECONDS
        if ended or crowded:
            self._last = now
            archive_later(self.runs_dir)
        return bool(ended or crowded)


def archive(runs_dir: Path, run_id: str | None = None) -> str:
    """Run the archiver as its own process and return what it reported.

    A reader's connection of this process would drop its file lock when another one of the same
    process closes, so archiving never happens in the process that asks.

    Raises:
        StoreError: the archiver refused or failed; the text is its last line.
    """
    done = subprocess.run(
        archive_command(runs_dir, run_id),
        capture_output=True,
        text=True,
        timeout=ARCHIVE_SECONDS,
    )
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise StoreError(lines[-1] if lines else f"the archiver ended with {done.returncode}")
    return done.stdout.strip()
