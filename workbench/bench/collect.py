"""From the store to one frame per question; everything the tables say is asked in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.bench.cells import Cell
from workbench.store.reader import Store
from workbench.types import Floats

_JUDGED = """
SELECT run_id, kind, avg(judge) AS judge, avg(num_tokens) AS length
FROM evaluations WHERE list_contains($runs, run_id) AND phase IN ('before', 'after')
GROUP BY run_id, kind
"""
_OBJECTIVES = """
SELECT run_id, objective, avg(reward) AS reward FROM (
    SELECT run_id, unnest(map_keys(rewards)) AS objective,
           unnest(map_values(rewards)) AS reward
    FROM evaluations WHERE list_contains($runs, run_id) AND phase IN ('before', 'after')
) WHERE NOT isnan(reward) GROUP BY run_id, objective
"""
_CALIBRATION = """
SELECT run_id, kind, avg(judge) AS judge FROM rollouts
WHERE split = 'probe' AND list_contains($runs, run_id)
  AND step = (SELECT max(step) FROM rollouts AS last
              WHERE last.run_id = rollouts.run_id AND last.split = 'probe')
GROUP BY run_id, kind
"""
_SPENT = """
SELECT r.run_id, any_value(runs.heartbeat - runs.created) AS seconds,
       sum(num_tokens) AS tokens, count(r.judge) AS anchored,
       sum(CASE WHEN isnan(coalesce(rewards['judge'], 'nan')) THEN 0 ELSE 1 END) AS rewarded
FROM rollouts AS r JOIN runs USING (run_id)
WHERE split = 'train' AND list_contains($runs, run_id) GROUP BY r.run_id
"""


def _asked(runs_dir: Path, sql: str, done: dict[str, Path], cells: Iterable[Cell]) -> pd.DataFrame:
    """Rows of a query over finished cells, with the cells' arm and seed in front."""
    known = {done[c.name].name: c for c in cells if c.name in done}
    frame = Store(runs_dir).sql(sql, {"runs": list(known)})
    frame.insert(0, "arm", [known[run].arm for run in frame["run_id"]])
    frame.insert(1, "seed", [known[run].seed for run in frame["run_id"]])
    return frame.drop(columns="run_id")


def report_scores(runs_dir: Path, done: dict[str, Path], cells: list[Cell]) -> pd.DataFrame:
    """Held-out judge per arm, seed and kind (columns arm, seed, kind, judge, length)."""
    return _asked(runs_dir, _JUDGED, done, cells).sort_values(["arm", "seed", "kind"])


def objective_means(runs_dir: Path, done: dict[str, Path], cells: list[Cell]) -> pd.DataFrame:
    """Mean raw reward per arm, seed and objective on the report split."""
    frame = _asked(runs_dir, _OBJECTIVES, done, cells)
    return frame[frame["objective"] != "judge"]


def calibration_scores(runs_dir: Path, done: dict[str, Path], cells: list[Cell]) -> pd.DataFrame:
    """Judge on the calibration prompts after training, per arm, seed and kind."""
    return _asked(runs_dir, _CALIBRATION, done, cells)


def spent(runs_dir: Path, done: dict[str, Path], cells: list[Cell]) -> pd.DataFrame:
    """Tokens generated in training, seconds and judge calls of each cell."""
    frame = _asked(runs_dir, _SPENT, done, cells)
    frame["judge_calls"] = frame["anchored"] + frame["rewarded"]
    return frame.drop(columns=["anchored", "rewarded"])


def matrix(frame: pd.DataFrame, arm: str, value: str = "judge", by: str = "kind") -> Floats:
    """(S, F) scores of one arm, seeds and kinds in sorted order."""
    rows = frame[frame["arm"] == arm]
    table: Any = rows.pivot_table(index="seed", columns=by, values=value)
    return np.asarray(table.to_numpy(dtype=np.float64))


def paired(frame: pd.DataFrame, arm: str, other: str, **by: str) -> tuple[Floats, Floats]:
    """The same for two arms on the seeds that both have."""
    seeds = set(frame.loc[frame["arm"] == arm, "seed"]) & set(
        frame.loc[frame["arm"] == other, "seed"]
    )
    both = frame[frame["seed"].isin(seeds)]
    return matrix(both, arm, **by), matrix(both, other, **by)
