"""Several runs in one chart: which metrics, over what, how smooth; all of it in the address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from workbench.analysis import overview
from workbench.analysis.queries import JUDGE
from workbench.api.workbench import Workbench
from workbench.pages.long_curves import shortened
from workbench.pages.page import View
from workbench.pages.render import render
from workbench.pages.run_table import metric_names
from workbench.plots import figures

MOST_RUNS, MOST_METRICS = 12, 9
AXES = {"": "step", "tokens": "tokens", "time": "minutes"}
SMOOTH = {"": "raw", "0.6": "smooth", "0.9": "smoother", "0.98": "smoothest"}
USUAL = ("reward", "loss", "kl", "judge")
"""Metrics that are drawn until others are asked for, where there are any of these names."""


def chosen_metrics(wb: Workbench, view: View) -> tuple[list[str], str]:
    """The metrics that an address asks for, by name or expression; and what is wrong with it."""
    known = [JUDGE, *metric_names(wb)]
    asked = view.get("metric", "")
    if not asked:
        usual = [n for n in known if n.rpartition("/")[2] in USUAL]
        return list(dict.fromkeys([JUDGE, *usual, *known]))[:3], ""
    found: list[str] = []
    for part in filter(None, (p.strip() for p in asked.split(","))):
        if part in known:
            found.append(part)
            continue
        try:
            hits = [n for n in known if re.search(part, n)]
        except re.error as error:
            return found, f"{part!r} is no expression: {error}"
        if not hits:
            return found, f"no metric is called {part!r}; there are {len(known)}, see the list"
        found += hits
    return list(dict.fromkeys(found))[:MOST_METRICS], ""


def controls(wb: Workbench, view: View, shown: int, wrong: str) -> Markup:
    """The fields above the chart."""
    return render(
        "run_charts.html",
        view=view,
        known=[JUDGE, *metric_names(wb)],
        axes=[(k, f"x: {t}") for k, t in AXES.items()],
        smooth=list(SMOOTH.items()),
        shown=shown,
        wrong=wrong,
    )


def chart(wb: Workbench, view: View, runs: pd.DataFrame, group: str) -> dict[str, Any] | None:
    """The chart of some runs; None where none has logged what is asked for.

    Args:
        wb: where to ask.
        view: the address.
        runs: those to draw: run_id and name, and the column to group by.
        group: that column; empty: each run is a line of its own.
    """
    metrics, _ = chosen_metrics(wb, view)
    names = dict(zip(runs["run_id"], runs["name"].astype(str), strict=True))
    frame = _values(wb, list(names), metrics)
    if frame.empty:
        return None
    axis = view.get("xaxis", "")
    frame = _over(wb, frame, axis if axis in AXES else "")
    frame = frame.assign(run=frame["run_id"].map(names))
    if group:
        values = dict(zip(runs["run_id"], runs[group].astype(str), strict=True))
        frame["group"] = [f"{group} {values[r]}" for r in frame["run_id"]]
    smooth = view.get("smooth", "")
    figure = figures.figure(
        "run_lines",
        frame,
        smooth=float(smooth) if smooth in SMOOTH and smooth else 0.0,
        log=view.get("logy") == "1",
        x_title=AXES.get(axis, "step"),
    )
    return figures.plain(figure)


def _values(wb: Workbench, runs: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """run_id, metric, step, time, value, in the order of the metrics; long lines in bins."""
    frame = overview.lines(wb.store, runs, metrics)
    if frame.empty:
        return frame
    order = {name: i for i, name in enumerate(metrics)}
    found = shortened(frame)
    return found.sort_values(
        ["metric", "step"], key=lambda c: c.map(order) if c.name == "metric" else c, kind="stable"
    )


def _over(wb: Workbench, frame: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The same with ``x``: the step, the tokens sampled until then, or minutes since the start."""
    if axis == "time":
        began = frame.groupby("run_id")["time"].transform("min")
        return frame.assign(x=(frame["time"] - began) / 60)
    if axis == "tokens":
        tokens = overview.tokens_until(wb.store, list(frame["run_id"].unique()))
        return frame.merge(tokens.rename(columns={"tokens": "x"}), on=["run_id", "step"])
    return frame.assign(x=frame["step"])
