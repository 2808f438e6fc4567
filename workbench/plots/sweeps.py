"""Parallel coordinates: every trial of a sweep as a line over its settings and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from workbench.plots.palette import layout, plain_text

SCALE = "Viridis"


def parallel(frame: pd.DataFrame, columns: Sequence[str], minimize: bool = False) -> go.Figure:
    """Every trial as a line over the columns, coloured by the last one.

    Args:
        frame: one row a trial; those without a value in the last column are left out.
        columns: from left to right; the last one is the metric.
        minimize: whether a low metric is good (the colours are turned around).

    Raises:
        ValueError: no trial has a value yet.
    """
    metric = columns[-1]
    rows = frame[frame[metric].notna()]
    if rows.empty:
        raise ValueError(f"no trial has a {metric} yet")
    dimensions = [_dimension(rows[column], column) for column in columns]
    trace = go.Parcoords(
        dimensions=dimensions,
        line={
            "color": rows[metric].tolist(),
            "colorscale": SCALE,
            "reversescale": minimize,
            "showscale": True,
            "colorbar": {"title": {"text": plain_text(metric)}, "thickness": 12},
        },
        labelangle=-20,
    )
    return layout(go.Figure(trace), height=420, margin={"l": 60, "r": 30, "t": 110, "b": 30})


def _dimension(values: pd.Series, name: str) -> dict[str, object]:
    """One axis: numbers as they are, anything else as evenly spaced ticks."""
    label = plain_text(name.removeprefix("reward/").rpartition(".")[2])
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().all():
        return {"label": label, "values": numbers.tolist()}
    if numbers.notna().any() and values.isna().any() and numbers.notna().sum() == values.count():
        return {"label": label, "values": numbers.fillna(numbers.min()).tolist()}
    texts = list(dict.fromkeys(str(v) for v in values))
    return {
        "label": label,
        "values": [texts.index(str(v)) for v in values],
        "tickvals": list(range(len(texts))),
        "ticktext": [plain_text(text) for text in texts],
    }
