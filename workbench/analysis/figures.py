"""Pictures of runs by name: the question that each needs, then the figure that draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from workbench.analysis import queries
from workbench.analysis.counterfactual import compare_runs
from workbench.analysis.group_report import favouring
from workbench.plots import figures, group_figures
from workbench.store.reader import Store

Asked = Mapping[str, str]
"""Runs as they were asked for, and their ids."""


def _ids(runs: Asked) -> list[str]:
    return list(dict.fromkeys(runs.values()))


def _one(runs: Asked) -> str:
    """The one run of a figure that shows one.

    Raises:
        ValueError: there are several.
    """
    ids = _ids(runs)
    if len(ids) != 1:
        raise ValueError(f"this figure is of one run; asked for are {', '.join(runs)}")
    return ids[0]


def _each(runs: Asked, ask: Callable[[str], pd.DataFrame], column: str) -> pd.DataFrame:
    """The answers for one or several runs; of several, lines or panels begin with the run.

    Without it the points of all runs would be one line, or one mean.
    """
    ids = {run_id: name for name, run_id in runs.items()}
    if len(ids) == 1:
        return ask(next(iter(ids)))
    frames = [ask(run_id) for run_id in ids]
    told = [
        frame.assign(**{column: f"{name} · " + frame[column]})
        for name, frame in zip(ids.values(), frames, strict=True)
        if len(frame)
    ]
    return pd.concat(told, ignore_index=True) if told else frames[0]


def _rewards(store: Store, runs: Asked) -> go.Figure:
    """Mean reward per objective over training."""
    frame = _each(runs, lambda run: queries.reward_curves(store, run), "name")
    return figures.curves(frame, "mean reward")


def _judge(store: Store, runs: Asked) -> go.Figure:
    """Judge on the probe prompts over training."""

    def ask(run: str) -> pd.DataFrame:
        frame = queries.curves(store, run, split="probe")
        return frame[frame["name"].str.match(r"judge(/|$)")]

    return figures.curves(_each(runs, ask, "name"), "judge on probe prompts")


def _weights(store: Store, runs: Asked) -> go.Figure:
    """Mean weight per objective over training, a panel per kind of prompt."""

    def ask(run: str) -> pd.DataFrame:
        return queries.weights_over_steps(store, run, "split", "train")

    return figures.weights_by_kind(_each(runs, ask, "kind"))


def _weight_area(store: Store, runs: Asked) -> go.Figure:
    """Mean weights over training as stacked areas."""
    frame = queries.weights(store, _one(runs), by=("step",))
    believed = frame["probability"].fillna(frame["weight"])
    return _named(figures.weight_area(frame.assign(weight=believed)))


def _prompt(store: Store, runs: Asked, prompt_id: str, split: str = "probe") -> go.Figure:
    """Weights of one prompt over training; probe prompts come back at every probe."""
    frame = queries.weights(store, _one(runs), by=("step",), split=split, prompt_id=prompt_id)
    if frame.empty:
        raise ValueError(f"prompt_id: {prompt_id!r} has no {split} completions")
    believed = frame["probability"].fillna(frame["weight"])
    return _named(figures.weight_area(frame.assign(weight=believed)))


def _named(area: go.Figure) -> go.Figure:
    """Room for a legend: on a page the colours are explained beside the picture, here nowhere."""
    return area.update_layout(showlegend=True, height=240, margin={**figures.MARGIN, "t": 34})


def _group(store: Store, runs: Asked, prompt_id: str, step: int | None = None) -> go.Figure:
    """Why each completion of a prompt was pushed up or down."""
    return group_figures.group(queries.group(store, _one(runs), prompt_id, step=step))


def _weight_map(store: Store, runs: Asked, selected: str | None = None) -> go.Figure:
    """Every prompt's weights as a point between the objectives."""
    frame = queries.weight_map(store, _one(runs))
    return figures.weight_map(frame, list(frame.columns[4:]), selected)


def _self_favouring(store: Store, runs: Asked, by: Any = "kind") -> go.Figure:
    """How far weights sit where rewards already are high."""
    return group_figures.self_favouring(favouring(store, _one(runs), by=by))


def _health(store: Store, runs: Asked) -> go.Figure:
    """Emphasis entropy, share of groups that teach nothing, share of cut-off completions."""

    def ask(run: str) -> pd.DataFrame:
        frame = queries.step_health(store, run)[["step", "entropy", "flat_groups", "truncated"]]
        return frame.melt("step", var_name="name").dropna()

    return figures.curves(_each(runs, ask, "name"), "share")


def _compare(store: Store, runs: Asked, phase: str | None = None) -> go.Figure:
    """Held-out means of several runs with 95 % intervals."""
    means = compare_runs(store, runs, phase).means
    return figures.means_with_intervals(means[means["kind"] == "all"])


def _pareto(
    store: Store, runs: Asked, x: str | None = None, y: str | None = None, phase: str | None = None
) -> go.Figure:
    """Several runs over two objectives (default: the first two), with the Pareto front."""
    found = compare_runs(store, runs, phase)
    allowed = list(found.reference)
    unknown = [n for n in (x, y) if n is not None and n not in allowed]
    if unknown:
        raise ValueError(f"objectives {unknown} unknown; there are {', '.join(allowed)}")
    if len(allowed) < 2:
        raise ValueError(f"a Pareto front needs two objectives; there is {', '.join(allowed)}")
    x = x or next(n for n in allowed if n != y)
    return figures.pareto(found.front, x, y or next(n for n in allowed if n != x))


OF_RUNS: Mapping[str, Callable[..., go.Figure]] = {
    "rewards": _rewards,
    "judge": _judge,
    "weights": _weights,
    "weights_by_kind": _weights,
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


def of_others() -> dict[str, Callable[..., go.Figure]]:
    """Figures of other packages that draw a run, ``(Workbench, run, **options)``, by name."""
    known = figures.FIGURES.usable().items()
    return {n: f for n, f in known if _is_of_run(f) and n not in OF_RUNS}


def of_data() -> dict[str, Callable[..., go.Figure]]:
    """Figures of a DataFrame by name: of the pages, of one group, of the benchmark, of others."""
    return {n: f for n, f in figures.FIGURES.usable().items() if not _is_of_run(f)}


def _is_of_run(figure: Callable[..., go.Figure]) -> bool:
    return getattr(figure, "of", "data") == "run"  # optional, see config.registry


def catalogue() -> pd.DataFrame:
    """Every picture: name, of (``run`` or ``data``), meaning."""
    rows = [
        {"name": name, "of": of, "meaning": (function.__doc__ or "").strip().partition("\n")[0]}
        for of, known in (("run", {**of_others(), **OF_RUNS}), ("data", of_data()))
        for name, function in known.items()
    ]
    return pd.DataFrame(rows)


def draw(
    store: Store,
    name: str,
    runs: Asked | None = None,
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
    known = OF_RUNS if data is None else of_data()
    if name not in known:
        raise ValueError(
            f"no figure {name!r} of {'a run' if data is None else 'data'}; there are "
            f"{', '.join(known)}; wb.figures() lists all"
        )
    if data is not None:
        return framed(known[name](data, **options))
    if runs is None:
        raise ValueError(f"figure {name!r} needs a run")
    return framed(known[name](store, runs, **options))


def framed(figure: go.Figure) -> go.Figure:
    """A figure on a white ground."""
    return figure.update_layout(
        template="plotly_white", paper_bgcolor="white", plot_bgcolor="white", autosize=True
    )
