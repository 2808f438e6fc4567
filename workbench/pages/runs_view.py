"""The parts of Runs: the table of all runs, and the curves of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from workbench.analysis import queries
from workbench.api.workbench import Workbench
from workbench.pages import run_facts
from workbench.pages.live_cache import Curves
from workbench.pages.markup import (
    NOTHING,
    ago,
    attr,
    button,
    card,
    chip,
    duration,
    esc,
    exports,
    go,
    num,
    table,
)  # fmt: skip
from workbench.pages.page import View
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


def runs_table(wb: Workbench, runs: pd.DataFrame, view: View) -> str:
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
    head = [
        ("run", ""), ("status", ""), ("progress", ""), ("left", "wb-num"), ("steps/s", "wb-num"),
        ("judge", "wb-num"), ("scalarizer", ""), ("seed", "wb-num"), ("started", "wb-num"),
    ]  # fmt: skip
    lines = [
        run_line(row, view.get("run") in (row["name"], row["run_id"]), tags.get(row["run_id"], []))
        for row in shown.to_dict("records")
    ]
    tools = exports() + button("New run", go(tab="launch"), "primary")
    if total > FEW or wanted:
        tools = (
            '<label class="wb-field"><span>search runs</span><input type="search" data-param="rq" '
            f'placeholder="search runs and tags" {attr("data-value", view.get("rq", ""))}></label>'
            + tools
        )
    more = button(f"show all {len(runs)}", go(all="1")) if len(shown) < len(runs) else ""
    count = f"{len(runs)} of {total} runs" if wanted else f"{total} run{'s' if total > 1 else ''}"
    return card(count, table(head, lines, "wb-runs") + more, tools)


def run_line(row: dict[str, Any], chosen: bool, tags: list[tuple[str, str]]) -> str:
    """One run of the table."""
    step, steps = int(row["step"] or 0), int(row["steps"] or 0)
    share = 100 * step / steps if steps else 0
    seed = row.get("seed")
    phase = row.get("phase")
    doing = " · " + esc(phase) if isinstance(phase, str) and phase else ""
    left = duration(row["eta_seconds"]) if row["status"] == "running" else NOTHING
    return (
        f'<tr class="{"sel" if chosen else ""}" data-step-through {go(run=str(row["name"]))}>'
        f'<td><button type="button" class="wb-button link" {go(run=str(row["name"]))}>'
        f"<b>{esc(row['name'])}</b></button> {run_facts.tag_chips(row['run_id'], tags, False)}</td>"
        f'<td><i class="wb-dot {esc(row["status"])}"></i>{esc(row["status"])}'
        f'<span class="wb-dim">{doing}</span></td>'
        '<td class="wb-nowrap"><span class="wb-progress">'
        f'<u style="width:{share:.0f}%"></u></span>'
        f'<span class="wb-num">{step}/{steps}</span></td>'
        f'<td class="wb-num">{left}</td>'
        f'<td class="wb-num">{num(row["steps_per_second"])}</td>'
        f'<td class="wb-num">{num(row["headline"])}</td>'
        f"<td>{chip(str(row.get('scalarizer') or row.get('kind')))}</td>"
        f'<td class="wb-num">{NOTHING if seed is None else esc(seed)}</td>'
        f'<td class="wb-num wb-dim">{ago(row["created"])}</td></tr>'
    )
