"""Small pieces of HTML that every page shares.

Every function returns finished markup; every value that a model or a person wrote goes through
``esc``. Numbers have three significant digits. A control says what it does in a ``data-go`` (change
the address) or ``data-act`` (do something) attribute; ``assets/workbench.js`` listens for both.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workbench.formatting import NOTHING, duration, esc, num, percent
from workbench.plots.figures import kind_slot

__all__ = [
    "NOTHING", "act", "ago", "attr", "button", "card", "chip", "duration", "empty", "esc",
    "exports", "go", "legend", "num", "percent", "select", "stack", "table",
]  # fmt: skip


def ago(moment: float | None) -> str:
    """How long ago a unix time was."""
    if not moment:
        return NOTHING
    seconds = max(0.0, time.time() - moment)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def attr(name: str, value: Any) -> str:
    """One attribute; objects travel as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return f'{name}="{esc(text)}"'


def go(**patch: Any) -> str:
    """The attribute that changes the address; None removes a key."""
    return attr("data-go", patch)


def act(do: str, **args: Any) -> str:
    """The attribute that does something."""
    return attr("data-act", {"do": do, **args})


def button(label: str, attribute: str, kind: str = "", title: str = "", off: bool = False) -> str:
    """A button; ``attribute`` comes from ``go`` or ``act``."""
    hint = f" {attr('title', title)}" if title else ""
    disabled = " disabled" if off else ""
    return (
        f'<button type="button" class="wb-button {kind}" {attribute}{hint}{disabled}>'
        f"{esc(label)}</button>"
    )


def exports() -> str:
    """Two buttons that save the rows behind the page."""
    return "".join(
        button(label, attr("data-export", kind), title="download the rows shown")
        for label, kind in (("CSV", "csv"), ("Parquet", "parquet"))
    )


def select(
    param: str,
    label: str,
    options: Iterable[tuple[str, str]],
    chosen: str,
    wide: bool = False,
    resets: str = "",
) -> str:
    """A drop-down that writes its value into the address under ``param``, emptying ``resets``."""
    items = "".join(
        f"<option {attr('value', value)}{' selected' if value == chosen else ''}>{esc(text)}"
        "</option>"
        for value, text in options
    )
    css = "wb-field wide" if wide else "wb-field"
    empties = f" {attr('data-resets', resets)}" if resets else ""
    return (
        f'<label class="{css}"><span>{esc(label)}</span>'
        f"<select {attr('data-param', param)} {attr('aria-label', label)}{empties}>{items}</select>"
        "</label>"
    )


def stack(
    weights: Mapping[str, float], colors: Mapping[str, str], height: int = 14, label: str = ""
) -> str:
    """A bar split by weight, one colour per objective.

    Args:
        weights: objective to weight; they need not sum to one. A negative one is hatched.
        colors: objective to colour.
        height: in pixels.
        label: what the bar shows, for those who cannot see it.
    """
    total = sum(abs(w) for w in weights.values() if not math.isnan(w)) or 1.0
    said = ", ".join(f"{name} {num(w)}" for name, w in weights.items())
    parts = "".join(
        f'<i style="width:{100 * abs(w) / total:.2f}%;background:{_fill(colors[name], w)}" '
        f"{attr('title', f'{name} {num(w)}')}></i>"
        for name, w in weights.items()
        if abs(w) > 0
    )
    return (
        f'<div class="wb-stack" style="height:{height}px" role="img" '
        f"{attr('aria-label', f'{label} {said}'.strip())}>{parts}</div>"
    )


def _fill(color: str, weight: float) -> str:
    """Plain for a positive weight, hatched for a negative one."""
    if weight >= 0:
        return color
    return f"repeating-linear-gradient(45deg,{color} 0 3px,transparent 3px 6px)"


def chip(kind: str) -> str:
    """The coloured name of a kind of prompt; one kind keeps its colour everywhere."""
    return f'<span class="wb-chip k{kind_slot(kind)}">{esc(kind)}</span>'


def legend(names: Sequence[str], colors: Mapping[str, str]) -> str:
    """The colour of each objective."""
    items = "".join(f'<span><i style="background:{colors[n]}"></i>{esc(n)}</span>' for n in names)
    return f'<div class="wb-legend">{items}</div>'


def card(title: str, body: str, extra: str = "", css: str = "") -> str:
    """A titled box."""
    head = f"<h3>{esc(title)}</h3>" if title else ""
    side = f'<span class="wb-right">{extra}</span>' if extra else ""
    return f'<section class="wb-card {css}"><header>{head}{side}</header>{body}</section>'


def empty(title: str, advice: str, button_html: str = "") -> str:
    """What a page shows when there is nothing yet: what is missing and what to do next."""
    return f'<div class="wb-empty"><b>{esc(title)}</b><p>{esc(advice)}</p>{button_html}</div>'


def table(head: Sequence[tuple[str, str]], rows: Iterable[str], css: str = "") -> str:
    """A table; ``head`` holds (title, css class) pairs, ``rows`` finished ``<tr>`` elements."""
    titles = "".join(f'<th scope="col" class="{c}">{esc(t)}</th>' for t, c in head)
    return (
        f'<div class="wb-scroll"><table class="wb-table {css}"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
