"""Inspect: the weight choice for each prompt, what it did, and what another would have done."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from workbench.analysis import completions, groups, queries
from workbench.api.workbench import Workbench
from workbench.config import RunConfig
from workbench.pages import chat_text, group_view, prompt_list, run_picker, what_if
from workbench.pages.export import flat
from workbench.pages.gradio_patches import gr
from workbench.pages.live_cache import LIVE, config_of
from workbench.pages.long_curves import shortened
from workbench.pages.page import Page, View, chart, html
from workbench.pages.render import empty, go, macro, or_problem
from workbench.pages.token_text import aligned, shades, tokenizer_of
from workbench.plots import figures
from workbench.runs.rundir import UnknownRunError

LIST_KEYS = prompt_list.FILTER_KEYS | {"*"}
PROMPT_KEYS = frozenset({"*", "prompt", "step", "gsplit", "split"})
GROUP_KEYS = PROMPT_KEYS | {"w", "alt", "std", "shade", "each", "special", "q"}
MOST_POINTS = 1500
CARRIED = 16_000
"""Tokens of one text that are tinted at most: more of them would make the browser wait."""


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
    return Page("inspect", outputs, show, {}, live, pace, shown_rows, long_text)


def show(wb: Workbench, view: View, changed: frozenset[str]) -> list[Any]:
    """Fill the page for an address; only what the changed keys touch is recomputed."""
    run = run_picker.chosen(wb, view)
    top = run_picker.picker(wb, view)
    if run is None:
        return _nothing(top, run_picker.no_run(wb, view))
    names = queries.objectives(wb.store, run["run_id"])
    if not names or queries.facets(wb.store, run["run_id"]).empty:
        body = empty(
            "No rollouts yet",
            "This run has not published its first step. The page fills as soon as it has.",
            "Watch it on Runs",
            go(tab="runs"),
        )
        return _nothing(top, body)
    return _fill(wb, view, changed, run["run_id"], names, top)


def pace(wb: Workbench, view: View) -> float:
    """Seconds between looks: three while the run trains, else none."""
    run = run_picker.chosen(wb, dict(view))
    return 3.0 if run is not None and run["status"] in LIVE else 0.0


def live(wb: Workbench, view: View, memory: dict[str, Any]) -> list[Any]:
    """What a run that trains has added: the list, and the chosen group where it grew."""
    run = run_picker.chosen(wb, view)
    now = None if run is None else (run["run_id"], run["step"], run["status"])
    if memory.get("seen") == now:
        return [gr.skip()] * 9
    first = "seen" not in memory
    memory["seen"] = now
    if first:  # the page has just been filled by ``show``
        return [gr.skip()] * 9
    values = show(wb, view, frozenset({"page", "live"}))
    return [values[0], gr.skip(), values[2], *values[3:]]


def _nothing(top: str, body: str) -> list[Any]:
    return [top, "", "", body, "", None, "", "", None]


def _fill(
    wb: Workbench, view: View, changed: frozenset[str], run_id: str, names: list[str], top: str
) -> list[Any]:
    colors = figures.objective_colors(names)
    skip = gr.skip()
    facets = queries.facets(wb.store, run_id)
    splits = list(dict.fromkeys(facets["split"]))
    if view.get("split") not in splits:
        view["split"] = "train" if "train" in splits else splits[0]
    listed, wrong = _listed(wb, view, run_id)
    if "prompt" not in view and len(listed):
        view["prompt"], view["step"] = str(listed["prompt_id"].iloc[0]), str(listed["step"].iloc[0])
        view["gsplit"] = view["split"]
    rows, step, steps = _rows(wb, view, run_id)
    values: list[Any] = [
        top,
        prompt_list.controls(view, facets, names, wrong) if changed & LIST_KEYS else skip,
        prompt_list.prompt_rows(listed, names, colors, view),
    ]
    if rows is None:
        gone = empty("This prompt is not in this run", "Choose one from the list.")
        return [*values, gone, "", None, "", "", None]
    here = objectives_here(rows, names)
    other = or_problem("What if", what_if.alternative, wb, view, run_id, here, step)
    known = not isinstance(other, Markup)
    inside = (step["group_id"] == rows["group_id"].iloc[0]).to_numpy()
    if changed & GROUP_KEYS:
        texts = completions.texts(wb.store, run_id, rows, view.get("q", ""))
        parts = shades(texts, tokenizer_of(wb, run_id)) if view.get("shade") == "1" else None
        new = other.advantages[inside] if known else rows["advantage"].to_numpy(dtype=float)
        values.append(
            or_problem(
                "This group",
                group_view.group_card,
                view,
                rows,
                texts,
                step,
                steps,
                here,
                colors,
                new,
                parts,
                _config(wb, run_id),
            )
        )
    else:
        values.append(skip)
    values += _across(wb, view, run_id, rows) if changed & PROMPT_KEYS else [skip, skip]
    conductors = what_if.conductors(wb, names)
    values.append(
        what_if.panel(view, here, colors, rows, other, inside, conductors) if known else other
    )
    if changed & {"*", "split", "prompt"}:
        points = queries.weight_map(wb.store, run_id, view["split"], MOST_POINTS)
        title = macro("title", "Weight map, all prompts", f"{len(points):,} prompts, last seen")
        values += [title, figures.plain(figures.weight_map(points, names, view.get("prompt")))]
    else:
        values += [skip, skip]
    return values


def objectives_here(rows: pd.DataFrame, names: list[str]) -> list[str]:
    """The objectives that this group has rewards of: kinds may have different ones."""
    keys = {key for rewards in rows["rewards"] for key in rewards}
    return [name for name in names if name in keys]


def shown_rows(wb: Workbench, view: View) -> tuple[pd.DataFrame, str] | None:
    """The rows of the chosen group, with the advantages of the what-if beside those used."""
    run = run_picker.chosen(wb, view)
    names = queries.objectives(wb.store, run["run_id"]) if run else []
    if run is None or not names:
        return None
    rows, step, _ = _rows(wb, view, run["run_id"])
    if rows is None:
        return None
    other = what_if.alternative(wb, view, run["run_id"], objectives_here(rows, names), step)
    inside = (step["group_id"] == rows["group_id"].iloc[0]).to_numpy()
    whole = queries.rollouts(wb.store, run["run_id"], group_id=str(rows["group_id"].iloc[0]))
    name = f"{view.get('run', 'run')}-{view.get('prompt', '')}-step{view.get('step', '')}"
    return flat(whole.sort_values("sample").assign(what_if=other.advantages[inside])), name


def long_text(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """A completion's whole answer or thought, as the address asks for it: ``of`` is SAMPLE:PART.

    Raises:
        LookupError: there is no such completion.
    """
    run = run_picker.chosen(wb, view)
    rows = None if run is None else _rows(wb, view, run["run_id"])[0]
    sample, _, part = str(args.get("of", "")).partition(":")
    if run is None or rows is None or not sample.isdecimal():
        raise LookupError("this text is not there any more")
    row = completions.whole_text(wb.store, run["run_id"], rows, int(sample))
    text = str(row["completion"])
    entropies = row["token_entropies"]
    if view.get("shade") == "1" and part == "answer" and entropies is not None:
        if len(entropies) <= CARRIED:
            tokenizer = tokenizer_of(wb, run["run_id"])
            parts = aligned(tokenizer, row["token_ids"], list(entropies), text)
            if parts:
                return group_view.shaded_text(text, parts)
    if view.get("special") != "1":
        thought, answer = chat_text.thought_and_answer(text)
        text = thought if part == "thought" else answer
    return group_view.found_in(text, view.get("q", ""))


def _config(wb: Workbench, run_id: str) -> RunConfig | None:
    """The configuration of a run; None where the run was imported and has none of its own."""
    try:
        return config_of(wb, run_id)
    except UnknownRunError:
        return None


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

    Settles ``step`` and ``gsplit``, the split of the chosen group: the list may show another one,
    which ``split`` filters by.
    """
    seen = queries.steps_of_prompt(wb.store, run_id, view.get("prompt", ""))
    splits = list(dict.fromkeys(seen["split"]))
    if not splits:
        return None, pd.DataFrame(), []
    asked = (view.get("gsplit"), view.get("split"))
    view["gsplit"] = next((s for s in asked if s in splits), splits[-1])
    steps = [int(s) for s in seen[seen["split"] == view["gsplit"]]["step"]]
    wanted = int(view["step"]) if view.get("step", "").isdecimal() else steps[-1]
    at = wanted if wanted in steps else min(steps, key=lambda s: abs(s - wanted))
    view["step"] = str(at)
    step = completions.step_numbers(wb.store, run_id, view["gsplit"], at)
    mine = step[step["prompt_id"] == view["prompt"]]
    return mine[mine["group_id"] == mine["group_id"].iloc[0]], step, steps


def _across(wb: Workbench, view: View, run_id: str, rows: pd.DataFrame) -> list[Any]:
    """This prompt's weights over training where it was probed, else those of its kind."""
    frame = queries.weights_over_steps(wb.store, run_id, "prompt_id", view["prompt"])
    title = "This prompt across steps"
    if frame["step"].nunique() < 3:
        kind = str(rows["kind"].iloc[0])
        frame = queries.weights_over_steps(wb.store, run_id, "kind", kind)
        title = f"All {kind} prompts across steps"
    figure = figures.weight_area(shortened(frame), mark=int(view["step"]))
    return [macro("title", title, "mean weights"), figures.plain(figure)]
