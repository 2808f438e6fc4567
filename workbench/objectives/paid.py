"""Answers that were paid for, kept on disk, and how many requests each run has sent."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from workbench.config.environment import MARK

NAME = "judge-cache.sqlite"
HOME = Path("~/.cache/maestro-workbench")


def default_path() -> Path:
    """Beside the runs for a run, in the user's cache for anybody else."""
    run_dir = os.environ.get(MARK)
    return (Path(run_dir).parent if run_dir else HOME.expanduser()) / NAME


def fingerprint(*parts: Any) -> str:
    """A key that is the same for the same question."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Paid:
    """A file shared by all threads, processes and runs that ask the same judge.

    Args:
        path: The file; made when first needed.
        run: Whose requests are counted; None: those of the run whose process this is.
    """

    def __init__(self, path: Path | None = None, run: str | None = None) -> None:
        self.path = path or default_path()
        self.run = run or Path(os.environ.get(MARK, "none")).name
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def _open(self) -> sqlite3.Connection:
        """The database, opened on first use. Call with the lock held."""
        if self._database is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(
                self.path, timeout=30, isolation_level=None, check_same_thread=False
            )
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS answers "
                "(question TEXT PRIMARY KEY, score REAL NOT NULL, created REAL NOT NULL)"
            )
            database.execute(
                "CREATE TABLE IF NOT EXISTS requests (run TEXT PRIMARY KEY, sent INTEGER NOT NULL)"
            )
            self._database = database
        return self._database

    def find(self, question: str) -> float | None:
        """The score that a question was answered with, None when it was not asked yet."""
        with self._lock:
            row = self._open().execute(
                "SELECT score FROM answers WHERE question = ?", [question]
            ).fetchone()  # fmt: skip
        return None if row is None else float(row[0])

    def keep(self, question: str, score: float) -> None:
        """Remember an answer."""
        with self._lock:
            self._open().execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", [question, score, time.time()]
            )

    def spend(self, budget: int | None) -> bool:
        """Count a request of this run, unless the budget is spent; whether it may be sent."""
        with self._lock:
            database = self._open()
            database.execute("INSERT OR IGNORE INTO requests VALUES (?, 0)", [self.run])
            done = database.execute(
                "UPDATE requests SET sent = sent + 1 WHERE run = ? AND (? IS NULL OR sent < ?)",
                [self.run, budget, budget],
            )
            return done.rowcount == 1

    def sent(self) -> int:
        """Requests that this run has sent so far."""
        with self._lock:
            row = self._open().execute(
                "SELECT sent FROM requests WHERE run = ?", [self.run]
            ).fetchone()  # fmt: skip
        return 0 if row is None else int(row[0])
