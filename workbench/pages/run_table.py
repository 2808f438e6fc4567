"""The table of runs as data: columns to choose, filter, sort and group by.

A column is a fact that every run has, a key of its configuration (``grpo.learning_rate``) or the
last value of a logged metric (``metric:loss``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis import overview
from workbench.api.workbench import Workbench
from workbench.config.doc import field_index
from workbench.config.io import to_dict
from workbench.pages.form_values import value_at
from workbench.pages.live_cache import config_of, recent

FACTS: dict[str, str] = {
    "name": "run", "status": "status", "progress": "progress", "held": "held-out judge",
    "gain": "gain", "headline": "probe judge", "scalarizer": "scalarizer", "seed": "seed",
    "steps_per_second": "steps/s", "created": "started", "kind": "type", "task": "task",
    "policy": "policy", "before": "held-out before", "step": "step", "tags": "tags",
}  # fmt: skip
"""Columns that every run has, with their titles."""
SHOWN = (
    "status", "progress", "held", "headline", "scalarizer", "seed", "steps_per_second", "created",
)  # fmt: skip
METRIC = "metric:"
HELD_SECONDS = 10.0
_TERM = re.compile(r"(?P<key>[\w.:/\-]+)(?P<op>!=|<=|>=|=|<|>)(?P<value>\S+)\Z")


def held_out(wb: Workbench) -> pd.DataFrame:
    """The judge on held-out prompts, before and after training: indexed by run_id."""
    return recent(
        wb,
        "held out",
        lambda: overview.held_out(wb.store),
        HELD_SECONDS,
    )


def with_columns(
    wb: Workbench, runs: pd.DataFrame, tags: Mapping[str, Iterable[tuple[str, str]]],
    more: Iterable[str],
) -> pd.DataFrame:  # fmt: skip
    """Every run with all facts, and with the further columns that are asked for.

    Args:
        wb: where to ask.
        runs: as ``Workbench.runs`` gives them.
        tags: run_id to (annotation_id, text).
        more: keys of the configuration, and ``metric:NAME``.
    """
    frame = runs.join(held_out(wb), on="run_id")
    frame = frame.astype({"before": float, "held": float})
    frame["gain"] = frame["held"] - frame["before"]
    steps = frame["steps"].astype(float).replace(0.0, np.nan)
    frame["progress"] = frame["step"].astype(float) / steps
    frame["tags"] = [" ".join(text for _, text in tags.get(r, ())) for r in frame["run_id"]]
    for key in dict.fromkeys(more):
        if key.startswith(METRIC):
            frame[key] = frame["run_id"].map(
                overview.last_values(wb.store, key.removeprefix(METRIC))
            )
        elif key not in frame:
            frame[key] = [_setting(wb, str(r), key) for r in frame["run_id"]]
    return frame


def choices(wb: Workbench) -> list[str]:
    """Keys that a column can be made of: facts, the configuration's keys, logged metrics."""
    keys = [d.path for d in field_index().values() if d.kind != "section" and "[]" not in d.path]
    return [*FACTS, *dict.fromkeys(keys), *(METRIC + name for name in metric_names(wb))]


def metric_names(wb: Workbench) -> list[str]:
    """Every metric that some run has logged."""
    return recent(
        wb,
        "metric names",
        lambda: overview.metric_names(wb.store),
        HELD_SECONDS,
    )


def known_keys(wb: Workbench, asked: Iterable[str]) -> list[str]:
    """Those of some keys that name a column."""
    allowed = set(choices(wb))
    return [key for key in dict.fromkeys(asked) if key in allowed]


def terms(text: str) -> list[tuple[str, str, str]]:
    """A filter taken apart at its spaces: (key, operator, value), or ("", "", word).

    >>> terms("saw seed>1")
    [('', '', 'saw'), ('seed', '>', '1')]
    """
    found = []
    for word in text.split():
        part = _TERM.match(word)
        found.append((part["key"], part["op"], part["value"]) if part else ("", "", word))
    return found


def filtered(frame: pd.DataFrame, text: str) -> pd.DataFrame:
    """The runs that meet every term of a filter: words of what a line shows, and comparisons."""
    words = [
        " ".join(str(row.get(k, "")) for k in ("name", "run_id", "status", "scalarizer", "tags"))
        for row in frame.to_dict("records")
    ]
    keep = np.ones(len(frame), dtype=bool)
    for key, op, value in terms(text):
        column = key if key in frame else ("tags" if key == "tag" else "")
        if op and column:
            keep &= np.array([_meets(v, op, value) for v in frame[column]], dtype=bool)
        else:
            word = (key + op + value).lower()
            keep &= np.array([word in line.lower() for line in words], dtype=bool)
    return frame[keep]


def _meets(have: Any, op: str, wanted: str) -> bool:
    try:
        a, b = float(have), float(wanted)
    except (TypeError, ValueError):
        same = wanted.lower() in str(have).lower()
        return {"=": same, "!=": not same}.get(op, False)
    if math.isnan(a):
        return op == "!="
    return {"=": a == b, "!=": a != b, "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[op]


def ordered(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """Sorted by a column; ``-`` in front: largest first. Runs without a value come last."""
    key = by.removeprefix("-")
    if key not in frame:
        return frame
    values = pd.to_numeric(frame[key], errors="coerce")
    if values.isna().all():
        values = frame[key].astype(str)
    order = values.sort_values(ascending=not by.startswith("-"), kind="stable", na_position="last")
    return frame.loc[order.index]


def grouped(frame: pd.DataFrame, key: str) -> list[tuple[str, pd.DataFrame, float, float]]:
    """Runs by the value of a column: (value, runs, mean held-out judge, half its 95 % interval)."""
    found = []
    for value, part in frame.groupby(frame[key].astype(str), sort=True):
        scores = part["held"].dropna()
        half = 1.96 * scores.std() / math.sqrt(len(scores)) if len(scores) > 1 else math.nan
        mean = float(scores.mean()) if len(scores) else math.nan
        found.append((str(value), part, mean, float(half)))
    return found


def _setting(wb: Workbench, run_id: str, key: str) -> Any:
    """A key of a run's configuration; None where the run was imported or its file is damaged."""
    try:
        return value_at(_settings(_Runs(wb), run_id), key)
    except (LookupError, ValueError, OSError):
        return None


class _Runs:
    """Carries a workbench past a cache: runs of one directory are the same runs."""

    def __init__(self, wb: Workbench) -> None:
        self.wb = wb

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Runs) and self.wb.runs_dir == other.wb.runs_dir

    def __hash__(self) -> int:
        return hash(self.wb.runs_dir)


@lru_cache(maxsize=2048)
def _settings(runs: _Runs, run_id: str) -> dict[str, Any]:
    return to_dict(config_of(runs.wb, run_id))
