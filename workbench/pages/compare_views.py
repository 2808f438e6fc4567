"""The parts of Compare: who is compared, by how much they differ, and their texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.analysis.comparison import Comparison
from workbench.config.yamlio import write_flow
from workbench.formatting import NOTHING
from workbench.pages.chat_text import last_user
from workbench.pages.page import View
from workbench.pages.render import render

TEXTS_PER_PAGE = 12
CUT = 3000
"""Characters of a text that are compared and shown."""
REFERENCES = {
    "": "the declared bounds",
    "worst": "just below the worst side",
}
"""Reference points by name, as ``Workbench.compare`` takes them; "" is its own choice."""


def picker(known: pd.DataFrame, sides: Sequence[str]) -> Markup:
    """Every evaluation as a switch, a run a line."""
    runs = []
    for run_id, part in known.groupby("run_id", sort=False):
        name = str(part["name"].iloc[0])
        switches = []
        for row in part.to_dict("records"):
            side = f"{name}@{row['phase']}"
            on = side in sides
            others = [s for s in sides if s != side] if on else [*sides, side]
            switches.append((row, on, ",".join(others) or "none"))
        runs.append((name, run_id, int(part["prompts"].max()), switches))
    return render("compare_picker.html", runs=runs, chosen=len(sides))


def front_head(names: Sequence[str], x: str, y: str) -> Markup:
    """Which two objectives the front is drawn over."""
    return render("front_head.html", names=names, x=x, y=y)


def reference_of(view: View, names: Sequence[str]) -> tuple[Mapping[str, float] | str | None, str]:
    """The reference point that an address asks for, and what is wrong with it."""
    typed = view.get("ref", "")
    if not typed:
        return view.get("at") or None, ""
    try:
        numbers = [float(part) for part in typed.split(",")]
    except ValueError:
        return None, f"{typed!r} are no numbers"
    if len(numbers) != len(names) or not np.isfinite(numbers).all():
        return None, f"{typed!r}: {len(names)} numbers are needed, one per objective"
    return dict(zip(names, numbers, strict=True)), ""


def tables(found: Comparison, view: View, problem: str) -> Markup:
    """Means, wins, hypervolume and differing settings as tables."""
    names = list(found.reference)
    known = dict(REFERENCES) | {side: f"the means of {side}" for side in found.sides}
    typed = bool(view.get("ref"))
    options = [*known.items(), *([("own", "as typed below")] if typed else [])]
    return render(
        "compare.html",
        found=found,
        means=_means(found),
        kinds=_kinds(found),
        wins=_wins(found),
        settings=_settings(found),
        references=[(v, f"above {t}") for v, t in options],
        reference="own" if typed else view.get("at", ""),
        point=[(n, f"{found.reference[n]:.4g}") for n in names],
        volume=found.volume.to_dict("records"),
        problem=problem,
    )


def _means(found: Comparison) -> list[tuple[str, list[dict[str, Any]]]]:
    """Each objective and the judge: one cell a side, the best one marked."""
    overall = found.means[found.means["kind"] == "all"]
    rows = []
    for name in dict.fromkeys(overall["name"]):
        part = overall[overall["name"] == name].set_index("side")
        best = part["mean"].idxmax()
        cells = [
            {c: part.loc[s, c] for c in ("mean", "low", "high")} | {"best": s == best}
            for s in found.sides
        ]
        rows.append((name, cells))
    return rows


def _kinds(found: Comparison) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """The judge for each kind, with its interval: one cell a side, None where it has none."""
    judged = found.means[(found.means["name"] == "judge") & (found.means["kind"] != "all")]
    rows = []
    for kind, part in judged.groupby("kind"):
        by_side = {str(r["side"]): r for r in part.to_dict("records")}
        rows.append((str(kind), [by_side.get(s) for s in found.sides]))
    return rows


def _wins(found: Comparison) -> list[dict[str, Any]]:
    """Each pair of sides once: how often one wins, and whether that is more than chance."""
    return [
        row | {"clear": row["difference_low"] > 0 or row["difference_high"] < 0}
        for row in found.wins.to_dict("records")
        if found.sides.index(row["side"]) <= found.sides.index(row["against"])
    ]


def _settings(found: Comparison) -> list[tuple[str, list[str]]]:
    """Keys that differ with the value of each side, as it stands in YAML."""
    return [
        (
            str(row["key"]),
            [NOTHING if row[s] is None else write_flow(row[s]) for s in found.config.columns[1:]],
        )
        for row in found.config.to_dict("records")
    ]


def texts(found: Comparison, view: View) -> Markup:
    """Completions side by side; what differs from the first side is marked."""
    frame = found.texts
    kinds = sorted(set(frame["kind"]))
    kind = view.get("tkind", "")
    if kind in kinds:
        frame = frame[frame["kind"] == kind]
    page = int(view["tpage"]) if view.get("tpage", "").isdecimal() else 0
    shown = frame.iloc[page * TEXTS_PER_PAGE : (page + 1) * TEXTS_PER_PAGE]
    rows = []
    for row in shown.to_dict("records"):
        first = str(row[found.sides[0]][0])[:CUT]
        cells = [[("equal", first)]]
        cells += [marked(first, str(row[side][0])[:CUT]) for side in found.sides[1:]]
        rows.append(
            {
                "kind": row["kind"],
                "prompt": last_user(str(row["prompt"])),
                "reference": row.get("reference"),
                "cells": cells,
            }
        )
    return render(
        "compare_texts.html",
        rows=rows,
        sides=found.sides,
        kinds=kinds,
        kind=kind,
        page=page,
        first=page * TEXTS_PER_PAGE + 1,
        last=min(len(frame), (page + 1) * TEXTS_PER_PAGE),
        total=len(frame),
    )


def marked(before: str, after: str) -> list[tuple[str, str]]:
    """``after`` in pieces: equal, insert (new words), delete (words of ``before`` that lack)."""
    old, new = before.split(" "), after.split(" ")
    parts = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "delete":
            parts.append(("delete", " ".join(old[i1:i2])))
        else:
            words = " ".join(new[j1:j2])
            parts.append(("equal" if tag == "equal" else "insert", words))
    return parts
