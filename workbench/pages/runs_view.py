"""The parts of Runs: the table of all runs, and the curves of one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from workbench.analysis import overview, queries
from workbench.api.workbench import Workbench
from workbench.pages import run_table
from workbench.pages.live_cache import Curves
from workbench.pages.page import View
from workbench.pages.render import render
from workbench.plots import figures

FEW, ROWS = 8, 50
HEALTH = {
    "entropy": ("emphasis entropy", "#7048e8"),
    "flat_groups": ("flat groups", "#e03131"),
    "truncated": ("truncated", "#e8890c"),
}


def pictures(curves: Curves) -> list[dict[str, Any] | None]:
    """Rewards, health and weights as whole figures."""
    return [
        figures.plain(reward_figure(curves)) if len(curves.rewards) else None,
        figures.plain(health_figure(curves)) if len(curves.health) else None,
        figures.plain(figures.weights_by_kind(curves.weights)) if len(curves.weights) else None,
    ]


def extensions(curves: Curves, ends: Mapping[str, int]) -> list[dict[str, Any]]:
    """What came after the step that each part ended with, for the same three figures."""
    rewards, judge, health, weights = (
        frame[frame["step"] > ends[name]] if len(frame) else frame
        for name, frame in (
            ("rewards", curves.rewards),
            ("judge", curves.judge),
            ("health", curves.health),
            ("weights", curves.weights),
        )
    )
    named = weights.assign(
        name=weights["kind"] + "/" + weights["objective"], value=weights["weight"]
    )
    return [
        extension(pd.concat([rewards, judge])),
        extension(health_long(health)),
        extension(named),
    ]


def extension(frame: pd.DataFrame) -> dict[str, Any]:
    """New points for a chart of lines: columns step, name, value."""
    traces = {
        str(name): {"x": part["step"].tolist(), "y": part["value"].tolist()}
        for name, part in frame.groupby("name", sort=False)
    }
    return {"extend": {"traces": traces}}


def _steps(width: int) -> str:
    return "step" if width == 1 else f"step (a point is the mean of {width})"


def reward_figure(curves: Curves) -> Any:
    """Mean reward per objective, and the judge on probe prompts as a dotted line."""
    both = pd.concat([curves.rewards, curves.judge]) if len(curves.judge) else curves.rewards
    figure = figures.curves(both, colors={queries.JUDGE: "#868e96"})
    figure.update_layout(xaxis={"title": {"text": _steps(curves.width)}})
    return figure.update_traces(
        line={"dash": "dot", "width": 2.2},
        mode="lines+markers",
        selector={"name": queries.JUDGE},
    )


def health_long(frame: pd.DataFrame) -> pd.DataFrame:
    """The health of each step as lines: step, name, value."""
    long = frame[["step", *HEALTH]].melt("step", var_name="name").dropna()
    return long.assign(name=long["name"].map({k: t for k, (t, _) in HEALTH.items()}))


def health_figure(curves: Curves) -> Any:
    """Emphasis entropy, share of flat groups and of cut-off completions, all from 0 to 1."""
    figure = figures.curves(health_long(curves.health), colors=dict(HEALTH.values()))
    width = {"title": {"text": _steps(curves.width)}}
    return figure.update_layout(yaxis={"range": [-0.02, 1.05]}, xaxis=width)


@dataclass(frozen=True)
class Listing:
    """The runs that an address shows: filtered, sorted, and those that are drawn together."""

    frame: pd.DataFrame
    total: int
    columns: list[str]
    picked: list[str]
    group: str

    @property
    def drawn(self) -> pd.DataFrame:
        """The runs of the chart: those picked, else the first of the list; whole groups."""
        if self.picked:
            return self.frame[self.frame["run_id"].isin(self.picked)]
        return self.frame if self.group else self.frame.head(FEW)


def listing(wb: Workbench, runs: pd.DataFrame, view: View) -> Listing:
    """What the table shows for an address."""
    asked = [c for c in view.get("rcols", "").split(",") if c]
    text, sort, group = view.get("rq", ""), view.get("rsort", ""), view.get("rgroup", "")
    named = [key for key, op, _ in run_table.terms(text) if op]
    wanted = [*asked, *named, sort.removeprefix("-"), group]
    known = run_table.known_keys(wb, filter(None, wanted))
    tags = overview.tags(wb.store)
    frame = run_table.with_columns(wb, runs, tags, known)
    frame = run_table.ordered(run_table.filtered(frame, text), sort)
    picked = [r for r in view.get("pick", "").split(",") if r in set(frame["run_id"])]
    extra = [c for c in asked if c in known and c not in run_table.SHOWN]
    hidden = {c.removeprefix("!") for c in asked if c.startswith("!")}
    shown = [c for c in run_table.SHOWN if c not in hidden]
    return Listing(frame, len(runs), [*shown, *extra], picked, group if group in frame else "")


def runs_table(wb: Workbench, runs: pd.DataFrame, view: View) -> Markup:
    """One line a run; sorted, filtered, grouped and with the columns that the address asks for."""
    found = listing(wb, runs, view)
    frame = found.frame if view.get("all") == "1" else found.frame.head(ROWS)
    if found.group:
        groups = run_table.grouped(frame, found.group)
    else:
        groups = [("", frame, math.nan, math.nan)]
    sort = view.get("rsort", "")
    return render(
        "runs.html",
        view=view,
        groups=[(v, part.to_dict("records"), mean, half) for v, part, mean, half in groups],
        tags=overview.tags(wb.store),
        found=len(found.frame),
        shown=len(frame),
        total=found.total,
        columns=[(c, run_table.FACTS.get(c, c.removeprefix(run_table.METRIC)))
                 for c in found.columns],
        group=found.group,
        sort=sort,
        picked=set(found.picked),
        chosen={r: _toggled(found.picked, r) for r in frame["run_id"]},
        choices=run_table.choices(wb),
    )  # fmt: skip


def _toggled(picked: list[str], run_id: str) -> str:
    left = [r for r in picked if r != run_id]
    return ",".join(left if len(left) < len(picked) else [*picked, run_id])
