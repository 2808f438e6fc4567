"""What people say about completions: where a vote teaches most, and storing one."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis.queries import rollouts
from workbench.store.annotations import annotate
from workbench.store.reader import Store

QUEUE = 60


def candidates(store: Store, run_id: str, limit: int = QUEUE) -> pd.DataFrame:
    """Groups in the order in which a vote teaches most: group_id, step, size, conflict.

    A vote teaches where the objectives disagree: where the completions differ much in single
    rewards, yet the weighted advantage follows some of them and goes against others (``conflict``:
    largest less smallest correlation of an objective with the advantage, 0 to 2); newer groups come
    first among equals. Groups whose completions are all the same text are left out.
    """
    return store.sql(
        """WITH long AS (
            SELECT group_id, step, advantage, sample, completion, entry.key AS objective,
                   entry.value AS reward
            FROM (SELECT group_id, step, advantage, sample, completion,
                         unnest(map_entries(rewards)) AS entry
                  FROM rollouts WHERE run_id = $run AND split IN ('train', 'probe'))
            WHERE NOT isnan(entry.value)),
        each AS (
            SELECT group_id, step, objective, count(DISTINCT completion) AS texts,
                   count(DISTINCT sample) AS size,
                   CASE WHEN stddev_pop(reward) > 1e-9 AND stddev_pop(advantage) > 1e-9
                        THEN corr(reward, advantage) ELSE 0 END AS follows
            FROM long GROUP BY ALL)
        SELECT group_id, step, max(size) AS size, max(follows) - min(follows) AS conflict
        FROM each GROUP BY group_id, step HAVING max(texts) > 1
        ORDER BY conflict DESC, step DESC, group_id LIMIT $limit""",
        {"run": run_id, "limit": limit},
    )


def shuffled(rows: pd.DataFrame, who: str) -> pd.DataFrame:
    """The completions in an order that is random, yet the same when they are shown again."""
    key = f"{who}/{rows['group_id'].iloc[0]}".encode()
    seed = int.from_bytes(hashlib.sha256(key).digest()[:8], "big")
    return rows.iloc[np.random.default_rng(seed).permutation(len(rows))]


def vote(
    store: Store,
    run_id: str,
    group_id: str,
    sample: int | None,
    rater: str,
    score: float | None = None,
) -> str:
    """Store what a person thinks; returns the annotation's id.

    Args:
        store: where the run is.
        run_id: whose group.
        group_id: which group.
        sample: the best completion, or the one that is graded; None: none is good.
        rater: who says so.
        score: a grade in [0, 1], which replaces an earlier one; None: a vote for the best.

    Raises:
        ValueError: the group has no such completion, or a grade is outside [0, 1] or of none.
    """
    rows = rollouts(store, run_id, group_id=group_id, tokens=False)
    if not len(rows):
        raise ValueError(f"no group {group_id!r} in run {run_id!r}")
    if sample is not None and sample not in set(rows["sample"]):
        raise ValueError(f"group {group_id!r} has no completion {sample}")
    if sample is None and score is not None:
        raise ValueError("a score needs the completion that it is given to")
    first = rows.iloc[0]
    where: dict[str, Any] = {
        "split": str(first["split"]),
        "step": int(first["step"]),
        "prompt_id": str(first["prompt_id"]),
        "group_id": group_id,
        "sample": sample,
    }
    if score is None:
        first_choice = float(sample is not None)
        return annotate(store.runs_dir, run_id, "vote", rater=rater, score=first_choice, **where)
    key = hashlib.sha256(f"{rater}/{group_id}/{sample}".encode()).hexdigest()[:16]
    where |= {"rater": rater, "score": score, "annotation_id": key}
    return annotate(store.runs_dir, run_id, "rating", **where)
