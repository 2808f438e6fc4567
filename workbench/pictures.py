"""Pictures of runs by name: the question that each needs, then the figure that draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go

from workbench import figures

if TYPE_CHECKING:
    from workbench.api import Workbench
    from workbench.questions import Runs

HEALTH = ("weights_entropy", "policy_entropy", "frac_reward_zero_std")


def _rewards(wb: Workbench, run: Runs) -> go.Figure:
    frame = wb.weights(run, by=("step",))
    return figures.curves(
        frame.rename(columns={"objective": "name", "reward": "value"}), "mean reward"
    )


def _judge(wb: Workbench, run: Runs) -> go.Figure:
    frame = wb.curves(run, split="probe")
    frame = frame[frame["name"].str.match(r"judge(/|$)")]
    return figures.curves(frame, "judge on probe prompts")


def _weights(wb: Workbench, run: Runs) -> go.Figure:
    return figures.weights_by_kind(wb.weights(run))


def _weight_area(wb: Workbench, run: Runs) -> go.Figure:
    return figures.weight_area(wb.weights(run, by=("step",)))


def _weight_map(wb: Workbench, run: Runs) -> go.Figure:
    frame = wb.weights(run, by=("prompt_id", "step", "kind"))
    names = list(dict.fromkeys(frame["objective"]))
    keys = ["prompt_id", "step", "kind"]
    wide = frame.pivot(index=keys, columns="objective", values="weight").reset_index()
    texts = wb.prompts(run, split="train").drop_duplicates("prompt_id")
    wide = wide.merge(texts[["prompt_id", "prompt"]], on="prompt_id")
    return figures.weight_map(wide.drop_duplicates("prompt_id", keep="last"), names)


def _health(wb: Workbench, run: Runs) -> go.Figure:
    return figures.curves(wb.curves(run, HEALTH, split="train"), "share")


def _compare(wb: Workbench, run: Runs) -> go.Figure:
    means = wb.compare([run] if isinstance(run, str) else run).means
    return figures.means_with_intervals(means[means["kind"] == "all"])


OF_RUNS: Mapping[str, Callable[[Workbench, Runs], go.Figure]] = {
    "rewards": _rewards,
    "judge": _judge,
    "weights": _weights,
    "weight_area": _weight_area,
    "weight_map": _weight_map,
    "health": _health,
    "compare": _compare,
}
"""Pictures of one run (``compare``: of several)."""


def draw(
    wb: Workbench,
    name: str,
    run: Runs | None = None,
    *,
    data: pd.DataFrame | None = None,
    **options: Any,
) -> go.Figure:
    """Draw a picture of a run, or of a DataFrame by one of ``figures.FIGURES``.

    Raises:
        ValueError: no picture has that name, or neither a run nor data is given.
    """
    if data is not None:
        return figures.figure(name, data, **options)
    if name not in OF_RUNS:
        raise ValueError(
            f"no figure {name!r} of a run; there are {', '.join(OF_RUNS)}; "
            f"of data: {', '.join(figures.FIGURES)}"
        )
    if run is None:
        raise ValueError(f"figure {name!r} needs a run")
    return OF_RUNS[name](wb, run)
