"""What came of a run, as its last table tells: judge and weights per family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from workbench.analysis.queries import Questions

FACTS = ("name", "status", "step", "steps", "message")
SOURCES = ("evaluations WHERE phase = 'after'", "rollouts WHERE split = 'train'")


def outcome(wb: Questions, run: str) -> dict[str, Any]:
    """Held-out judge before and after, and mean weights, each per family of prompts.

    Weights are those the scalarizer gives held-out prompts after training, or the mean over
    training completions where there was no such evaluation; they sum to 1 for each family.

    Returns:
        run_id, name, status, step, steps, message, judge_before, judge_after (means over held-out
        completions; None without a judge), per_family (family -> judge_before, judge_after,
        weights by objective), weights (by objective, over all families), rollouts (training
        completions).
    """
    run_id = wb.resolve(run)
    if (wb.runs_dir / run_id).is_dir():
        live = wb.launcher.get(run_id).as_dict()
        facts = {key: live[key] for key in FACTS}
    else:
        known = f"SELECT {', '.join(FACTS)} FROM runs WHERE run_id = $run"
        facts = wb.sql(known, {"run": run_id}).to_dict("records")[0]
    total: dict[str, Any] = {"judge_before": None, "judge_after": None}
    families: dict[str, dict[str, Any]] = {}
    for kind, scores in _judged(wb, run_id):
        if kind is None:
            total = scores
        else:
            families[kind] = {**scores, "weights": {}}
    weights: dict[str, float] = {}
    for row in _mean_weights(wb, run_id).itertuples():
        if isinstance(row.kind, str):
            empty = {"judge_before": None, "judge_after": None, "weights": {}}
            families.setdefault(row.kind, empty)["weights"][row.objective] = row.weight
        else:
            weights[str(row.objective)] = float(row.weight)
    counted = wb.sql(
        "SELECT count(*) AS n FROM rollouts WHERE run_id = $run AND split = 'train'",
        {"run": run_id},
    )
    return {
        "run_id": run_id,
        **facts,
        **total,
        "per_family": dict(sorted(families.items())),
        "weights": weights,
        "rollouts": int(counted["n"].iloc[0]),
    }


def _judged(wb: Questions, run_id: str) -> list[tuple[str | None, dict[str, float | None]]]:
    """Mean judge per kind; kind None is over all of them."""
    frame = wb.sql(
        "SELECT kind, avg(judge) FILTER (phase = 'before') AS judge_before, "
        "avg(judge) FILTER (phase = 'after') AS judge_after FROM evaluations "
        "WHERE run_id = $run GROUP BY GROUPING SETS ((kind), ()) ORDER BY kind NULLS LAST",
        {"run": run_id},
    )
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [(row.pop("kind"), row) for row in rows]


def _mean_weights(wb: Questions, run_id: str) -> pd.DataFrame:
    """Mean weight per kind and objective; rows without a kind are over all of them."""
    frame = pd.DataFrame()
    for source in SOURCES:
        frame = wb.sql(
            "SELECT kind, objective, avg(weight) AS weight FROM ("
            "SELECT kind, unnest(map_keys(weights)) AS objective, "
            f"unnest(map_values(weights)) AS weight FROM {source} AND run_id = $run) "
            "GROUP BY GROUPING SETS ((kind, objective), (objective)) ORDER BY kind NULLS LAST",
            {"run": run_id},
        )
        if len(frame):
            break
    order = {name: i for i, name in enumerate(wb.store.objectives(run_id))}
    return frame.sort_values("objective", key=lambda c: c.map(order), kind="stable")
