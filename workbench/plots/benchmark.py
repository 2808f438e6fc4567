"""Figures of the benchmark: methods with intervals, methods by families, worlds, sensitivity."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from workbench.tasks.etudes import FAMILIES

GROUP_COLORS = {
    "untrained": "#868e96",
    "imitation": "#8C6D31",
    "single": "#0072B2",
    "fixed": "#56B4E9",
    "adaptive": "#009E73",
    "maestro": "#CC79A7",
    "anchored": "#D55E00",
    "control": "#999933",
    "ceiling": "#495057",
}
"""One colour per group of methods."""


def _layout(figure: go.Figure, rows: int, x: str) -> go.Figure:
    return figure.update_layout(
        height=max(260, 24 * rows + 120),
        margin={"l": 10, "r": 20, "t": 40, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        xaxis={"title": x, "gridcolor": "rgba(128,128,128,.25)"},
        yaxis={"automargin": True},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )


def methods(summary: pd.DataFrame) -> go.Figure:
    """Interquartile mean of the held-out judge with its 95 % interval, best on top."""
    ordered = summary.sort_values("iqm")
    figure = go.Figure()
    for group, color in GROUP_COLORS.items():
        rows = ordered[ordered["group"] == group]
        if rows.empty:
            continue
        figure.add_scatter(
            x=rows["iqm"].tolist(),
            y=rows["label"].tolist(),
            error_x={
                "array": (rows["iqm_high"] - rows["iqm"]).tolist(),
                "arrayminus": (rows["iqm"] - rows["iqm_low"]).tolist(),
                "thickness": 1.4,
            },
            mode="markers",
            marker={"color": color, "size": 9},
            name=group,
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    figure.update_yaxes(categoryorder="array", categoryarray=ordered["label"].tolist())
    return _layout(figure, len(ordered), "held-out judge, interquartile mean [95 %]")


def families(summary: pd.DataFrame) -> go.Figure:
    """Judge of every method on every family, as gain over base where base was measured."""
    kinds = [k for k in FAMILIES if k in summary]
    values = summary.set_index("label")[kinds]
    base = summary.loc[summary["method"] == "base", kinds]
    title = "held-out judge"
    if len(base):
        values, title = values - base.iloc[0], "gain over base"
    limit = float(values.abs().to_numpy().max())
    figure = go.Figure(
        go.Heatmap(
            z=values.iloc[::-1].to_numpy().tolist(),
            x=kinds,
            y=values.index[::-1].tolist(),
            colorscale="RdBu",
            zmin=-limit,
            zmax=limit,
            texttemplate="%{z:+.2f}",
            colorbar={"title": title},
        )
    )
    return _layout(figure, len(summary), title)


MEASURES = {"judge": "held-out judge", "recovered": "way from equal weights to the oracle"}


def sensitivity(frame: pd.DataFrame, x: str, log_x: bool = False, what: str = "judge") -> go.Figure:
    """A measure against one setting: mean over seeds with the range of the seeds.

    Args:
        frame: columns ``method``, ``value`` (the setting), ``seed`` where worlds share one, and
            the measure (one row a seed, or a seed and world, which are averaged first).
        x: name of the setting, for the axis.
        log_x: logarithmic axis.
        what: the measure's column.
    """
    if "conflict" in frame:
        keys = ["method", "value", "seed"]
        frame = frame.groupby(keys, sort=False, as_index=False)[what].mean()
    figure = go.Figure()
    colors = list(GROUP_COLORS.values())
    for index, (name, rows) in enumerate(frame.groupby("method", sort=False)):
        line = rows.groupby("value")[what].agg(["mean", "min", "max"]).reset_index()
        figure.add_scatter(
            x=line["value"].tolist(),
            y=line["mean"].tolist(),
            error_y={
                "array": (line["max"] - line["mean"]).tolist(),
                "arrayminus": (line["mean"] - line["min"]).tolist(),
                "thickness": 1.2,
            },
            mode="lines+markers",
            name=str(name),
            line={"color": colors[(index + 4) % len(colors)]},
            hovertemplate="%{y:.3f}",
        )
    figure = _layout(figure, 8, x)
    figure.update_yaxes(title=MEASURES[what])
    return figure.update_xaxes(type="log" if log_x else "linear")


def worlds(frame: pd.DataFrame) -> go.Figure:
    """Regret to the oracle policy by method and planted world, in utility."""
    table = frame.pivot_table(index="method", columns="world", values="regret", sort=False)
    order = table.mean(axis=1).sort_values(ascending=False).index
    table = table.loc[order]
    figure = go.Figure(
        go.Heatmap(
            z=table.to_numpy().tolist(),
            x=table.columns.tolist(),
            y=table.index.tolist(),
            colorscale="Viridis",
            reversescale=True,
            texttemplate="%{z:.3f}",
            colorbar={"title": "regret"},
        )
    )
    return _layout(figure, len(table), "planted world")
