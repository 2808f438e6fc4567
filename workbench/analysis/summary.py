"""What came of a run, as its last table tells: judge and weights per family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from workbench.analysis.queries import objectives
from workbench.store.reader import Store

FACTS = ("name", "status", "step", "steps", "message")
SOURCES = ("evaluations WHERE phase = 'after'", "rollouts WHERE split = 'train'")


def outcome(store: Store, run_id: str, live: Mapping[str, Any] | None) -> dict[str, Any]:
    """Held-out judge before and after, and mean weights, each per family of prompts.

    Weights are those the scalarizer gives held-out prompts after training, or the mean over
    training completions where there was no such evaluation; they sum to 1 for each family.

    Args:
        store: where to ask.
        run_id: whose.
        live: what its directory says of it now; None: it has none here.

    Returns:
        run_id, name, status, step, steps, message, judge_before, judge_after (means over held-out
        completions; None without a judge), per_family (family -> judge_before, judge_after,
        weights by objective), weights (by objective, over all families), rollouts (training
        completions).
    """
    if live is None:
        known = f"SELECT {', '.join(FACTS)} FROM runs WHERE run_id = $run"
        (live,) = store.sql(known, {"run": run_id}).to_dict("records")
    total: dict[str, Any] = {"judge_before": None, "judge_after": None}
    families: dict[str, dict[str, Any]] = {}
    for kind, scores in _judged(store, run_id):
        if kind is None:
            total = scores
        else:
            families[kind] = {**scores, "weights": {}}
    weights: dict[str, float] = {}
    for row in _mean_weights(store, run_id).itertuples():
        if isinstance(row.kind, str):
            empty = {"judge_before": None, "judge_after": None, "weights": {}}
            families.setdefault(row.kind, empty)["weights"][row.objective] = row.weight
        else:
            weights[str(row.objective)] = float(row.weight)
    counted = store.sql(
        "SELECT count(*) AS n FROM rollouts WHERE run_id = $run AND split = 'train'",
        {"run": run_id},
    )
    return {
        "run_id": run_id,
        **{key: live[key] for key in FACTS},
        **total,
        "per_family": dict(sorted(families.items())),
        "weights": weights,
        "rollouts": int(counted["n"].iloc[0]),
    }


def _judged(store: Store, run_id: str) -> list[tuple[str | None, dict[str, float | None]]]:
    """Mean judge per kind; kind None is over all of them."""
    frame = store.sql(
        "SELECT kind, avg(nullif(judge, 'NaN')) FILTER (phase = 'before') AS judge_before, "
        "avg(nullif(judge, 'NaN')) FILTER (phase = 'after') AS judge_after FROM evaluations "
        "WHERE run_id = $run GROUP BY GROUPING SETS ((kind), ()) ORDER BY kind NULLS LAST",
        {"run": run_id},
    )
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [(row.pop("kind"), row) for row in rows]


def _mean_weights(store: Store, run_id: str) -> pd.DataFrame:
    """Mean weight per kind and objective; rows without a kind are over all of them."""
    frame = pd.DataFrame()
    for source in SOURCES:
        frame = store.sql(
            "SELECT kind, objective, avg(nullif(weight, 'NaN')) AS weight FROM ("
            "SELECT kind, unnest(map_keys(weights)) AS objective, "
            f"unnest(map_values(weights)) AS weight FROM {source} AND run_id = $run) "
            "GROUP BY GROUPING SETS ((kind, objective), (objective)) ORDER BY kind NULLS LAST",
            {"run": run_id},
        )
        if len(frame):
            break
    order = {name: i for i, name in enumerate(objectives(store, run_id))}
    return frame.sort_values("objective", key=lambda c: c.map(order), kind="stable")
