"""DataFrame in, plotly Figure out: the pictures that pages, notebooks and the command line share.

Every function is pure and draws no colours but those of the data: one colour per objective
everywhere (``objective_colors``), one per kind (``kind_colors``). Backgrounds are transparent, so a
page in light or dark fills in text and grid; in a notebook the template does.

``FIGURES`` is the one list; ``figure(name, frame, **options)`` draws by name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

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
MARGIN = {"l": 44, "r": 10, "t": 8, "b": 34}


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


def _layout(figure: go.Figure, **more: Any) -> go.Figure:
    base = {
        "height": HEIGHT,
        "margin": MARGIN,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "x unified",
    }
    return figure.update_layout({**base, **more})


def _tint(color: str, alpha: float) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def plain(figure: go.Figure) -> dict[str, Any]:
    """A figure as the pages' charts take it, without the template: the page's theme fills in."""
    drawn = figure.to_plotly_json()
    drawn["layout"].pop("template", None)
    return {"figure": drawn}


def curves(
    frame: pd.DataFrame, title: str = "", colors: Mapping[str, str] | None = None
) -> go.Figure:
    """Lines over training.

    Args:
        frame: columns ``step``, ``name``, ``value``; one line per name.
        title: of the vertical axis.
        colors: name to colour; objectives get theirs when left out.
    """
    names = objective_order(frame["name"])
    colors = {**objective_colors(names), **(colors or {})}
    figure = go.Figure()
    for name in names:
        line = frame[frame["name"] == name].sort_values("step")
        figure.add_scatter(
            x=line["step"].tolist(),
            y=line["value"].tolist(),
            name=name,
            mode="lines" if len(line) > 1 else "markers",
            line={"color": colors[name], "width": 1.8},
            hovertemplate="%{y:.3g}",
        )
    return _layout(figure, xaxis={"title": "step"}, yaxis={"title": title})


def weight_area(frame: pd.DataFrame, mark: int | None = None) -> go.Figure:
    """Mean weights over training as stacked areas that sum to one.

    Args:
        frame: columns ``step``, ``objective``, ``weight`` (averaged where a step repeats).
        mark: a step to mark with a dashed line.
    """
    means = frame.groupby(["step", "objective"], sort=False)["weight"].mean().reset_index()
    names = objective_order(means["objective"])
    colors = objective_colors(names)
    figure = go.Figure()
    for name in names:
        line = means[means["objective"] == name].sort_values("step")
        figure.add_scatter(
            x=line["step"].tolist(),
            y=line["weight"].tolist(),
            name=name,
            mode="lines",
            stackgroup="weights",
            line={"color": colors[name], "width": 0.5},
            fillcolor=_tint(colors[name], 0.85),
            customdata=[{"step": str(s)} for s in line["step"]],
            hovertemplate="%{y:.3g}",
        )
    if mark is not None:
        figure.add_vline(x=mark, line={"dash": "dash", "width": 1.5, "color": "#868e96"})
    return _layout(
        figure, height=180, showlegend=False, yaxis={"range": [0, 1]}, xaxis={"title": "step"}
    )


def weights_by_kind(frame: pd.DataFrame) -> go.Figure:
    """Mean weights over training, one small panel per kind.

    Args:
        frame: columns ``step``, ``kind``, ``objective``, ``weight``.
    """
    from plotly.subplots import make_subplots

    kinds = sorted(frame["kind"].unique())
    names = objective_order(frame["objective"])
    colors = objective_colors(names)
    columns = min(4, max(1, len(kinds)))
    rows = -(-len(kinds) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=kinds, shared_xaxes=True, shared_yaxes=True,
        vertical_spacing=0.18 / max(1, rows - 0.5), horizontal_spacing=0.03,
    )  # fmt: skip
    means = frame.groupby(["kind", "step", "objective"], sort=False)["weight"].mean().reset_index()
    for i, kind in enumerate(kinds):
        for name in names:
            line = means[(means["kind"] == kind) & (means["objective"] == name)].sort_values("step")
            figure.add_scatter(
                x=line["step"].tolist(),
                y=line["weight"].tolist(),
                name=name,
                meta=f"{kind}/{name}",
                mode="lines" if len(line) > 1 else "markers",
                line={"color": colors[name], "width": 1.6},
                showlegend=i == 0,
                legendgroup=name,
                hovertemplate="%{y:.3g}",
                row=i // columns + 1,
                col=i % columns + 1,
            )
    figure.update_annotations(font_size=11)
    return _layout(
        figure, height=70 + 130 * rows, margin={**MARGIN, "t": 46},
        legend={"orientation": "h", "y": 1.0, "yanchor": "top", "x": 0, "yref": "container"},
    )  # fmt: skip


def simplex_points(weights: np.ndarray) -> np.ndarray:
    """Where weight vectors lie in a regular polygon with one corner per objective.

    Args:
        weights: (M, K), rows on the simplex.

    Returns:
        (M, 2): the weighted mean of the corners; for K = 3 this is the ternary plot.
    """
    return np.asarray(weights @ polygon(weights.shape[1]))


def polygon(corners: int) -> np.ndarray:
    """The (K, 2) corners of a regular polygon, first one on top, clockwise."""
    angle = np.pi / 2 - 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def weight_map(
    frame: pd.DataFrame, objectives: Sequence[str], selected: str | None = None
) -> go.Figure:
    """Every prompt's mean weights as a point, coloured by kind; the corners are the objectives.

    Points near the middle would overlap, so the picture is scaled to the points, and the corners
    give directions.

    Args:
        frame: columns ``prompt_id``, ``step``, ``kind``, ``prompt`` and one per objective.
        objectives: the K columns to place by.
        selected: prompt to ring.
    """
    figure = go.Figure()
    corners = polygon(len(objectives))
    colors = objective_colors(objectives)
    weights = frame[list(objectives)].to_numpy(dtype=float)
    points = simplex_points(np.nan_to_num(weights))
    reach = max(0.08, float(np.abs(points).max())) if len(points) else 1.0
    scale = min(1.0, 1.15 * reach)
    ring = np.concatenate([corners, corners[:1]]) * scale
    figure.add_scatter(
        x=ring[:, 0].tolist(), y=ring[:, 1].tolist(), mode="lines", hoverinfo="skip",
        line={"color": "#adb5bd", "width": 1}, showlegend=False,
    )  # fmt: skip
    tints = kind_colors(frame["kind"].unique())
    for kind, tint in sorted(tints.items()):
        rows = np.flatnonzero((frame["kind"] == kind).to_numpy())
        part = frame.iloc[rows]
        figure.add_scatter(
            x=points[rows, 0].tolist(), y=points[rows, 1].tolist(), mode="markers", name=kind,
            marker={"size": 7, "color": tint, "opacity": 0.65},
            customdata=[
                {"prompt": str(p), "step": str(s)}
                for p, s in zip(part["prompt_id"], part["step"], strict=True)
            ],
            text=[_hover(t) for t in part["prompt"]], hovertemplate="%{text}",
        )  # fmt: skip
    here = np.flatnonzero((frame["prompt_id"] == selected).to_numpy())
    if len(here):
        figure.add_scatter(
            x=points[here, 0].tolist(), y=points[here, 1].tolist(), mode="markers",
            marker={"size": 13, "color": "rgba(0,0,0,0)", "line": {"width": 2, "color": "#e8590c"}},
            hoverinfo="skip", showlegend=False,
        )  # fmt: skip
    for name, (x, y) in zip(objectives, corners, strict=True):
        figure.add_annotation(
            x=1.14 * x * scale, y=1.12 * y * scale, text=f"<b>{_hover(name)}</b>", showarrow=False,
            font={"color": colors[name], "size": 10},
        )  # fmt: skip
    if scale < 0.8:
        figure.add_annotation(
            x=1.4 * scale, y=-1.28 * scale, xanchor="right", yanchor="bottom", showarrow=False,
            text=f"zoomed in {1 / scale:.0f}×", font={"size": 10},
        )  # fmt: skip
    hidden = {"visible": False, "range": [-1.45 * scale, 1.45 * scale]}
    return _layout(
        figure, height=240, margin={"l": 4, "r": 4, "t": 4, "b": 4}, hovermode="closest",
        xaxis={**hidden, "scaleanchor": "y"},
        yaxis={**hidden, "range": [-1.3 * scale, 1.3 * scale]},
        showlegend=False,
    )  # fmt: skip


def _hover(text: str) -> str:
    """Plotly reads a little HTML in its texts: a prompt must not be read as such."""
    text = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text if len(text) <= 90 else text[:87] + "..."


def means_with_intervals(frame: pd.DataFrame) -> go.Figure:
    """Bars with intervals, grouped by what is compared.

    Args:
        frame: columns ``name`` (objective or judge), ``side`` (what is compared), ``mean``,
            ``low``, ``high``.
    """
    figure = go.Figure()
    sides = list(dict.fromkeys(frame["side"]))
    palette = ("#3b5bdb", "#e8890c", "#2f9e44", "#9c36b5", "#0b8aa0", "#868e96")
    for i, side in enumerate(sides):
        part = frame[frame["side"] == side]
        figure.add_bar(
            x=part["name"].tolist(), y=part["mean"].tolist(), name=_hover(side),
            marker={"color": palette[i % len(palette)]},
            error_y={
                "type": "data", "symmetric": False, "thickness": 1.2, "width": 3,
                "color": "#868e96",
                "array": (part["high"] - part["mean"]).tolist(),
                "arrayminus": (part["mean"] - part["low"]).tolist(),
            },
            hovertemplate="%{y:.3g}",
        )  # fmt: skip
    return _layout(figure, height=260, barmode="group")


def pareto(frame: pd.DataFrame, x: str, y: str) -> go.Figure:
    """What is compared as points over two objectives; the front is drawn as a line.

    Args:
        frame: columns ``side``, ``front`` (bool) and the two objectives.
        x: objective on the horizontal axis.
        y: objective on the vertical axis.
    """
    figure = go.Figure()
    front = frame[frame["front"]].sort_values(x)
    figure.add_scatter(
        x=front[x].tolist(), y=front[y].tolist(), mode="lines", name="front",
        line={"dash": "dot", "color": "#868e96", "width": 1.2}, hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=frame[x].tolist(), y=frame[y].tolist(), mode="markers+text", showlegend=False,
        text=[_hover(s) for s in frame["side"]], textposition="top center",
        marker={"size": 10, "color": ["#3b5bdb" if f else "#adb5bd" for f in frame["front"]]},
        hovertemplate="%{text}: %{x:.3g}, %{y:.3g}<extra></extra>",
    )  # fmt: skip
    return _layout(
        figure, height=260, hovermode="closest", showlegend=False,
        xaxis={"title": x}, yaxis={"title": y},
    )  # fmt: skip


FIGURES: dict[str, Callable[..., go.Figure]] = {
    "curves": curves,
    "weight_area": weight_area,
    "weights_by_kind": weights_by_kind,
    "weight_map": weight_map,
    "means_with_intervals": means_with_intervals,
    "pareto": pareto,
}


def figure(name: str, frame: pd.DataFrame, **options: Any) -> go.Figure:
    """Draw a figure by name.

    Raises:
        ValueError: no figure has that name.
    """
    if name not in FIGURES:
        raise ValueError(f"no figure {name!r}; there are {', '.join(FIGURES)}")
    return FIGURES[name](frame, **options)
