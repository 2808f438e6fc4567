"""Several runs in one chart: a panel for each metric, or groups as their mean with its interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.plots.palette import MARGIN, layout, plain_text, tint

RUN_COLORS = (
    "#4263eb", "#0c8599", "#c2255c", "#5c940d", "#9c36b5", "#e8590c", "#495057", "#1098ad",
    "#862e9c", "#a61e4d",
)  # fmt: skip
DASHES = ("solid", "dash", "dot", "dashdot")


def smoothed(values: pd.Series, share: float) -> pd.Series:
    """Exponential mean that starts at the first value: s_t = share s_(t-1) + (1 - share) y_t.

    Divided by the sum of its factors, so that the beginning is not drawn towards 0.

    Args:
        values: in order of time.
        share: weight of the past, from 0 (the values themselves) to below 1.
    """
    return values.ewm(alpha=1 - share, adjust=True).mean() if share > 0 else values


def run_lines(
    frame: pd.DataFrame, smooth: float = 0.0, log: bool = False, x_title: str = "step"
) -> go.Figure:
    """Lines of several runs over training, one panel a metric.

    Args:
        frame: columns ``run``, ``metric``, ``x``, ``value``; with a column ``group``, the runs of a
            group are drawn as their mean with its 95 % interval (1.96 standard errors) at each x.
        smooth: weight of the past in an exponential mean; the raw line stands faint behind it.
        log: logarithmic vertical axis.
        x_title: what the horizontal axis counts.
    """
    from plotly.subplots import make_subplots

    metrics = list(dict.fromkeys(frame["metric"]))
    grouped = "group" in frame
    names = list(dict.fromkeys(frame["group" if grouped else "run"]))
    columns = min(3, max(1, len(metrics)))
    rows = max(1, -(-len(metrics) // columns))
    figure = make_subplots(
        rows, columns, subplot_titles=[plain_text(m) for m in metrics] or None,
        vertical_spacing=0.22 / rows, horizontal_spacing=0.05,
    )  # fmt: skip
    traces = []
    for i, metric in enumerate(metrics):
        axis = str(i + 1) if i else ""
        part = frame[frame["metric"] == metric]
        for j, name in enumerate(names):
            mine = part[part["group" if grouped else "run"] == name].sort_values("x")
            if mine.empty:
                continue
            style = {
                "name": plain_text(str(name)), "legendgroup": str(name), "type": "scatter",
                "mode": "lines" if mine["x"].nunique() > 1 else "markers",
                "xaxis": f"x{axis}", "yaxis": f"y{axis}", "hovertemplate": "%{y:.4g}",
            }  # fmt: skip
            color = RUN_COLORS[j % len(RUN_COLORS)]
            line = {"color": color, "width": 1.7, "dash": DASHES[j // len(RUN_COLORS) % 4]}
            shown = {"showlegend": i == 0}
            if grouped:
                traces += _band(mine, style | shown, line, color)
                continue
            x, y = mine["x"].tolist(), mine["value"]
            if smooth > 0 and len(x) > 2:
                faint = {"line": {"color": tint(color, 0.25), "width": 1}, "hoverinfo": "skip"}
                traces.append({**style, **faint, "x": x, "y": y.tolist(), "showlegend": False})
            traces.append({**style, **shown, "line": line, "x": x,
                           "y": smoothed(y, smooth).tolist()})  # fmt: skip
    figure.add_traces(traces)
    figure.update_annotations(font_size=12)
    figure.update_xaxes(title={"text": x_title}, title_standoff=2)
    if log:
        figure.update_yaxes(type="log")
    return layout(
        figure, height=70 + 220 * rows, hovermode="closest", margin={**MARGIN, "t": 64},
        legend={"orientation": "h", "y": 1, "yanchor": "top", "x": 0, "yref": "container"},
    )  # fmt: skip


def _band(mine: pd.DataFrame, style: dict, line: dict, color: str) -> list[dict]:
    """The mean of a group at each x, and its interval as a band behind it."""
    found = mine.groupby("x")["value"].agg(["mean", "std", "count"]).reset_index()
    half = (1.96 * found["std"] / np.sqrt(found["count"])).fillna(0.0)
    x = found["x"].tolist()
    edge = {**style, "x": x, "line": {"width": 0, "color": color}, "showlegend": False,
            "hoverinfo": "skip", "mode": "lines"}  # fmt: skip
    return [
        {**edge, "y": (found["mean"] - half).tolist()},
        {**edge, "y": (found["mean"] + half).tolist(), "fill": "tonexty",
         "fillcolor": tint(color, 0.18)},
        {**style, "x": x, "y": found["mean"].tolist(), "line": line},
    ]  # fmt: skip
