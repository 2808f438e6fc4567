"""The weight map: every prompt as a point between the objectives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.plots.palette import kind_colors, layout, objective_colors, plain_text


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
            x=points[rows, 0].tolist(), y=points[rows, 1].tolist(), mode="markers",
            name=plain_text(kind),
            marker={"size": 7, "color": tint, "opacity": 0.65},
            customdata=[
                {"prompt": str(p), "step": str(s)}
                for p, s in zip(part["prompt_id"], part["step"], strict=True)
            ],
            text=[plain_text(t) for t in part["prompt"]], hovertemplate="%{text}",
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
            x=x * scale, y=y * scale, text=f"<b>{plain_text(name)}</b>",
            yshift=13 if y > -1e-9 else -13,  # clear of the points that gather in a corner
            showarrow=False, font={"color": colors[name], "size": 10},
        )  # fmt: skip
    if scale < 0.67:
        figure.add_annotation(
            x=1.4 * scale, y=-1.28 * scale, xanchor="right", yanchor="bottom", showarrow=False,
            text=f"zoomed in {1 / scale:.0f}×", font={"size": 10},
        )  # fmt: skip
    hidden = {"visible": False, "range": [-1.45 * scale, 1.45 * scale]}
    return layout(
        figure, height=240, margin={"l": 4, "r": 4, "t": 4, "b": 4}, hovermode="closest",
        xaxis={**hidden, "scaleanchor": "y"},
        yaxis={**hidden, "range": [-1.3 * scale, 1.3 * scale]},
        showlegend=False,
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
