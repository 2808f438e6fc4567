"""Search and sensitivity: one setting varied at a time, or the paper's meta-reward in earnest.

The search runs on seeds and prompts of its own (calibration split); what it finds best is written
into ``methods`` by hand, with the numbers that decided, and then measured on the reported seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from workbench.bench.cells import SEARCH, SEARCH_SEEDS, Budget, Cell, cell
from workbench.bench.methods import METHODS, OBJECTIVES, Method
from workbench.tasks.etudes import FAMILIES
from workbench.types import Floats

ANCHORED = METHODS["anchored"].settings["scalarizer"]
MAESTRO = METHODS["maestro"].settings["scalarizer"]


def _anchor(**changes: Any) -> dict[str, Any]:
    return {"scalarizer": ANCHORED | {"anchor": ANCHORED["anchor"] | changes}}


SETTINGS: dict[str, dict[str, dict[float, dict[str, Any]]]] = {
    "emphasis": {
        "MAESTRO": {r: {"scalarizer": MAESTRO | {"emphasis": r}} for r in (0.1, 0.3, 0.5, 0.8, 1.0)}
    },
    "temperature": {
        "MAESTRO": {
            t: {"scalarizer": MAESTRO | {"temperature": t, "learn_temperature": False}}
            for t in (0.25, 0.5, 1.0, 2.0, 4.0)
        },
        "anchored": {
            t: {"scalarizer": ANCHORED | {"temperature": t, "learn_temperature": False}}
            for t in (0.25, 0.5, 1.0, 2.0, 4.0)
        },
    },
    "entropy_coef": {
        "MAESTRO": {
            v: {"scalarizer": MAESTRO | {"entropy_coef": v}} for v in (0.001, 0.01, 0.1, 0.3, 1.0)
        },
        "anchored": {v: _anchor(entropy_coef=v) for v in (0.001, 0.02, 0.1, 0.3, 1.0)},
    },
    "fraction": {
        "anchored": {f: _anchor(fraction=f) for f in (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)}
    },
    "group_size": {
        name: {
            g: dict(METHODS[key].settings)
            | {"grpo": {"num_generations": g, "prompts_per_step": 64 // g}}
            for g in (2, 4, 8, 16)
        }
        for name, key in (("equal", "equal"), ("MAESTRO", "maestro"), ("anchored", "anchored"))
    },
}
"""Sensitivity: for each setting, per method, the values and what they change; the number of
completions per step stays 64 when the group size changes."""

TITLES = {
    "emphasis": "emphasis ρ",
    "temperature": "temperature τ (fixed)",
    "entropy_coef": "entropy coefficient λ",
    "fraction": "share of groups judged",
    "group_size": "completions per prompt G",
}


def varied_cells(name: str, seeds: Sequence[int], budget: Budget) -> dict[tuple[str, float], list]:
    """Cells of one setting by (method, value).

    Raises:
        ValueError: When there is no such setting.
    """
    if name not in SETTINGS:
        raise ValueError(f"setting: {name!r} unknown; allowed are {list(SETTINGS)}")
    blank = Method("", "sweep")
    return {
        (method, value): [
            cell(f"{name}-{value:.4g}", blank, seed, budget, **changes) for seed in seeds
        ]
        for method, values in SETTINGS[name].items()
        for value, changes in values.items()
    }


SCALINGS: dict[str, Mapping[str, Any]] = {
    "raw": {},
    "batch": {"reward_scaling": "batch"},
    "rank": {"reward_scaling": "rank"},
    "centred": {"center_objectives": True},
    "rank-two": {"objectives": METHODS["maestro-paper"].settings["objectives"]},
}


def maestro_space() -> dict[str, dict[str, Any]]:
    """Settings of the paper's meta-reward that the search tries, by a name that says them.

    The crossings that interact (scaling of the rewards, emphasis, entropy bonus) and one factor at
    a time around the middle for the rest.
    """
    space: dict[str, dict[str, Any]] = {}
    for scaling, rho, lam in product(("raw", "batch", "rank"), (0.3, 0.7), (0.03, 0.3)):
        name = f"{scaling} rho {rho} lambda {lam}"
        space[name] = SCALINGS[scaling] | _head(emphasis=rho, entropy_coef=lam)
    space["raw rho 0.1 lambda 0.1"] = _head(emphasis=0.1)
    space["batch rho 0.1 lambda 0.1"] = SCALINGS["batch"] | _head(emphasis=0.1)
    space["raw rho 1 lambda 0.1"] = _head(emphasis=1.0)
    for rate in (0.001, 0.05):
        space[f"raw lr {rate}"] = _head(learning_rate=rate)
    for every in (1, 6):
        space[f"raw M {every}"] = _head(update_every=every)
    for tau in (0.5, 2.0):
        space[f"raw tau {tau} fixed"] = _head(temperature=tau, learn_temperature=False)
    space["raw centred"] = SCALINGS["centred"] | _head()
    space["raw prompt context"] = _head(context="prompt")
    space["raw continuous"] = _head(mode="continuous")
    space["raw continuous floor 0.1"] = _head(mode="continuous", min_weight=0.1)
    space["batch continuous"] = SCALINGS["batch"] | _head(mode="continuous")
    space["rank of perplexity and entropy"] = SCALINGS["rank-two"] | _head()
    space["GDPO"] = {"aggregation": "normalize_then_sum"} | _head()
    return space


def anchored_space() -> dict[str, dict[str, Any]]:
    """How the anchored Conductor may use the same budget, one group in eight, and its head."""
    space = {
        "as shipped": _anchor(),
        "no gate": _anchor(gate=False),
        "groups at random": _anchor(select="random"),
        "no caution": _anchor(caution=0.0),
        "most uncertain groups": _anchor(select="uncertain"),
        "groups that disagree most": _anchor(select="disagreement"),
        "bias-only head": _anchor(head="bias"),
        "ridge 0.01": _anchor(ridge=0.01),
        "ridge 0.1": _anchor(ridge=0.1),
        "rate 0.05": _anchor(learning_rate=0.05),
        "rate 0.2": _anchor(learning_rate=0.2),
        "8 groups at once": _anchor(first=8),
        "replay 64": _anchor(replay=64),
        "8 inner steps": _anchor(inner_steps=8),
        "lambda 0.1": _anchor(entropy_coef=0.1),
    }
    space |= {f"{name} rewards": SCALINGS[name] | _anchor() for name in ("batch", "rank")}
    for fraction in (1 / 64,):
        for select in ("novel", "random", "uncertain", "disagreement"):
            space[f"1 in 64, {select}"] = _anchor(fraction=fraction, select=select)
        space["1 in 64, bias-only head"] = _anchor(fraction=fraction, head="bias")
        space["1 in 64, no gate"] = _anchor(fraction=fraction, gate=False)
    return space


Trial = dict[str, dict[str, float]]
"""Weights per kind."""


def oracle_trials(random: int = 6, seed: int = 0) -> list[Trial]:
    """Candidates for the weights per kind: T runs that try T candidates on every kind at once.

    Candidates are equal weights, 0.8 on one objective, 0.5 on each of two, and Dirichlet draws.
    Every run gives every kind another one (each kind walks the list in an order of its own), so
    that one grid of T runs tells T candidates apart for each of the seven kinds.
    """
    rng = np.random.default_rng(seed)
    k = len(OBJECTIVES)
    eye = np.eye(k)
    candidates = [np.full(k, 1 / k)]
    candidates += [0.05 + 0.75 * eye[a] for a in range(k)]
    candidates += [0.45 * (eye[a] + eye[b]) + 0.02 for a in range(k) for b in range(a)]
    candidates += list(rng.dirichlet(np.full(k, 0.7), size=random))
    orders = {kind: rng.permutation(len(candidates)) for kind in FAMILIES}
    return [
        {kind: _named(candidates[order[run]]) for kind, order in orders.items()}
        for run in range(len(candidates))
    ]


def _named(weights: Floats) -> dict[str, float]:
    return {n: round(float(w), 3) for n, w in zip(OBJECTIVES, weights, strict=True)}


def oracle_of(trial: Trial) -> dict[str, Any]:
    """The settings of a run under weights per kind."""
    return {"scalarizer": {"name": "oracle", "by_kind": trial}}


def best_weights(table: pd.DataFrame, top: int = 3) -> Trial:
    """For each kind the mean of the ``top`` candidates: one alone would be partly luck.

    Args:
        table: columns kind, judge, and one per objective.
        top: how many are averaged.
    """
    best = table.sort_values("judge", ascending=False).groupby("kind").head(top)
    means = best.groupby("kind")[list(OBJECTIVES)].mean()
    return {kind: _named(means.loc[kind].to_numpy()) for kind in FAMILIES if kind in means.index}


def _head(**changes: Any) -> dict[str, Any]:
    middle = {"emphasis": 0.5, "learning_rate": 0.01, "entropy_coef": 0.1, "update_every": 3}
    return {"scalarizer": {"name": "conductor"} | middle | changes}


def search_cells(
    space: Mapping[str, Mapping[str, Any]], seeds: Sequence[int] = SEARCH_SEEDS, steps: int = 100
) -> dict[str, list[Cell]]:
    """Cells of a search by setting, on the calibration split and on seeds of their own."""
    blank = Method("", "search")
    budget = Budget(**(vars(SEARCH) | {"steps": steps}))
    return {
        name: [cell("search", blank, seed, budget, **dict(changes)) for seed in seeds]
        for name, changes in space.items()
    }
