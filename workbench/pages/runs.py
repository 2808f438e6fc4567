"""Runs: every run, how it goes, and everything that can be done to it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd

from workbench.api.workbench import Workbench
from workbench.pages import log_view, run_actions, run_charts, run_facts, run_picker, runs_view
from workbench.pages.gradio_patches import gr
from workbench.pages.live_cache import LIVE, Curves, Feed, recent, recent_runs
from workbench.pages.page import Page, View, chart, heading, html
from workbench.pages.render import or_problem

FACTS_SECONDS = 10.0
SEVERAL_KEYS = frozenset(
    {"*", "rq", "rsort", "rgroup", "pick", "metric", "smooth", "logy", "xaxis"}
)


def build(wb: Workbench) -> Page:
    """Make the page's widgets."""
    feed = Feed(wb)
    listing = html("runs-list")
    with gr.Column(elem_classes="wb-panel"):
        controls = html("runs-charts")
        several = chart("runs-several", "several runs in one chart")
    detail = html("runs-detail")
    with gr.Row(elem_classes="wb-row2"):
        with gr.Column(elem_classes="wb-panel"):
            heading("Mean reward per objective")
            rewards = chart("runs-rewards", "mean reward per objective over training")
        with gr.Column(elem_classes="wb-panel"):
            heading("Emphasis entropy, flat groups, truncation")
            health = chart("runs-health", "health of the run over training")
    with gr.Column(elem_classes="wb-panel"):
        heading("Weights over training, by kind")
        weights = chart("runs-weights", "weights over training by kind")
    facts = html("runs-facts")
    log = log_view.log_box("runs-log")
    return Page(
        "runs",
        [listing, controls, several, detail, rewards, health, weights, facts, log],
        partial(show, feed),
        run_actions.ACTIONS,
        partial(live, feed),
        pace,
        rows,
    )


def rows(wb: Workbench, view: View) -> tuple[pd.DataFrame, str]:
    """The runs of the table, to download."""
    runs = recent_runs(wb)
    shown = runs_view.listing(wb, runs, view).frame if len(runs) else pd.DataFrame(runs)
    return shown, "runs"


def pace(wb: Workbench, view: View) -> float:
    """Seconds between looks: two while anything goes on, else ten."""
    runs = recent_runs(wb)
    return 2.0 if len(runs) and runs["status"].isin(LIVE).any() else 10.0


def show(feed: Feed, wb: Workbench, view: View, changed: frozenset[str]) -> list[Any]:
    """The table, several runs in one chart, and the chosen run below."""
    runs = recent_runs(wb)
    if not len(runs):
        return [run_picker.no_run(wb, view), "", None, "", None, None, None, "", None]
    skip = gr.skip()
    run = run_picker.chosen(wb, view)
    table = or_problem("The list of runs", runs_view.runs_table, wb, runs, view)
    several = _several(wb, runs, view) if changed & SEVERAL_KEYS else [skip, skip]
    if run is None:
        gone = run_picker.no_run(wb, view)
        return [table, *several, gone, None, None, None, "", None]
    if not changed & {"*", "run"}:
        return [table, *several, *[skip] * 6]
    detail = or_problem("This run", run_actions.detail, wb, run)
    curves = or_problem("Curves of this run", feed.curves, run)
    if isinstance(curves, Curves):
        pictures = runs_view.pictures(curves)
    else:  # their card stands below that of the run
        detail, pictures = detail + curves, [None] * 3
    log = log_view.tail(wb, run["run_id"])
    return [table, *several, detail, *pictures, run_facts.cards(wb, run["run_id"]), log]


def _several(wb: Workbench, runs: pd.DataFrame, view: View) -> list[Any]:
    found = runs_view.listing(wb, runs, view)
    drawn = found.drawn.head(None if found.group else run_charts.MOST_RUNS)
    _, wrong = run_charts.chosen_metrics(wb, view)
    controls = run_charts.controls(wb, view, len(drawn), wrong)
    return [controls, run_charts.chart(wb, view, drawn, found.group) if len(drawn) else None]


def live(feed: Feed, wb: Workbench, view: View, memory: dict[str, Any]) -> list[Any]:
    """What changed since the last look: points that are new, never the whole history again."""
    skip = gr.skip()
    runs = recent_runs(wb)
    run = run_picker.chosen(wb, view)
    if run is None:
        return [skip] * 9
    curves = feed.curves(run)
    watched = (run["run_id"], run.get("attempt"))
    if watched != memory.get("run"):
        memory.update(run=watched, shape=None, ends=None, log=-1)
    ends = curves.ends
    shape = curves.width, [name for name, end in ends.items() if end >= 0]
    if shape != memory["shape"]:  # wider bins, or lines that the pictures do not have yet
        charts: list[Any] = runs_view.pictures(curves)
    elif ends != memory["ends"]:
        charts = runs_view.extensions(curves, memory["ends"])
    else:
        charts = [skip] * 3
    memory.update(shape=shape, ends=ends)
    facts = recent(
        wb, ("facts", watched), lambda: run_facts.cards(wb, run["run_id"]), FACTS_SECONDS
    )
    seen = frozenset(view.items())
    listing = recent(wb, ("list", seen), lambda: runs_view.runs_table(wb, runs, view))
    detail = recent(wb, ("detail", seen), lambda: run_actions.detail(wb, run))
    log = log_view.since(wb, run["run_id"], int(memory["log"]))
    memory["log"] = log["size"] if log else memory["log"]
    several = [skip, skip]
    drawn = recent(wb, ("several", seen), lambda: _several(wb, runs, view), FACTS_SECONDS)
    if memory.get("several") not in (None, id(drawn)) and runs["status"].isin(LIVE).any():
        several = [skip, drawn[1]]
    memory["several"] = id(drawn)
    return [
        _if_new(memory, "list", listing),
        *several,
        _if_new(memory, "detail", detail),
        *charts,
        _if_new(memory, "facts", facts),
        log or skip,
    ]


def _if_new(memory: dict[str, Any], key: str, value: str) -> Any:
    """The value, or a skip when the page already shows it."""
    if memory.get(key) == hash(value):
        return gr.skip()
    memory[key] = hash(value)
    return value
