"""Pictures of runs by name: the question that each needs, then the figure that draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go

from workbench.plots import figures, group_figures

if TYPE_CHECKING:
    from workbench.analysis.queries import Runs
    from workbench.api.workbench import Workbench

HEALTH = ("weights_entropy", "policy_entropy", "frac_reward_zero_std")


def _rewards(wb: Workbench, run: Runs) -> go.Figure:
    """Mean reward per objective over training."""
    frame = wb.weights(run, by=("step",))
    return figures.curves(
        frame.rename(columns={"objective": "name", "reward": "value"}), "mean reward"
    )


def _judge(wb: Workbench, run: Runs) -> go.Figure:
    """Judge on the probe prompts over training."""
    frame = wb.curves(run, split="probe")
    frame = frame[frame["name"].str.match(r"judge(/|$)")]
    return figures.curves(frame, "judge on probe prompts")


def _believed(frame: pd.DataFrame) -> pd.DataFrame:
    """The Conductor's distribution in place of the weights it drew; others keep their weights."""
    return frame.assign(weight=frame["probability"].fillna(frame["weight"]))


def _weights(wb: Workbench, run: Runs) -> go.Figure:
    """Mean weight per objective over training, a panel per kind of prompt."""
    return figures.weights_by_kind(_believed(wb.weights(run)))


def _weight_area(wb: Workbench, run: Runs) -> go.Figure:
    """Mean weights over training as stacked areas."""
    return _named(figures.weight_area(_believed(wb.weights(run, by=("step",)))))


def _prompt(wb: Workbench, run: Runs, prompt_id: str, split: str = "probe") -> go.Figure:
    """Weights of one prompt over training; probe prompts come back at every probe."""
    rows = wb.weights(run, by=("step",), split=split, prompt_id=prompt_id)
    if rows.empty:
        raise ValueError(f"prompt_id: {prompt_id!r} has no {split} completions in run {run!r}")
    return _named(figures.weight_area(_believed(rows)))


def _named(area: go.Figure) -> go.Figure:
    """Room for a legend: on a page the colours are explained beside the picture, here nowhere."""
    return area.update_layout(showlegend=True, height=240, margin={**figures.MARGIN, "t": 34})


def _group(wb: Workbench, run: Runs, prompt_id: str, step: int | None = None) -> go.Figure:
    """Why each completion of a prompt was pushed up or down."""
    return group_figures.group(wb.group(str(run), prompt_id, step=step))


def _weight_map(wb: Workbench, run: Runs, selected: str | None = None) -> go.Figure:
    """Every prompt's weights as a point between the objectives."""
    frame = wb.weight_map(str(run))
    return figures.weight_map(frame, list(frame.columns[4:]), selected)


def _self_favouring(wb: Workbench, run: Runs, by: Any = "kind") -> go.Figure:
    """How far weights sit where rewards already are high."""
    return group_figures.self_favouring(wb.self_favouring(str(run), by=by))


def _health(wb: Workbench, run: Runs) -> go.Figure:
    """Entropies of the weights and share of groups that teach nothing."""
    return figures.curves(wb.curves(run, HEALTH, split="train"), "share")


def _compare(wb: Workbench, run: Runs, phase: str | None = None) -> go.Figure:
    """Held-out means of several runs with 95 % intervals."""
    means = wb.compare([run] if isinstance(run, str) else run, phase=phase).means
    return figures.means_with_intervals(means[means["kind"] == "all"])


def _pareto(
    wb: Workbench, run: Runs, x: str = "perplexity", y: str = "length", phase: str | None = None
) -> go.Figure:
    """Several runs over two objectives, with the Pareto front."""
    found = wb.compare([run] if isinstance(run, str) else run, phase=phase)
    unknown = [n for n in (x, y) if n not in found.front]
    if unknown:
        allowed = [n for n in found.front.columns if n not in ("side", "front")]
        raise ValueError(f"objectives {unknown} unknown; there are {', '.join(allowed)}")
    return figures.pareto(found.front, x, y)


OF_RUNS: Mapping[str, Callable[..., go.Figure]] = {
    "rewards": _rewards,
    "judge": _judge,
    "weights": _weights,
    "weight_area": _weight_area,
    "prompt": _prompt,
    "group": _group,
    "weight_map": _weight_map,
    "self_favouring": _self_favouring,
    "health": _health,
    "compare": _compare,
    "pareto": _pareto,
}
"""Pictures of one run (``compare`` and ``pareto``: of several)."""


def of_runs() -> dict[str, Callable[..., go.Figure]]:
    """Figures of a run by name: those above, and those of other packages that draw a run."""
    return {n: f for n, f in figures.FIGURES.usable().items() if _is_of_run(f)} | dict(OF_RUNS)


def of_data() -> dict[str, Callable[..., go.Figure]]:
    """Figures of a DataFrame by name: of the pages, of one group, of the benchmark, of others."""
    return {n: f for n, f in figures.FIGURES.usable().items() if not _is_of_run(f)}


def _is_of_run(figure: Callable[..., go.Figure]) -> bool:
    return getattr(figure, "of", "data") == "run"  # optional, see config.registry


def catalogue() -> pd.DataFrame:
    """Every picture: name, of (``run`` or ``data``), meaning."""
    rows = [
        {"name": name, "of": of, "meaning": (function.__doc__ or "").strip().partition("\n")[0]}
        for of, known in (("run", of_runs()), ("data", of_data()))
        for name, function in known.items()
    ]
    return pd.DataFrame(rows)


def draw(
    wb: Workbench,
    name: str,
    run: Runs | None = None,
    *,
    data: pd.DataFrame | None = None,
    **options: Any,
) -> go.Figure:
    """Draw a picture of a run, or of a DataFrame.

    Figures of the pages are transparent and take the page's colours; here they get a white ground,
    so that they read the same in a light and in a dark notebook.

    Raises:
        ValueError: no picture has that name, or neither a run nor data is given.
    """
    known = of_runs() if data is None else of_data()
    if name not in known:
        raise ValueError(
            f"no figure {name!r} of {'a run' if data is None else 'data'}; there are "
            f"{', '.join(known)}; wb.figures() lists all"
        )
    if data is not None:
        figure = known[name](data, **options)
    elif run is None:
        raise ValueError(f"figure {name!r} needs a run")
    else:
        figure = known[name](wb, run, **options)
    figure.update_layout(
        template="plotly_white", paper_bgcolor="white", plot_bgcolor="white", autosize=True
    )
    return figure
