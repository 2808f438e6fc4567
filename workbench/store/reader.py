"""Store: every question that pages, notebooks and commands ask, answered as a DataFrame.

Rows that are archived and rows that are still in segments answer together. Everything is filtered,
sorted and paged in SQL; maps (rewards, weights, policy) arrive as dicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.analysis.group_list import GroupFilter, page_sql
from workbench.store.limits import QUERY_SECONDS
from workbench.store.query_process import process_for
from workbench.store.session import session_for

MAX_ROWS = 10_000
"""Rows that a user's query returns at most, unless told otherwise."""


@dataclass(frozen=True)
class Page:
    """Some rows out of many: ``rows`` from ``offset`` on, of ``total``."""

    rows: pd.DataFrame
    total: int
    offset: int


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

    @property
    def notices(self) -> list[str]:
        """What is missing from answers, and why, one line each; see ``Session.notices``."""
        return self._session.notices()

    @property
    def waiting(self) -> int:
        """Segments of rollouts that this process holds in memory until an archive takes them."""
        return self._session.cache.held("rollouts")

    # -- SQL ------------------------------------------------------------------------------------

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

    # -- runs -----------------------------------------------------------------------------------

    def runs(self) -> pd.DataFrame:
        """Every run with its last published state, newest first."""
        return self._session.frame("FROM runs ORDER BY created DESC NULLS LAST, run_id DESC")

    def objectives(self, run_id: str) -> list[str]:
        """The objectives of a run: as configured, else as found in its rows."""
        found = self._session.frame("SELECT objectives FROM runs WHERE run_id = ?", [run_id])
        if len(found) and found.objectives[0] is not None:
            return [str(o) for o in found.objectives[0]]
        keys = self._session.frame(
            "SELECT map_keys(rewards) AS keys FROM rollouts WHERE run_id = ? LIMIT 1", [run_id]
        )
        return [str(k) for k in keys["keys"][0]] if len(keys) else []

    def extent(self, run_id: str) -> pd.DataFrame:
        """Splits, kinds and steps of a run that have rollouts: what filters can offer."""
        return self._session.frame(
            """SELECT split, kind, min(step) AS first_step, max(step) AS last_step,
                count(DISTINCT group_id) AS groups, count(*) AS completions
            FROM rollouts WHERE run_id = ? GROUP BY split, kind ORDER BY split DESC, kind""",
            [run_id],
        )

    def steps(self, run_id: str, split: str = "train") -> list[int]:
        """Steps of a run that have rollouts, in order."""
        found = self._session.frame(
            "SELECT DISTINCT step FROM rollouts WHERE run_id = ? AND split = ? ORDER BY step",
            [run_id, split],
        )
        return [int(s) for s in found.step]

    # -- rollouts -------------------------------------------------------------------------------

    def page(
        self,
        run_id: str,
        where: GroupFilter | None = None,
        *,
        sort: str = "step",
        descending: bool = True,
        offset: int = 0,
        limit: int = 16,
    ) -> Page:
        """Groups of a run, one row each, with their mean weights; see ``GroupFilter``.

        ``sort`` is one of ``groups.SORTS`` or ``reward:OBJECTIVE``.

        Raises:
            ValueError: an unknown sort.
        """
        sql, params = page_sql(run_id, where or GroupFilter(), sort, descending, offset, limit)
        rows = self._session.frame(sql, params)
        total = int(rows.total[0]) if len(rows) else 0
        if not len(rows) and offset:
            total = self.page(run_id, where, sort=sort, limit=1).total
        return Page(rows.drop(columns="total"), total, offset)

    def group(self, run_id: str, group_id: str) -> pd.DataFrame:
        """All completions of one group, every column, in order of ``sample``."""
        return self._session.frame(
            "FROM rollouts WHERE run_id = ? AND group_id = ? ORDER BY sample", [run_id, group_id]
        )

    def prompt(self, run_id: str, prompt_id: str, split: str | None = "probe") -> pd.DataFrame:
        """All completions of one prompt across steps, without the token columns."""
        return self._session.frame(
            """SELECT * EXCLUDE (token_ids, token_entropies) FROM rollouts
            WHERE run_id = $1 AND prompt_id = $2 AND ($3 IS NULL OR split = $3)
            ORDER BY step, split, group_id, sample""",
            [run_id, prompt_id, split],
        )

    def rollouts(
        self,
        run_id: str,
        *,
        split: str | None = None,
        steps: tuple[int, int] | None = None,
        kind: str | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Completions of a run in the order they were sampled; ``steps`` is an inclusive range."""
        first, last = steps if steps is not None else (None, None)
        return self._session.frame(
            """SELECT * EXCLUDE (token_ids, token_entropies) FROM rollouts
            WHERE run_id = $1 AND ($2 IS NULL OR split = $2) AND ($3 IS NULL OR step >= $3)
                AND ($4 IS NULL OR step <= $4) AND ($5 IS NULL OR kind = $5)
            ORDER BY split DESC, step, group_id, sample LIMIT $6""",
            [run_id, split, first, last, kind, limit],
        )

    def search(
        self, text: str, run_id: str | None = None, *, offset: int = 0, limit: int = 50
    ) -> pd.DataFrame:
        """Completions that contain ``text`` as it stands, upper and lower case alike."""
        return self._session.frame(
            """SELECT run_id, step, split, kind, prompt_id, group_id, sample, completion,
                advantage, judge
            FROM rollouts
            WHERE contains(lower(completion), lower($1)) AND ($2 IS NULL OR run_id = $2)
            LIMIT $3 OFFSET $4""",
            [text, run_id, limit, offset],
        )

    # -- curves ---------------------------------------------------------------------------------

    def curves(self, run_id: str, split: str = "train", by_kind: bool = False) -> pd.DataFrame:
        """Per step and objective (and kind): means of reward, weight and probability, and counts.

        NaN rewards (objective not applicable) are left out of the means.
        """
        kind = "kind, " if by_kind else ""
        return self._session.frame(
            f"""SELECT step, {kind}objective,
                avg(nullif(reward, 'NaN')) AS reward,
                stddev_samp(nullif(reward, 'NaN')) AS reward_std,
                avg(nullif(scaled, 'NaN')) AS scaled,
                avg(weight) AS weight, avg(probability) AS probability,
                avg(emphasised::DOUBLE) AS emphasised, count(*) AS completions
            FROM rollout_objectives WHERE run_id = ? AND split = ?
            GROUP BY step, {kind}objective ORDER BY step, {kind}objective""",
            [run_id, split],
        )

    def weights(self, run_id: str, split: str = "train") -> pd.DataFrame:
        """Mean weight and probability per step, kind and objective."""
        return self.curves(run_id, split, by_kind=True)[
            ["step", "kind", "objective", "weight", "probability", "completions"]
        ]

    def drift(self, run_id: str, split: str = "train") -> pd.DataFrame:
        """Per step and kind: length, truncation, KL, scalar, judge, and flat groups."""
        return self._session.frame(
            """SELECT step, kind, avg(num_tokens) AS num_tokens,
                avg(truncated::DOUBLE) AS truncated, avg(kl) AS kl, avg(scalar) AS scalar,
                stddev_samp(scalar) AS scalar_std, avg(judge) AS judge,
                avg((advantage = 0)::DOUBLE) AS zero_advantage, count(*) AS completions
            FROM rollouts WHERE run_id = ? AND split = ?
            GROUP BY step, kind ORDER BY step, kind""",
            [run_id, split],
        )

    def metrics(self, run_id: str, names: list[str] | None = None) -> pd.DataFrame:
        """Metrics of a run, long form, by step."""
        return self._session.frame(
            """SELECT step, split, name, value, time FROM metrics
            WHERE run_id = $1 AND ($2 IS NULL OR name IN (SELECT unnest($2::VARCHAR[])))
            ORDER BY step, split, name, time""",
            [run_id, names],
        )

    # -- the rest of a run ----------------------------------------------------------------------

    def conductor_updates(self, run_id: str) -> pd.DataFrame:
        """Updates of the Conductor, by step."""
        return self._of_run("conductor_updates", run_id, "step, time")

    def checkpoints(self, run_id: str) -> pd.DataFrame:
        """Checkpoints that are still on disk, by step."""
        return self._session.frame(
            "FROM checkpoints WHERE run_id = ? AND NOT removed ORDER BY step", [run_id]
        )

    def evaluations(self, run_id: str) -> pd.DataFrame:
        """Completions of evaluations, by phase, step and prompt."""
        return self._of_run("evaluations", run_id, "step, phase, kind, prompt_id, sample")

    def warnings(self, run_id: str) -> pd.DataFrame:
        """What the diagnostics had to say, by step."""
        return self._of_run("warnings", run_id, "step, time")

    def annotations(self, run_id: str | None = None) -> pd.DataFrame:
        """Votes, ratings, tags and notes, oldest first; of all runs when none is named."""
        return self._session.frame(
            "FROM annotations WHERE $1 IS NULL OR run_id = $1 ORDER BY time", [run_id]
        )

    def contexts(
        self, run_id: str, split: str = "train", steps: tuple[int, int] | None = None
    ) -> pd.DataFrame:
        """Hidden states of a run: step, group_id, sample, context (D numbers each)."""
        return self._session.contexts(run_id, split, steps)

    def _of_run(self, view: str, run_id: str, order: str) -> pd.DataFrame:
        return self._session.frame(f"FROM {view} WHERE run_id = ? ORDER BY {order}", [run_id])
