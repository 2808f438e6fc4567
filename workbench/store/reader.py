"""Store: SQL over the runs of one directory, answered as DataFrames.

Rows that are archived and rows that are still in segments answer together; maps (rewards, weights,
policy) arrive as dicts. The questions themselves stand in ``workbench.analysis``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.store.limits import QUERY_SECONDS
from workbench.store.query_process import process_for
from workbench.store.session import session_for

MAX_ROWS = 10_000
"""Rows that a user's query returns at most, unless told otherwise."""


@dataclass(frozen=True)
class Answer:
    """Rows of a user's query, and a notice where rows were left out."""

    rows: pd.DataFrame
    notice: str | None = None


class Store:
    """The runs of one directory, read-only. Cheap to make; every call opens the store briefly.

    Raises:
        StoreError: the store cannot be created, opened or understood; StoreBusyError after two
            seconds of waiting for an archive; QueryError for a query that is not allowed or fails.
    """

    def __init__(self, runs_dir: Path | str = "runs") -> None:
        self.runs_dir = Path(runs_dir).resolve()
        self._session = session_for(self.runs_dir)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Open the store once for several questions; no archive moves anything meanwhile."""
        with self._session.attached():
            yield

    @property
    def notices(self) -> list[str]:
        """What is missing from answers, and why, one line each; see ``Session.notices``."""
        return self._session.notices()

    @property
    def waiting(self) -> int:
        """Segments of rollouts that this process holds in memory until an archive takes them."""
        return self._session.cache.held("rollouts")

    def sql(self, query: str, params: Any = None) -> pd.DataFrame:
        """One SELECT over the views, all rows."""
        return self._session.user_frame(query, params, None, 10 * QUERY_SECONDS)

    def query(
        self, sql: str, limit: int = MAX_ROWS, seconds: float = QUERY_SECONDS, alone: bool = False
    ) -> Answer:
        """One SELECT that a user typed: at most ``limit`` rows, and a notice when there are more.

        It runs in a process of its own, so that its limits hold; see ``query_process``. ``alone``:
        this process is one already (``limits.go_on_in_a_child``).

        Raises:
            QueryError: it is not one allowed SELECT, fails, or takes longer than ``seconds`` or
                more memory than it may.
        """
        if alone:
            rows = self._session.user_frame(sql, None, limit + 1, seconds)
        else:
            rows = process_for(self.runs_dir).ask(sql, limit + 1, seconds)
        if len(rows) <= limit:
            return Answer(rows)
        return Answer(rows.head(limit), f"only the first {limit:,} rows are shown; add a LIMIT")

    def runs(self) -> pd.DataFrame:
        """Every run with its last published state, newest first."""
        return self._session.frame("FROM runs ORDER BY created DESC NULLS LAST, run_id DESC")

    def contexts(
        self, run_id: str, split: str = "train", steps: tuple[int, int] | None = None
    ) -> pd.DataFrame:
        """Hidden states of a run: step, group_id, sample, context (D numbers each)."""
        return self._session.contexts(run_id, split, steps)
