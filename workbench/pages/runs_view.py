"""The parts of Runs: the table of all runs, and the curves of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from workbench.analysis import page_queries
from workbench.api.workbench import Workbench
from workbench.pages import run_facts
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
    figure = figures.curves(both, colors={page_queries.JUDGE: "#868e96"})
    figure.update_layout(xaxis={"title": {"text": _steps(curves.width)}})
    return figure.update_traces(
        line={"dash": "dot", "width": 2.2},
        mode="lines+markers",
        selector={"name": page_queries.JUDGE},
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


def runs_table(wb: Workbench, runs: pd.DataFrame, view: View) -> Markup:
    """One line a run; a search narrows them by name, scalarizer, status or tag."""
    tags = run_facts.tags_of(wb)
    wanted = view.get("rq", "").lower()
    total = len(runs)
    if wanted:
        texts = [
            " ".join(map(str, [r["name"], r["status"], r.get("scalarizer"), tags.get(r["run_id"])]))
            for r in runs.to_dict("records")
        ]
        runs = runs[[wanted in text.lower() for text in texts]]
    shown = runs if view.get("all") == "1" else runs.head(ROWS)
    return render(
        "runs.html",
        view=view,
        runs=shown.to_dict("records"),
        tags=tags,
        found=len(runs),
        total=total,
        searchable=total > FEW or bool(wanted),
    )
