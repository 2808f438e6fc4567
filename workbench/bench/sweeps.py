"""Search and sensitivity: one setting varied at a time, or the paper's meta-reward in earnest.

The search runs on seeds and prompts of its own (calibration split); what it finds best is written
into ``methods`` by hand, with the numbers that decided, and then measured on the reported seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from workbench.bench.cells import SEARCH, SEARCH_SEEDS, Budget, Cell, cell
from workbench.bench.methods import METHODS, Method

ANCHORED = METHODS["anchored"].settings["scalarizer"]
MAESTRO = METHODS["maestro"].settings["scalarizer"]


def _anchor(**changes: Any) -> dict[str, Any]:
    return {"scalarizer": ANCHORED | {"anchor": ANCHORED["anchor"] | changes}}


SWEEPS: dict[str, dict[str, dict[float, dict[str, Any]]]] = {
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


def sweep_cells(name: str, seeds: Sequence[int], budget: Budget) -> dict[tuple[str, float], list]:
    """Cells of one sweep by (method, value).

    Raises:
        ValueError: When there is no such sweep.
    """
    if name not in SWEEPS:
        raise ValueError(f"sweep: {name!r} unknown; allowed are {list(SWEEPS)}")
    blank = Method("", "sweep")
    return {
        (method, value): [
            cell(f"{name}-{value:.4g}", blank, seed, budget, **changes) for seed in seeds
        ]
        for method, values in SWEEPS[name].items()
        for value, changes in values.items()
    }


SCALINGS: dict[str, Mapping[str, Any]] = {
    "raw": {},
    "batch": {"reward_scaling": "batch"},
    "rank": {"reward_scaling": "rank"},
    "centred": {"center_objectives": True},
    "rank-two": {"objectives": METHODS["maestro-paper"].settings["objectives"]},
}


def search_space() -> dict[str, dict[str, Any]]:
    """Settings of the paper's meta-reward that the search tries, by a name that says them.

    One factor at a time around the middle, and the crossings that interact: emphasis with entropy
    bonus, rate with entropy bonus, everything with the scaling of the rewards.
    """
    space: dict[str, dict[str, Any]] = {}
    for scaling, rho, lam, rate in product(
        ("raw", "batch", "rank"), (0.3, 0.7), (0.03, 0.3), (0.01,)
    ):
        name = f"{scaling} rho {rho} lambda {lam} lr {rate}"
        space[name] = SCALINGS[scaling] | _head(emphasis=rho, entropy_coef=lam, learning_rate=rate)
    for rate in (0.001, 0.05):
        space[f"raw rho 0.5 lambda 0.1 lr {rate}"] = _head(learning_rate=rate)
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
