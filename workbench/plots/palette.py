"""One colour per objective and per kind, everywhere; and what all figures have in common."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import plotly.graph_objects as go

from workbench.formatting import visible

PAPER_COLORS = {
    "perplexity": "#0072B2",
    "format": "#009E73",
    "entropy": "#CC79A7",
    "length": "#E69F00",
    "preference": "#D55E00",
}
MORE_COLORS = ("#56B4E9", "#882255", "#999933", "#44AA99", "#6A51A3", "#8C6D31", "#636363")
KIND_COLORS = (
    "#3b5bdb", "#9c36b5", "#e8590c", "#0b8aa0", "#2f9e44", "#e03131", "#b08500", "#868e96",
)  # fmt: skip
FAMILIES = ("reason", "story", "instruct", "belief", "fact", "translate", "comfort")
"""The kinds that ship with the package: each keeps a colour of its own."""
HEIGHT = 220
MARGIN = {"l": 44, "r": 10, "t": 30, "b": 34}
LEGEND = {"orientation": "h", "y": 1, "yanchor": "top", "x": 0, "yref": "container"}


def objective_colors(names: Iterable[str]) -> dict[str, str]:
    """The colour of each objective: the paper's five are fixed, others are spread by name."""
    colors: dict[str, str] = {}
    for name in names:
        if name in PAPER_COLORS:
            colors[name] = PAPER_COLORS[name]
            continue
        start = zlib.crc32(name.encode()) % len(MORE_COLORS)
        ring = MORE_COLORS[start:] + MORE_COLORS[:start]
        colors[name] = next((c for c in ring if c not in colors.values()), ring[0])
    return colors


def kind_slot(kind: str) -> int:
    """Which of the eight colours a kind has, in figures and as a chip on the pages."""
    if kind in FAMILIES:
        return FAMILIES.index(kind)
    return zlib.crc32(kind.encode()) % len(KIND_COLORS)


def kind_colors(kinds: Iterable[str]) -> dict[str, str]:
    """The colour of each kind of prompt."""
    return {k: KIND_COLORS[kind_slot(k)] for k in kinds}


def objective_order(names: Iterable[str]) -> list[str]:
    """The paper's five in their own order, then the others by name: the same in every picture."""
    known = list(PAPER_COLORS)
    return sorted(set(names), key=lambda n: (known.index(n) if n in known else len(known), n))


def layout(figure: go.Figure, **more: Any) -> go.Figure:
    """Lay a figure out like all others; backgrounds are left to the page."""
    base = {
        "height": HEIGHT,
        "margin": MARGIN,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": LEGEND,
        "hovermode": "x unified",
    }
    return figure.update_layout({**base, **more})


def tint(color: str, alpha: float) -> str:
    """A colour, so much of it."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def plain_text(text: str) -> str:
    """Plotly reads a little HTML in its texts: a prompt must not be read as such."""
    text = visible(text)
    text = text if len(text) <= 90 else text[:87] + "..."
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
