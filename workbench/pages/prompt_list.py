"""The left side of Inspect: which groups there are, filtered, sorted and paged by the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from workbench.analysis.page_queries import PAGE_SIZE, SORTS, Filters
from workbench.formatting import num
from workbench.pages.chat_text import last_user
from workbench.pages.group_view import found_in
from workbench.pages.page import View
from workbench.pages.render import render

FILTER_KEYS = frozenset({"q", "kind", "split", "at", "where", "sort", "page"})


def filters_of(view: View) -> Filters:
    """The filters that an address asks for."""
    page = view.get("page", "0")
    return Filters(
        text=view.get("q", ""),
        kind=view.get("kind", ""),
        split=view.get("split", "train"),
        step=view.get("at", ""),
        where=view.get("where", ""),
        sort=view.get("sort", "newest"),
        page=int(page) if page.isdecimal() else 0,
    )


SORTED_BY = {
    "spread": "spread", "best": "scalar", "worst": "scalar", "push": "push", "judge": "agreement",
    "flat": "push",
}  # fmt: skip
"""The column whose value an order sorts by, where its rows do not show it anyway."""
SAID = {
    "spread": "spread", "scalar": "reward", "push": "advantage", "agreement": "with judge",
}  # fmt: skip
TITLE = 160
"""Characters of what was asked that a row of the list shows."""


def controls(view: View, facets: pd.DataFrame, names: Sequence[str], wrong: str) -> Markup:
    """Search, kind, split, step, reward range and order."""
    return render(
        "filters.html",
        filters=filters_of(view),
        splits=list(dict.fromkeys(facets["split"])) or ["train"],
        kinds=sorted(set(facets["kind"])),
        orders=[(k, f"sort: {t}") for k, (t, _) in SORTS.items()],
        ranges=[*names, "judge", "advantage"],
        wrong=wrong,
    )


def prompt_rows(
    groups: pd.DataFrame, names: Sequence[str], colors: Mapping[str, str], view: View
) -> Markup:
    """The list itself, and under it where in the whole it stands."""
    filters = filters_of(view)
    chosen = (view.get("prompt", ""), view.get("step", ""), view.get("gsplit", ""))
    first = filters.page * PAGE_SIZE + 1
    return render(
        "prompts.html",
        rows=[_row(row, names, filters, chosen) for row in groups.to_dict("records")],
        colors=colors,
        first=first,
        last=first + len(groups) - 1,
        total=int(groups["total"].iloc[0]) if len(groups) else 0,
        page=filters.page,
    )


def _row(
    row: Mapping[Any, Any], names: Sequence[str], filters: Filters, chosen: tuple[str, str, str]
) -> dict[str, Any]:
    """A group of the list: what was asked, the value that it is sorted by, its weights."""
    key = (str(row["prompt_id"]), str(row["step"]), str(row["split"]))
    asked = " ".join(last_user(str(row["prompt"])).split())
    at = asked.lower().find(filters.text.lower()) if filters.text else -1
    begin = max(0, at - TITLE // 2) if at > TITLE else 0
    shown = ("… " if begin else "") + asked[begin : begin + TITLE]
    column = SORTED_BY.get(filters.sort)
    return {
        "key": key,
        "chosen": key == chosen,
        "kind": row["kind"],
        "title": found_in(shown, filters.text),
        "inside": bool(filters.text) and at < 0,
        "value": f"{SAID[column]} {num(row[column])}" if column else "",
        "weights": {n: float(row[f"w{i}"]) for i, n in enumerate(names)},
    }
