"""DataFrame in, plotly Figure out: the pictures that pages, notebooks and the command line share.

Every function is pure and draws no colours but those of the data: one colour per objective
everywhere (``objective_colors``), one per kind (``kind_colors``). Backgrounds are transparent, so a
page in light or dark fills in text and grid; in a notebook the template does.

``FIGURES`` has all by name; ``figure(name, frame, **options)`` draws by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from workbench.config.registry import Registry
from workbench.core.pareto import pareto_front
from workbench.plots.palette import (
    FAMILIES,
    MARGIN,
    PAPER_COLORS,
    kind_colors,
    kind_slot,
    layout,
    objective_colors,
    objective_order,
    plain_text,
    tint,
)  # fmt: skip
from workbench.plots.sweeps import parallel
from workbench.plots.weight_map import polygon, simplex_points, weight_map

__all__ = [
    "FAMILIES", "FIGURES", "PAPER_COLORS", "curves", "figure", "kind_colors", "kind_slot",
    "means_with_intervals", "objective_colors", "objective_order", "parallel", "pareto", "plain",
    "polygon", "simplex_points", "weight_area", "weight_map", "weights_by_kind",
]  # fmt: skip


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
            name=plain_text(name),
            mode="lines" if len(line) > 1 else "markers",
            line={"color": colors[name], "width": 1.8},
            hovertemplate="%{y:.3g}",
        )
    return layout(figure, xaxis={"title": "step"}, yaxis={"title": title})


def weight_area(frame: pd.DataFrame, mark: int | None = None) -> go.Figure:
    """Mean weights over training as stacked areas that sum to one; signed weights as lines.

    Args:
        frame: columns ``step``, ``objective``, ``weight`` (averaged where a step repeats).
        mark: a step to mark with a dashed line.
    """
    means = frame.groupby(["step", "objective"], sort=False)["weight"].mean().reset_index()
    names = objective_order(means["objective"])
    colors = objective_colors(names)
    signed = bool((means["weight"] < 0).any())
    areas = {"stackgroup": None if signed else "weights"}
    figure = go.Figure()
    for name in names:
        line = means[means["objective"] == name].sort_values("step")
        figure.add_scatter(
            x=line["step"].tolist(),
            y=line["weight"].tolist(),
            name=plain_text(name),
            mode="lines",
            **areas,
            line={"color": colors[name], "width": 1.6 if signed else 0.5},
            fillcolor=None if signed else tint(colors[name], 0.85),
            customdata=[{"step": str(s)} for s in line["step"]],
            hovertemplate="%{y:.3g}",
        )
    if mark is not None:
        figure.add_vline(x=mark, line={"dash": "dash", "width": 1.5, "color": "#868e96"})
    return layout(
        figure,
        height=180,
        margin={**MARGIN, "t": 6},
        showlegend=False,
        yaxis={"range": [-1 if signed else 0, 1]},
        xaxis={"title": "step"},
    )


def weights_by_kind(frame: pd.DataFrame) -> go.Figure:
    """Mean weights over training, one small panel per kind, all from 0 to 1.

    Stacked areas, so that a small change looks small; lines where a weight is negative.

    Args:
        frame: columns ``step``, ``kind``, ``objective``, ``weight``.
    """
    from plotly.subplots import make_subplots

    kinds = sorted(frame["kind"].unique())
    if not kinds:
        return go.Figure()
    names = objective_order(frame["objective"])
    colors = objective_colors(names)
    columns = min(4, max(1, len(kinds)))
    rows = -(-len(kinds) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=[plain_text(k) for k in kinds],
        shared_xaxes=True, shared_yaxes=True,
        vertical_spacing=0.18 / max(1, rows - 0.5), horizontal_spacing=0.03,
    )  # fmt: skip
    means = frame.groupby(["kind", "objective", "step"])["weight"].mean().reset_index()
    lines = dict(list(means.groupby(["kind", "objective"], sort=False)))
    signed = bool((means["weight"] < 0).any())
    traces = []
    for i, kind in enumerate(kinds):
        axis = str(i + 1) if i else ""  # subplots are numbered row by row; the first has no number
        for name in names:
            line = lines.get((kind, name), means.iloc[:0])
            traces.append(
                {
                    "type": "scatter",
                    "x": line["step"].tolist(),
                    "y": line["weight"].tolist(),
                    "name": plain_text(name),
                    "meta": f"{kind}/{name}",
                    "mode": "lines" if len(line) > 1 else "markers",
                    **_stacked(colors[name], name, i, signed),
                    "showlegend": i == 0,
                    "legendgroup": name,
                    "hovertemplate": "%{y:.3g}",
                    "xaxis": f"x{axis}",
                    "yaxis": f"y{axis}",
                }
            )
    figure.add_traces(traces)  # at once: one by one each costs milliseconds
    figure.update_annotations(font_size=11)
    low, high = (float(means["weight"].min()), float(means["weight"].max())) if signed else (0, 1)
    figure.update_yaxes(range=[min(0.0, low), max(1.0, high)])
    return layout(
        figure, height=70 + 130 * rows, margin={**MARGIN, "t": 46},
    )  # fmt: skip


def _stacked(color: str, name: str, panel: int, signed: bool) -> dict[str, Any]:
    """How a weight is drawn: as a part of a stack, or as a line of its own."""
    if signed:
        return {"line": {"color": color, "width": 1.6}}
    fill = {"stackgroup": f"weights{panel}", "fillcolor": tint(color, 0.85)}
    return {"line": {"color": color, "width": 0.5}, **fill}


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
            x=[plain_text(n) for n in part["name"]], y=part["mean"].tolist(), name=plain_text(side),
            marker={"color": palette[i % len(palette)]},
            error_y={
                "type": "data", "symmetric": False, "thickness": 1.2, "width": 3,
                "color": "#868e96",
                "array": (part["high"] - part["mean"]).tolist(),
                "arrayminus": (part["mean"] - part["low"]).tolist(),
            },
            hovertemplate="%{y:.3g}",
        )  # fmt: skip
    return layout(figure, height=300, barmode="group", xaxis={"title": ""}, yaxis={"title": ""})


def pareto(frame: pd.DataFrame, x: str, y: str) -> go.Figure:
    """What is compared as points over two objectives; the front of these two is drawn as a line.

    Args:
        frame: columns ``side`` and the two objectives.
        x: objective on the horizontal axis.
        y: objective on the vertical axis.
    """
    figure = go.Figure()
    best = pareto_front(frame[[x, y]].to_numpy(dtype=float))
    front = frame[best].sort_values(x)
    figure.add_scatter(
        x=front[x].tolist(), y=front[y].tolist(), mode="lines", name="front",
        line={"dash": "dot", "color": "#868e96", "width": 1.2}, hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=frame[x].tolist(), y=frame[y].tolist(), mode="markers+text", showlegend=False,
        text=[plain_text(s) for s in frame["side"]], textposition="top center",
        marker={"size": 10, "color": ["#3b5bdb" if f else "#adb5bd" for f in best]},
        cliponaxis=False,
        hovertemplate="%{text}: %{x:.3g}, %{y:.3g}<extra></extra>",
    )  # fmt: skip
    return layout(
        figure, height=260, hovermode="closest", showlegend=False,
        xaxis={"title": plain_text(x), "range": _padded(frame[x])},
        yaxis={"title": plain_text(y)},
        margin={**MARGIN, "t": 16},
    )  # fmt: skip


def _padded(values: pd.Series) -> list[float]:
    """A range with room for the labels at its ends."""
    low, high = float(values.min()), float(values.max())
    room = 0.18 * (high - low) or 0.1
    return [low - room, high + room]


def _figure(name: str, thing: Any) -> Callable[..., go.Figure]:
    """A figure of other packages is a function. Raises TypeError."""
    if not callable(thing):
        raise TypeError("it is no function")
    return thing  # type: ignore[no-any-return]


FIGURES: Mapping[str, Callable[..., go.Figure]] = Registry("figures", _figure)
"""Every figure of a DataFrame by name; ``config.registry`` lists them. With the attribute
``of = "run"`` a function draws a run instead: ``(Workbench, run, **options)``."""


def figure(name: str, frame: pd.DataFrame, **options: Any) -> go.Figure:
    """Draw a figure by name.

    Raises:
        ValueError: no figure has that name.
    """
    if name not in FIGURES:
        raise ValueError(f"no figure {name!r}; there are {', '.join(FIGURES)}")
    return FIGURES[name](frame, **options)
