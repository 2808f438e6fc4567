"""Compare: runs and checkpoints on the same held-out prompts, with what is certain and what not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd

from workbench.analysis.comparison import Comparison
from workbench.analysis.overview import evaluated, evaluated_objectives
from workbench.api.workbench import Workbench
from workbench.pages import compare_ask, compare_views, sweep_view
from workbench.pages.gradio_patches import gr
from workbench.pages.jobs import Jobs
from workbench.pages.page import Page, View, chart, heading, html
from workbench.pages.render import empty, go, or_problem
from workbench.plots import figures

TEXT_KEYS = frozenset({"tpage", "tkind", "tsort"})


def build(wb: Workbench) -> Page:
    """Make the page's widgets."""
    jobs = Jobs(wb)
    picker = html("compare-picker")
    with gr.Row(elem_classes="wb-row2"):
        with gr.Column(elem_classes="wb-panel"):
            heading("Means on held-out prompts, 95 % intervals")
            means = chart("compare-means", "means with intervals")
        with gr.Column(elem_classes="wb-panel"):
            front_head = html("compare-front-head")
            front = chart("compare-front", "Pareto front over two objectives")
    tables = html("compare-tables")
    texts = html("compare-texts")
    own = html("compare-own")
    asked = html("compare-ask")
    work = html("compare-jobs")
    sweep = html("compare-sweep")
    with gr.Row(elem_classes="wb-row2"):
        lines = chart("compare-parallel", "every trial of the sweep as a line over its settings")
        trade = chart("compare-sweep-front", "configurations of the sweep over two objectives")
    return Page(
        "compare",
        [picker, means, front_head, front, tables, own, texts, asked, work, sweep, lines, trade],
        partial(show, jobs),
        {
            "evaluate": lambda wb, view, args: compare_ask.evaluate(wb, jobs, view, args),
            "ask": lambda wb, view, args: compare_ask.ask(
                wb, jobs, view, args, evaluated(wb.store)
            ),
            "cancel": lambda wb, view, args: cancel(jobs, args),
        },
        partial(live, jobs),
        lambda wb, view: 2.0 if jobs.active else 0.0,
        rows,
    )


def cancel(jobs: Jobs, args: dict[str, Any]) -> str:
    """End an evaluation."""
    jobs.cancel(int(args["job"]))
    return "Cancelled"


def rows(wb: Workbench, view: View) -> tuple[pd.DataFrame, str] | None:
    """The means with their intervals, to download."""
    sides = sides_of(view, evaluated(wb.store))
    if len(sides) < 2:
        return None
    return wb.compare(sides).means, f"compare-{','.join(sides)}"


def live(jobs: Jobs, wb: Workbench, view: View, memory: dict[str, Any]) -> list[Any]:
    """Show the jobs at work; when one has ended, the whole page."""
    now = [(j.identity, j.status) for j in jobs.list()]
    before, memory["jobs"] = memory.get("jobs", now), now
    work = compare_ask.jobs_card(jobs.list())
    values: list[Any] = [gr.skip()] * 7
    if before != now:
        values = show(jobs, wb, view, frozenset({"*"}))[:7]
    # what a person is typing under "Evaluate more" is never drawn anew
    shown = work if jobs.active or before != now else gr.skip()
    return [*values, gr.skip(), shown, *[gr.skip()] * 3]


def sides_of(view: View, known: pd.DataFrame) -> list[str]:
    """What the address compares; without any, the newest run's first and last evaluation.

    Of those on the split that most of them share: sides on different prompts cannot be compared.
    """
    names = {f"{r.name_}@{r.phase}" for r in known.rename(columns={"name": "name_"}).itertuples()}
    asked = [s for s in view.get("sides", "").split(",") if s in names]
    if not asked and "sides" not in view and len(known):
        newest = known[known["run_id"] == known["run_id"].iloc[0]]
        newest = newest[newest["split"] == newest["split"].mode()[0]]
        asked = list(dict.fromkeys(newest["name"] + "@" + newest["phase"]))
        asked = [asked[0], asked[-1]] if len(asked) > 1 else asked
    return list(dict.fromkeys(asked))


def show(jobs: Jobs, wb: Workbench, view: View, changed: frozenset[str]) -> list[Any]:
    """Fill the page for an address."""
    known = evaluated(wb.store)
    if not len(known):
        nothing = empty(
            "Nothing to compare yet",
            "A run evaluates its policy before and after training. Let one finish, or start one.",
            "Go to Launch",
            go(tab="launch"),
        )
        return [nothing, None, "", None, *[""] * 5, *sweep_view.show(wb, view)]
    sides = sides_of(view, known)
    view["sides"] = ",".join(sides) or "none"
    ends = [
        or_problem("Your prompt", compare_ask.answers, wb, view),
        "",
        or_problem("Evaluate more", compare_ask.ask_card, wb, view, sides),
        compare_ask.jobs_card(jobs.list()),
        *sweep_view.show(wb, view),
    ]
    picker = compare_views.picker(known, sides)
    if len(sides) < 2:
        advice = empty("Choose two or more sides", "Tick evaluations above to compare them.")
        return [picker, None, "", None, advice, *ends]
    reference, problem = compare_views.reference_of(view, objectives_of(wb, known, sides))
    if isinstance(reference, str) and reference not in (*compare_views.REFERENCES, *sides):
        reference = None
        view.pop("at")
    try:
        found = wb.compare(sides, reference=reference)
    except ValueError as error:
        advice = empty("These cannot be compared", str(error))
        return [picker, None, "", None, advice, *ends]
    ends[1] = compare_views.texts(found, view)
    if changed and changed <= TEXT_KEYS:
        return [*[gr.skip()] * 5, *ends]
    tables = compare_views.tables(found, view, problem)
    return [picker, *_pictures(found, view), tables, *ends]


def objectives_of(wb: Workbench, known: pd.DataFrame, sides: Sequence[str]) -> list[str]:
    """The objectives that all sides have, in the order of the first, as a comparison lists them."""
    names = {side.rpartition("@")[0] for side in sides}
    runs = known[known["name"].isin(names)].drop_duplicates("run_id").set_index("run_id")["name"]
    known_names = evaluated_objectives(wb.store, list(runs.index))
    has = {runs[run_id]: found for run_id, found in known_names.items()}
    first = has[sides[0].rpartition("@")[0]]
    return [n for n in first if all(n in others for others in has.values())]


def _pictures(found: Comparison, view: View) -> list[Any]:
    overall = found.means[found.means["kind"] == "all"]
    names = [c for c in found.front.columns if c not in ("side", "front")]
    if len(names) < 2:
        return [figures.plain(figures.means_with_intervals(overall)), "", None]
    x = view["x"] if view.get("x") in names else names[0]
    y = view["y"] if view.get("y") in names and view.get("y") != x else ""
    y = y or next(n for n in reversed(names) if n != x)
    return [
        figures.plain(figures.means_with_intervals(overall)),
        compare_views.front_head(names, x, y),
        figures.plain(figures.pareto(found.front, x, y)),
    ]
