"""Inspect: the weight choice for each prompt, what it did, and what another would have done."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workbench.analysis import groups, queries
from workbench.api.workbench import Workbench
from workbench.pages import group_view, prompt_list, run_picker, what_if
from workbench.pages.live_cache import config_of
from workbench.pages.long_curves import shortened
from workbench.pages.markup import attr, button, card, empty, esc, exports, go
from workbench.pages.page import Page, View, chart, html
from workbench.pages.quick_gradio import gr
from workbench.pages.token_text import tokenizer_of
from workbench.plots import figures
from workbench.types import Floats

LIST_KEYS = prompt_list.FILTER_KEYS | {"*"}
GROUP_KEYS = frozenset({"*", "prompt", "step", "w", "alt", "std", "shade", "split"})
MOST_POINTS = 1500
PROMPT_KEYS = frozenset({"*", "prompt", "step", "split"})


def build(wb: Workbench) -> Page:
    """Make the page's widgets."""
    top = html("inspect-top")
    with gr.Row(elem_classes="wb-split"):
        with gr.Column(elem_classes="wb-panel"):
            filters = html("inspect-filters")
            prompts = html("inspect-prompts")
        with gr.Column():
            group = html("inspect-group")
            with gr.Row(elem_classes="wb-row3"):
                with gr.Column(elem_classes="wb-panel"):
                    across_title = html("inspect-across-title")
                    across = chart("inspect-across", "mean weights over training")
                with gr.Column(elem_classes="wb-panel"):
                    alternatives = html("inspect-whatif")
                with gr.Column(elem_classes="wb-panel"):
                    map_title = html("inspect-map-title")
                    weight_map = chart("inspect-map", "weight map of all prompts")
    outputs = [
        top, filters, prompts, group, across_title, across, alternatives, map_title, weight_map,
    ]  # fmt: skip
    return Page("inspect", outputs, show)


def show(wb: Workbench, view: View, changed: frozenset[str]) -> list[Any]:
    """Fill the page for an address; only what the changed keys touch is recomputed."""
    run = run_picker.chosen(wb, view)
    if run is None:
        return _nothing(run_picker.strip(wb, view), run_picker.no_run(wb, view))
    names = queries.objectives(wb.store, run["run_id"])
    top = run_picker.strip(wb, view)
    if not names or queries.facets(wb.store, run["run_id"]).empty:
        return _nothing(
            top,
            empty(
                "No rollouts yet",
                "This run has not published its first step. The page fills as soon as it has.",
                button("Watch it on Runs", go(tab="runs")),
            ),
        )
    return _fill(wb, view, changed, run["run_id"], names, top)


def _nothing(top: str, body: str) -> list[Any]:
    return [top, "", "", card("", body), "", None, "", "", None]


def _fill(
    wb: Workbench, view: View, changed: frozenset[str], run_id: str, names: list[str], top: str
) -> list[Any]:
    colors = figures.objective_colors(names)
    skip = gr.skip()
    facets = queries.facets(wb.store, run_id)
    if view.get("split") not in set(facets["split"]):
        view["split"] = "train" if "train" in set(facets["split"]) else str(facets["split"].iloc[0])
    listed, problem = _listed(wb, view, run_id)
    if "prompt" not in view and len(listed):
        view["prompt"], view["step"] = str(listed["prompt_id"].iloc[0]), str(listed["step"].iloc[0])
    rows, step, steps = _rows(wb, view, run_id)
    list_changed = bool(changed & LIST_KEYS)
    values: list[Any] = [
        top,
        prompt_list.controls(view, facets, names, problem) if list_changed else skip,
        prompt_list.prompt_rows(
            listed, names, colors, (view.get("prompt", ""), view.get("step", "")),
            prompt_list.page_of(view),
        ),
    ]  # fmt: skip
    if rows is None:
        gone = empty("This prompt is not in this run", "Choose one from the list.")
        return [*values, card("", gone), "", None, "", "", None]
    others = what_if.alternative(wb, view, run_id, names, step)
    inside = (step["group_id"] == rows["group_id"].iloc[0]).to_numpy()
    shaded = view.get("shade") == "1" and bool(changed & GROUP_KEYS)
    parts = group_view.shades(rows, tokenizer_of(wb, run_id)) if shaded else None
    values.append(
        _group_card(wb, view, rows, step, steps, names, colors, others.advantages[inside], parts)
        if changed & GROUP_KEYS
        else skip
    )
    if changed & PROMPT_KEYS:
        values += _across(wb, view, run_id, rows)
    else:
        values += [skip, skip]
    conductors = what_if.conductors(wb, names)
    values.append(what_if.panel(view, names, colors, rows, others, inside, conductors))
    if changed & {"*", "split", "prompt"}:
        points = queries.weight_map(wb.store, run_id, view["split"], MOST_POINTS)
        title = _title("Weight map, all prompts", f"{len(points):,} prompts, last seen")
        values += [title, figures.plain(figures.weight_map(points, names, view.get("prompt")))]
    else:
        values += [skip, skip]
    return values


def shown_rows(wb: Workbench, view: View) -> pd.DataFrame | None:
    """The rows of the chosen group, with the advantages of the what-if beside those used."""
    run = run_picker.chosen(wb, view)
    names = queries.objectives(wb.store, run["run_id"]) if run else []
    if run is None or not names:
        return None
    view.setdefault("split", "train")
    rows, step, _ = _rows(wb, view, run["run_id"])
    if rows is None:
        return None
    other = what_if.alternative(wb, view, run["run_id"], names, step)
    inside = (step["group_id"] == rows["group_id"].iloc[0]).to_numpy()
    return rows.assign(what_if=other.advantages[inside])


def _listed(wb: Workbench, view: View, run_id: str) -> tuple[pd.DataFrame, str]:
    _, sort, descending = prompt_list.SORTS.get(view.get("sort", ""), prompt_list.SORTS["newest"])
    offset = prompt_list.page_of(view) * groups.PAGE_SIZE
    how: dict[str, Any] = {"sort": sort, "descending": descending, "offset": offset}
    try:
        return groups.groups(wb.store, run_id, prompt_list.filters_of(view), **how), ""
    except ValueError as error:
        kept = {"split": view["split"], "q": view.get("q", "")}
        return groups.groups(wb.store, run_id, prompt_list.filters_of(kept), **how), str(error)


def _rows(
    wb: Workbench, view: View, run_id: str
) -> tuple[pd.DataFrame | None, pd.DataFrame, list[int]]:
    """The rows of the chosen group, those of its step, and the steps at which it was sampled.

    Settles ``split`` and ``step`` in the address.
    """
    seen = queries.steps_of_prompt(wb.store, run_id, view.get("prompt", ""))
    here = seen[seen["split"] == view["split"]]
    if not len(here) and len(seen):
        view["split"] = str(seen["split"].iloc[-1])
        here = seen[seen["split"] == view["split"]]
    if not len(here):
        return None, pd.DataFrame(), []
    steps = [int(s) for s in here["step"]]
    wanted = int(view["step"]) if view.get("step", "").isdecimal() else steps[-1]
    at = wanted if wanted in steps else min(steps, key=lambda s: abs(s - wanted))
    view["step"] = str(at)
    step = queries.rollouts(wb.store, run_id, split=view["split"], step=at)
    mine = step[step["prompt_id"] == view["prompt"]]
    return mine[mine["group_id"] == mine["group_id"].iloc[0]], step, steps


def _group_card(
    wb: Workbench,
    view: View,
    rows: pd.DataFrame,
    step: pd.DataFrame,
    steps: list[int],
    names: list[str],
    colors: dict[str, str],
    alternative: Floats,
    parts: Any,
) -> str:
    at = steps.index(int(view["step"]))
    before = str(steps[at - 1]) if at else ""
    after = str(steps[at + 1]) if at + 1 < len(steps) else ""
    tools = (
        f'<span class="wb-stepper" data-steps="{",".join(map(str, steps))}">'
        + button(
            "◀",
            go(step=before),
            title="this prompt one step earlier (h)",
            off=not before,
        )
        + f"<span>step {view['step']}</span>"
        + button(
            "▶",
            go(step=after),
            title="this prompt one step later (l)",
            off=not after,
        )
        + "</span>"
        + _switch(view, "std", "standardised")
        + _switch(view, "shade", "token entropy")
        + exports()
        + button("copy address", attr("data-copy", ""), title="an address that opens this view")
    )
    head = group_view.head(rows.iloc[0], len(rows), names, colors)
    table = group_view.group_table(
        rows, step, names, colors, alternative, config_of(wb, str(rows["run_id"].iloc[0])),
        standardised=view.get("std") == "1", parts=parts,
    )  # fmt: skip
    return f'<section class="wb-card"><div class="wb-tools">{tools}</div>{head}{table}</section>'


def _switch(view: View, key: str, label: str) -> str:
    on = " checked" if view.get(key) == "1" else ""
    return f'<label><input type="checkbox" data-param="{key}"{on}> {label}</label>'


def _title(title: str, more: str = "") -> str:
    return f'<h3>{esc(title)} <span class="wb-dim">{esc(more)}</span></h3>'


def _across(wb: Workbench, view: View, run_id: str, rows: pd.DataFrame) -> list[Any]:
    """This prompt's weights over training where it was probed, else those of its kind."""
    frame = queries.weights_over_steps(wb.store, run_id, "prompt_id", view["prompt"])
    title = "This prompt across steps"
    if frame["step"].nunique() < 3:
        kind = str(rows["kind"].iloc[0])
        frame = queries.weights_over_steps(wb.store, run_id, "kind", kind)
        title = f"All {kind} prompts across steps"
    figure = figures.weight_area(shortened(frame), mark=int(view["step"]))
    return [_title(title, "mean weights"), figures.plain(figure)]
