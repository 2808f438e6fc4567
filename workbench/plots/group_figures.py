"""Pictures of one group, one prompt and one what-if: where an advantage comes from.

DataFrame in, plotly Figure out, like ``figures``; ``pictures`` fetches what they need.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.core.group_findings import contributions as lifts
from workbench.formatting import esc, num
from workbench.plots.figures import kind_colors, objective_colors, objective_order

AXIS = "rgba(128,128,128,.6)"


def _layout(figure: go.Figure, height: int, x: str, y: str = "") -> go.Figure:
    return figure.update_layout(
        height=height,
        margin={"l": 44, "r": 10, "t": 8, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis={"title": x, "zerolinecolor": AXIS},
        yaxis={"title": y, "zerolinecolor": AXIS},
    )


def contributions(frame: pd.DataFrame) -> pd.DataFrame:
    """By how much each weighted objective lifts a row above its group's mean.

    Args:
        frame: rows of the ``rollouts`` view of one group.

    Returns:
        Columns row (from 1), objective, weight, reward, lift (weight times reward, less its mean
        over the group) and the row's advantage.
    """
    used = frame["scaled"].where(frame["scaled"].notna(), frame["rewards"])
    names = list(dict.fromkeys(name for row in frame["rewards"] for name in dict(row)))
    rewards, weights = (
        np.array([[dict(m).get(n, np.nan) for n in names] for m in maps], dtype=float)
        for maps in (used, frame["weights"])
    )
    lift = lifts(rewards, weights)
    rows, count = len(frame), len(names)
    return pd.DataFrame(
        {
            "row": np.repeat(np.arange(1, rows + 1), count),
            "objective": names * rows,
            "weight": weights.ravel(),
            "reward": rewards.ravel(),
            "lift": lift.ravel(),
            "advantage": np.repeat(frame["advantage"].to_numpy(dtype=float), count),
        }
    )


def group(frame: pd.DataFrame) -> go.Figure:
    """Why each completion of a group was pushed up or down: lift per objective, stacked.

    Args:
        frame: rows of the ``rollouts`` view of one group.
    """
    parts = contributions(frame)
    names = objective_order(parts["objective"])
    colors = objective_colors(names)
    advantages = frame["advantage"].to_numpy(dtype=float)
    labels = [f"{i + 1}  ({num(a, signed=True)})" for i, a in enumerate(advantages)]
    figure = go.Figure()
    for name in names:
        mine = parts[parts["objective"] == name]
        hover = [
            f"{esc(name)}: weight {num(w)}, reward {num(r)}"
            for w, r in zip(mine["weight"], mine["reward"], strict=True)
        ]
        figure.add_bar(
            x=mine["lift"].tolist(), y=labels, name=esc(name), orientation="h",
            marker={"color": colors[name]}, hovertext=hover, hoverinfo="text",
        )  # fmt: skip
    figure.update_layout(barmode="relative")
    figure.update_yaxes(autorange="reversed")
    height = 110 + 24 * len(labels)
    return _layout(figure, height, "weighted reward above the group's mean", "row (advantage)")


def whatif(frame: pd.DataFrame) -> go.Figure:
    """Advantages as used against those of a what-if; rows off the diagonal's quadrants flip.

    Args:
        frame: columns ``before``, ``after``, ``kind``, ``completion`` (``LoggedWhatIf.frame``).
    """
    tints = kind_colors(sorted(frame["kind"].unique()))
    figure = go.Figure()
    for kind, tint in tints.items():
        mine = frame[frame["kind"] == kind]
        figure.add_scatter(
            x=mine["before"].tolist(), y=mine["after"].tolist(), mode="markers", name=esc(kind),
            marker={"size": 6, "color": tint, "opacity": 0.6},
            text=[esc(str(t)[:90]) for t in mine["completion"]],
            hovertemplate="%{text}<br>used %{x:.3g}, what if %{y:.3g}<extra></extra>",
        )  # fmt: skip
    reach = float(np.abs(frame[["before", "after"]].to_numpy(dtype=float)).max(initial=0.1))
    figure.add_scatter(
        x=[-reach, reach], y=[-reach, reach], mode="lines", showlegend=False, hoverinfo="skip",
        line={"color": AXIS, "dash": "dot", "width": 1},
    )  # fmt: skip
    return _layout(figure, 320, "advantage used", "advantage, what if")


def self_favouring(frame: pd.DataFrame) -> go.Figure:
    """Self-favouring by kind, step or prompt, as bars from -1 to 1.

    Args:
        frame: as ``wb.self_favouring`` gives it.
    """
    keys = frame.columns[0]
    figure = go.Figure(
        go.Bar(
            x=frame["self_favouring"].tolist(),
            y=[esc(k) for k in frame[keys]],
            orientation="h",
            marker={"color": "#3b5bdb"},
            hovertemplate="%{y}: %{x:.3g}<extra></extra>",
        )
    )
    figure = _layout(figure, 80 + 24 * len(frame), "correlation of weight and reward", str(keys))
    return figure.update_xaxes(range=[-1, 1])
