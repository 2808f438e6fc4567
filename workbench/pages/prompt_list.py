"""The left side of Inspect: which groups there are, filtered, sorted and paged by the store."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from workbench.analysis.groups import PAGE_SIZE, GroupFilter
from workbench.formatting import num
from workbench.pages.chat_text import last_user
from workbench.pages.group_view import found_in
from workbench.pages.page import View
from workbench.pages.render import render

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
SAID = {
    "weight_spread": "spread", "scalar": "reward", "advantage": "advantage",
    "disagreement": "against judge",
}  # fmt: skip
"""What the value that a row is sorted by is called, where the row does not show it anyway."""


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


TITLE = 160
"""Characters of what was asked that a row of the list shows."""


def controls(view: View, facets: pd.DataFrame, names: Sequence[str], wrong: str) -> Markup:
    """Search, kind, split, step, reward range and order."""
    return render(
        "filters.html",
        filters=filters_of(view),
        splits=list(dict.fromkeys(facets["split"])) or ["train"],
        kinds=sorted(set(facets["kind"])),
        orders=[(k, f"sort: {t}") for k, (t, _, _) in SORTS.items()],
        order=view.get("sort", "newest"),
        ranges=[*names, "judge", "advantage"],
        wrong=wrong,
    )


def prompt_rows(
    groups: pd.DataFrame, names: Sequence[str], colors: Mapping[str, str], view: View
) -> Markup:
    """The list itself, and under it where in the whole it stands."""
    page, text = page_of(view), view.get("q", "")
    _, column, _ = SORTS.get(view.get("sort", ""), SORTS["newest"])
    chosen = (view.get("prompt", ""), view.get("step", ""), view.get("gsplit", ""))
    first = page * PAGE_SIZE + 1
    return render(
        "prompts.html",
        rows=[_row(row, names, text, column, chosen) for row in groups.to_dict("records")],
        colors=colors,
        first=first,
        last=first + len(groups) - 1,
        total=int(groups["total"].iloc[0]) if len(groups) else 0,
        page=page,
    )


def _row(
    row: Mapping[Any, Any],
    names: Sequence[str],
    text: str,
    column: str,
    chosen: tuple[str, str, str],
) -> dict[str, Any]:
    """A group of the list: what was asked, the value that it is sorted by, its weights."""
    key = (str(row["prompt_id"]), str(row["step"]), str(row["split"]))
    asked = " ".join(last_user(str(row["prompt"])).split())
    at = asked.lower().find(text.lower()) if text else -1
    begin = max(0, at - TITLE // 2) if at > TITLE else 0
    shown = ("… " if begin else "") + asked[begin : begin + TITLE]
    return {
        "key": key,
        "chosen": key == chosen,
        "kind": row["kind"],
        "title": found_in(shown, text),
        "inside": bool(text) and at < 0,
        "value": f"{SAID[column]} {num(row[column])}" if column in SAID else "",
        "weights": {n: float(row["weights"].get(n, math.nan)) for n in names},
    }
