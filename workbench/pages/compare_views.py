"""The parts of Compare: who is compared, by how much they differ, and their texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

import numpy as np
import pandas as pd

from workbench.analysis.comparison import Comparison
from workbench.config.yamlio import write_flow
from workbench.pages.markup import (
    NOTHING,
    attr,
    button,
    card,
    chip,
    esc,
    exports,
    go,
    num,
    percent,
    select,
    table,
)  # fmt: skip
from workbench.pages.page import View

TEXTS_PER_PAGE = 12
REFERENCES = {
    "": "the declared bounds",
    "worst": "just below the worst side",
}
"""Reference points by name, as ``Workbench.compare`` takes them; "" is its own choice."""


def picker(known: pd.DataFrame, sides: Sequence[str]) -> str:
    """Every evaluation as a switch, a run a line."""
    lines = []
    for run_id, part in known.groupby("run_id", sort=False):
        name = str(part["name"].iloc[0])
        switches = []
        for row in part.itertuples():
            side = f"{name}@{row.phase}"
            on = side in sides
            others = [s for s in sides if s != side] if on else [*sides, side]
            switches.append(
                f'<button type="button" class="wb-switch{" on" if on else ""}" '
                f'aria-pressed="{str(on).lower()}" {go(sides=",".join(others) or "none")}>'
                f"{esc(row.phase)} <small>step {int(row.step)} · judge {num(row.judge)}</small>"
                "</button>"
            )
        lines.append(
            f"<tr><td><b>{esc(name)}</b></td><td>{''.join(switches)}</td>"
            f'<td class="wb-num">{int(part["prompts"].max()):,}</td>'
            f'<td class="wb-dim wb-mono">{esc(run_id)}</td></tr>'
        )
    head = [("run", ""), ("evaluations: tick what to compare", ""), ("prompts", "wb-num"), ("", "")]
    return card("Compare", table(head, lines), f"{len(sides)} chosen")


def front_head(found: Comparison, names: Sequence[str], x: str, y: str) -> str:
    """Which two objectives the front is drawn over, and the hypervolume of all of them."""
    options = [(n, n) for n in names]
    return (
        "<h3>Pareto front</h3>"
        f'<div class="wb-bar">{select("x", "horizontal objective", options, x)}'
        f"{select('y', 'vertical objective', options, y)}</div>"
    )


def volume_card(found: Comparison, view: View, problem: str) -> str:
    """Hypervolume of each side above a reference point that can be chosen here."""
    names = list(found.reference)
    known = dict(REFERENCES) | {side: f"the means of {side}" for side in found.sides}
    typed = bool(view.get("ref"))
    options = [*known.items(), *([("own", "as typed below")] if typed else [])]
    shown = "own" if typed else view.get("at", "")
    chooser = select(
        "at", "reference point", [(v, f"above {t}") for v, t in options], shown, resets="ref"
    )
    fields = "".join(
        f'<label class="wb-field named"><span>{esc(n)}</span><input type="text" '
        f'inputmode="decimal" data-param="ref" data-group="ref" '
        f"{attr('data-value', f'{found.reference[n]:.4g}')}></label>"
        for n in names
    )
    wrong = f'<div class="wb-error" role="alert">{esc(problem)}</div>' if problem else ""
    lines = [
        f'<tr><td><b>{esc(row.side)}</b></td><td class="wb-num">{row.hypervolume:.3g} '
        f'<small class="wb-dim">{row.low:.3g} to {row.high:.3g}</small></td></tr>'
        for row in found.volume.itertuples()
    ]
    text = (
        '<p class="wb-dim wb-foot">The share of objective space that a side\'s means dominate: a '
        "side that is no better than the reference in one objective has none.</p>"
    )
    return card(
        "Hypervolume",
        table([("", ""), ("95 % interval", "wb-num")], lines)
        + text
        + f'<div class="wb-ref">{fields}</div>{wrong}',
        chooser,
    )


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


def tables(found: Comparison, view: View, problem: str) -> str:
    """Means, wins, hypervolume and differing settings as tables."""
    return (
        '<div class="wb-columns"><div>'
        + card("Means", _means(found), "95 % bootstrap intervals over prompts " + exports())
        + card("Settings that differ", _config(found), css="wb-differs")
        + "</div><div>"
        + card("Win rate by the judge", _wins(found), "share of prompts won, ties half")
        + volume_card(found, view, problem)
        + "</div></div>"
    )


def _means(found: Comparison) -> str:
    overall = found.means[found.means["kind"] == "all"]
    names = list(dict.fromkeys(overall["name"]))
    head = [("", ""), *((side, "wb-num") for side in found.sides)]
    lines = []
    for name in names:
        part = overall[overall["name"] == name].set_index("side")
        best = part["mean"].idxmax()
        cells = "".join(
            f'<td class="wb-num">{"<b>" if side == best else ""}{num(part.loc[side, "mean"])}'
            f"{'</b>' if side == best else ''} <small class='wb-dim'>"
            f"{num(part.loc[side, 'low'])} to {num(part.loc[side, 'high'])}</small></td>"
            for side in found.sides
        )
        lines.append(f"<tr><td>{esc(name)}</td>{cells}</tr>")
    kinds = found.means[(found.means["name"] == "judge") & (found.means["kind"] != "all")]
    for kind, part in kinds.groupby("kind"):
        values = part.set_index("side")["mean"]
        cells = "".join(f'<td class="wb-num">{num(values.get(s))}</td>' for s in found.sides)
        lines.append(f"<tr><td>judge · {chip(str(kind))}</td>{cells}</tr>")
    return table(head, lines)


def _wins(found: Comparison) -> str:
    if not len(found.wins):
        return '<p class="wb-dim">No judge scored these prompts.</p>'
    lines = []
    for row in found.wins.itertuples():
        if found.sides.index(row.side) > found.sides.index(row.against):
            continue
        clear = row.difference_low > 0 or row.difference_high < 0
        verdict = "a clear difference" if clear else "could be chance"
        lines.append(
            f"<tr><td><b>{esc(row.side)}</b> against {esc(row.against)}</td>"
            f'<td class="wb-num">{percent(row.rate)}<br><small class="wb-dim">'
            f"{percent(row.low)} to {percent(row.high)}</small></td>"
            f'<td class="wb-num">{num(row.difference, signed=True)}<br><small class="wb-dim">'
            f"{num(row.difference_low, signed=True)} to {num(row.difference_high, signed=True)}"
            f"</small></td><td>{verdict}</td></tr>"
        )
    head = [("", ""), ("wins", "wb-num"), ("judge difference", "wb-num"), ("", "")]
    return table(head, lines)


def _config(found: Comparison) -> str:
    if not len(found.config):
        return '<p class="wb-dim">The settings are the same.</p>'
    sides = [c for c in found.config.columns if c != "key"]
    head = [("key", ""), *((side, "") for side in sides)]
    lines = [
        f'<tr><td class="wb-mono">{esc(row["key"])}</td>'
        + "".join(f'<td class="wb-mono">{_setting(row[side])}</td>' for side in sides)
        + "</tr>"
        for row in found.config.to_dict("records")
    ]
    return table(head, lines)


def _setting(value: object) -> str:
    """A setting as it stands in YAML; a dash where the side has none."""
    return f'<span class="wb-dim">{NOTHING}</span>' if value is None else esc(write_flow(value))


def texts(found: Comparison, view: View) -> str:
    """Completions side by side; what differs from the first side is marked."""
    frame = found.texts
    kinds = sorted(set(frame["kind"]))
    kind = view.get("tkind", "")
    if kind in kinds:
        frame = frame[frame["kind"] == kind]
    page = int(view["tpage"]) if view.get("tpage", "").isdecimal() else 0
    shown = frame.iloc[page * TEXTS_PER_PAGE : (page + 1) * TEXTS_PER_PAGE]
    lines = []
    for row in shown.to_dict("records"):
        first = str(row[found.sides[0]][0])
        cells = "".join(
            f'<td class="wb-mono wb-text" dir="auto">'
            f"{esc(first) if side == found.sides[0] else marked(first, str(row[side][0]))}</td>"
            for side in found.sides
        )
        reference = row.get("reference")
        known = (
            f'<br><small class="wb-dim">reference: {esc(reference)}</small>' if reference else ""
        )
        lines.append(
            f"<tr><td>{chip(str(row['kind']))}</td>"
            f'<td class="wb-text" dir="auto">{esc(row["prompt"])}{known}</td>{cells}</tr>'
        )
    options = [("", "kind: all"), *((k, f"kind: {k}") for k in kinds)]
    last = min(len(frame), (page + 1) * TEXTS_PER_PAGE)
    bar = (
        select("tkind", "kind of the texts", options, kind)
        + f"<span>{page * TEXTS_PER_PAGE + 1}–{last} of {len(frame):,}</span>"
        + button("‹", go(tpage=str(page - 1) if page > 1 else ""), off=page == 0)
        + button("›", go(tpage=str(page + 1)), off=last >= len(frame))
    )
    head = [("", ""), ("prompt", ""), *((side, "") for side in found.sides)]
    return card("Texts side by side", table(head, lines, "wb-texts"), bar)


def marked(before: str, after: str) -> str:
    """``after`` with the words that ``before`` lacks marked, and a mark where words are missing."""
    old, new = before.split(" "), after.split(" ")
    parts = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        words = esc(" ".join(new[j1:j2]))
        if tag == "equal":
            parts.append(words)
        elif tag == "delete":
            parts.append(f"<del {attr('title', ' '.join(old[i1:i2]))}>⌫</del>")
        else:
            parts.append(f"<ins>{words}</ins>")
    return " ".join(parts)
