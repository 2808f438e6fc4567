"""What people said of logged completions, as one score in [0, 1] each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

Sql = Callable[[str, Mapping[str, Any]], pd.DataFrame]
"""The store's ``sql``: a query and its named parameters in, a frame out."""

ROW = ["run_id", "split", "step", "group_id", "sample"]
"""What names one completion."""

_MARKS = """
SELECT run_id, type, split, step, group_id, sample, rater, score FROM annotations
WHERE type IN ('rating', 'vote')
"""
_MEMBERS = """
SELECT run_id, split, step, group_id, sample FROM rollouts SEMI JOIN (
    SELECT DISTINCT run_id, split, step, group_id FROM annotations WHERE type = 'vote'
) USING (run_id, split, step, group_id)
"""


def people_scores(sql: Sql, runs: Sequence[str], raters: Sequence[str] = ()) -> pd.DataFrame:
    """Score of every completion that people rated, or whose group they voted on.

    A rating counts as it is, the mean over raters. A vote names the best of a group: each row of
    that group gets the share of its voters that chose it. Where a row has both, their mean.

    Args:
        sql: reads the store.
        runs: run ids that count.
        raters: people who count; empty means all.

    Returns:
        Columns run_id, split, step, group_id, sample, score; empty when nothing was said.
    """
    marks = sql(_MARKS, {})
    marks = marks[marks["run_id"].isin(list(runs))]
    if raters:
        marks = marks[marks["rater"].isin(raters)]
    ratings = marks[(marks["type"] == "rating") & marks["score"].notna()]
    parts = [ratings.groupby(ROW, as_index=False)["score"].mean()]
    chosen = marks[marks["type"] == "vote"]
    if len(chosen):
        voters = chosen.groupby(ROW[:-1], as_index=False).agg(voters=("rater", "size"))
        named = chosen[chosen["sample"].notna()].astype({"sample": int})  # NULL: "none of them"
        picks = named.groupby(ROW, as_index=False).agg(picks=("rater", "size"))
        shown = sql(_MEMBERS, {}).merge(voters, on=ROW[:-1]).merge(picks, on=ROW, how="left")
        shown["score"] = shown["picks"].fillna(0.0) / shown["voters"]
        parts.append(shown[[*ROW, "score"]])
    return pd.concat(parts, ignore_index=True).groupby(ROW, as_index=False)["score"].mean()
