"""The left side of Inspect: which groups there are, filtered, sorted and paged by the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from workbench.analysis.groups import PAGE_SIZE, GroupFilter
from workbench.pages.markup import attr, button, chip, esc, go, select, stack
from workbench.pages.page import View

FILTER_KEYS = frozenset({"q", "kind", "split", "at", "where", "sort", "page"})


SORTS = {
    "newest": ("newest first", "step", True),
    "spread": ("weight spread", "weight_spread", True),
    "best": ("highest reward", "scalar", True),
    "worst": ("lowest reward", "scalar", False),
    "push": ("largest advantage", "advantage", True),
    "judge": ("advantage against judge", "disagreement", True),
    "flat": ("flattest groups", "advantage", False),
    "prompt": ("prompt A to Z", "prompt", False),
}
"""What an address says, what a person reads, what ``groups`` sorts by, and whether descending."""


def filters_of(view: View) -> GroupFilter:
    """The filters that an address asks for."""
    return GroupFilter(
        text=view.get("q", ""),
        kind=view.get("kind", ""),
        split=view.get("split", "train"),
        step=view.get("at", ""),
        where=view.get("where", ""),
    )


def page_of(view: View) -> int:
    """The page of the list that an address asks for, from 0."""
    page = view.get("page", "0")
    return int(page) if page.isdecimal() else 0


def controls(view: View, facets: pd.DataFrame, names: Sequence[str], problem: str) -> str:
    """Search, kind, split, step, reward range and order."""
    filters = filters_of(view)
    splits = list(dict.fromkeys(facets["split"])) or ["train"]
    kinds = sorted(set(facets["kind"]))
    hint = f'<div class="wb-error" role="alert">{esc(problem)}</div>' if problem else ""
    ranges = "".join(
        f"<option {attr('value', f'{n} < 0.3')}></option>" for n in (*names, "judge", "advantage")
    )
    return (
        '<div class="wb-filters">'
        '<label class="wb-field wide"><span>search prompts and completions</span>'
        '<input type="search" data-param="q" data-resets="page" data-key="/" '
        f"{attr('data-value', filters.text)} "
        'placeholder="search prompts and completions  ( / )"></label>'
        + select(
            "kind", "kind", [("", "kind: all"), *((k, f"kind: {k}") for k in kinds)], filters.kind
        )
        + select("split", "split", [(s, f"split: {s}") for s in splits], filters.split)
        + '<label class="wb-field"><span>step</span><input type="number" min="0" data-param="at" '
        f'data-resets="page" placeholder="step: all" {attr("data-value", filters.step)}></label>'
        '<label class="wb-field"><span>reward range</span><input type="text" data-param="where" '
        f'data-resets="page" list="wb-ranges" placeholder="reward: any" '
        f"{attr('data-value', filters.where)}>"
        f'<datalist id="wb-ranges">{ranges}</datalist></label>'
        + select(
            "sort",
            "order",
            [(k, f"sort: {t}") for k, (t, _, _) in SORTS.items()],
            view.get("sort", "newest"),
            True,
        )
        + f"</div>{hint}"
    )


def prompt_rows(
    groups: pd.DataFrame,
    names: Sequence[str],
    colors: Mapping[str, str],
    selected: tuple[str, str],
    page: int,
) -> str:
    """The list itself, and under it where in the whole it stands."""
    if not len(groups):
        return '<div class="wb-empty"><b>No group matches</b><p>Loosen a filter above.</p></div>'
    rows = []
    for row in groups.itertuples():
        weights = {n: row.weights[n] for n in names if n in row.weights}
        chosen = (str(row.prompt_id), str(row.step)) == selected
        state = ' aria-current="true"' if chosen else ""
        rows.append(
            f'<button type="button" class="wb-prompt{" sel" if chosen else ""}" '
            f"{go(prompt=str(row.prompt_id), step=str(row.step))}{state}>"
            f'{chip(str(row.kind))}<span class="pt" dir="auto">{esc(row.prompt)}</span>'
            f"<small>step {int(row.step)}</small>"
            f"{stack(weights, colors, 8, 'mean weights:')}</button>"
        )
    total = int(groups["total"].iloc[0])
    first = page * PAGE_SIZE + 1
    last = first + len(groups) - 1
    back = button(
        "‹", go(page=str(page - 1) if page > 1 else ""), title="previous page", off=page == 0
    )
    on = button("›", go(page=str(page + 1)), title="next page", off=last >= total)
    return (
        f'<div class="wb-prompts" role="listbox" aria-label="prompts">{"".join(rows)}</div>'
        f'<div class="wb-bar wb-dim wb-foot"><span>{first}–{last} of {total:,} groups</span>'
        f'<span class="wb-right">{back} {on}</span></div>'
        '<div class="wb-dim wb-foot">j / k prompt · h / l step · / search</div>'
    )
