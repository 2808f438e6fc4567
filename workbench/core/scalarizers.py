"""Who chooses the weights: the simple scalarizers, SAW, and the one table of all of them.

A new scalarizer is one file, its settings and a class with the protocol of
``core.scalarizer_input``, and one line in ``config.registry``; see ``config.scalarizers``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from workbench.config import scalarizers as configs
from workbench.core.advantages import nan_mean_std
from workbench.core.arrays import as_floats, check_matrix, is_tensor, to_like
from workbench.core.baselines import CTWA, DVAO, GD2PO, SAMRPO, Hypervolume
from workbench.core.kernel_conductor import KernelConductor
from workbench.core.scalarizer_input import (
    Scalarizer,
    ScalarizerInput,
    Stateless,
    Weighting,
    is_flat,
    named_weights,
    to_simplex,
)
from workbench.types import Floats

__all__ = [
    "SCALARIZERS",
    "Weighting",
    "Scalarizer",
    "ScalarizerInput",
    "build_scalarizer",
    "saw_weights",
]

SAW_DELTA = 1e-8
"""delta of SAW's denominator, as in the authors' code."""


class Static(Stateless):
    """The same weights for every completion of the run."""

    def __init__(self, weights: Floats) -> None:
        self.weights = weights

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """The fixed weights, N times."""
        return Weighting(np.tile(self.weights, (len(scene.rewards), 1)))


class Random(Stateless):
    """Dirichlet weights, one draw per completion, group or step."""

    def __init__(self, concentration: float, per: str) -> None:
        self.concentration = concentration
        self.per = per

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """A draw, or the mean of the distribution (equal weights) when not exploring."""
        rows, k = scene.rewards.shape
        if not explore:
            return Weighting(np.full((rows, k), 1.0 / k))
        draws = {"completion": rows, "group": scene.groups, "step": 1}[self.per]
        drawn = rng.dirichlet(np.full(k, self.concentration), size=draws)
        return Weighting(np.repeat(drawn, rows // draws, axis=0))


class Oracle(Stateless):
    """Weights given by hand for each kind of prompt; equal weights for kinds without any."""

    def __init__(self, by_kind: dict[str, Floats], num_objectives: int) -> None:
        self.by_kind = by_kind
        self.otherwise = np.full(num_objectives, 1.0 / num_objectives)

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """The weights of each row's kind."""
        return Weighting(np.stack([self.by_kind.get(kind, self.otherwise) for kind in scene.kinds]))


def saw_weights(rewards: Any, lower: Any = None) -> Any:
    """Stage-aware weights: each objective's share of the coefficients of variation.

    cv_k = std_k / (|mean_k(r_k - lower_k)| + 1e-8), w_k = cv_k / sum_j cv_j, with the batch's
    sample deviation (arXiv 2606.07705 and the authors' code). An objective that is constant up to
    rounding gets 0; when all are, weights are equal. Multiplying all weights by K, as the paper
    does under GDPO, changes advantages only through epsilon, so it is not done.

    Args:
        rewards: (N, K) raw rewards of the whole batch; NaN entries are left out.
        lower: (K,) declared lower bounds, subtracted before the mean; None, NaN and -inf mean 0.

    Returns:
        (K,) weights that sum to 1: float64, or a tensor when ``rewards`` is one.

    Raises:
        ValueError: On a shape that does not fit.
    """
    r = as_floats(rewards, "rewards")
    check_matrix(r)
    bound = np.zeros(r.shape[1])
    if lower is not None:
        declared = _bounds(lower)
        if declared.shape != bound.shape:
            raise ValueError(f"lower: shape {declared.shape} is not (K,) = {bound.shape}")
        bound = np.where(np.isfinite(declared), declared, 0.0)
    return to_like(to_simplex(_variation(r, bound)), rewards)


def _bounds(lower: Any) -> Floats:
    values = lower.detach().cpu().numpy() if is_tensor(lower) else lower
    return np.asarray(values, dtype=np.float64)  # may hold infinities: "none declared"


def _variation(rewards: Floats, lower: Floats) -> Floats:
    above = rewards - lower
    mean, std = nan_mean_std(above, axis=0)
    flat = is_flat(np.fmax(np.abs(rewards), np.abs(lower)), std, axis=0)
    variation = np.where(flat, 0.0, std) / (np.abs(np.nan_to_num(mean)) + SAW_DELTA)
    return np.asarray(variation[0])


class SAW(Stateless):
    """Stage-aware dynamic weighting (He et al., arXiv 2606.07705), times static priorities.

    One weight vector for the whole batch from the statistics of the signed raw rewards, under
    either aggregation. No smoothing, as in the paper.
    """

    def __init__(self, priorities: Floats) -> None:
        self.priorities = priorities

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """The batch's stage-aware weights, N times."""
        weights = to_simplex(saw_weights(scene.raw, scene.lower) * self.priorities, self.priorities)
        return Weighting(np.tile(weights, (len(scene.raw), 1)))


Factory = Callable[[Any, tuple[str, ...], int | None, int, int, str, int | None], Scalarizer]
"""(config, objectives, hidden_size, num_generations, seed, aggregation, planned groups) to it."""


def _conductor(
    config: configs.Conductor,
    objectives: tuple[str, ...],
    hidden_size: int | None,
    num_generations: int,
    seed: int,
    aggregation: str,
    planned: int | None,
) -> Scalarizer:
    if hidden_size is None:
        raise ValueError("hidden_size: missing; a Conductor reads hidden states of known size")
    if config.head == "kernel":
        return KernelConductor(
            config, objectives, hidden_size, num_generations, seed, aggregation, planned
        )
    # here and not above: the other scalarizers, and the pages that use them, never load torch
    if config.meta_reward == "anchor":
        from workbench.core.anchor import AnchoredConductor

        return AnchoredConductor(
            config, objectives, hidden_size, num_generations, seed, aggregation, planned
        )
    from workbench.core.conductor import ConductorLearner

    return ConductorLearner(config, objectives, hidden_size)


def _custom(config: configs.Custom, objectives: tuple[str, ...], *_: Any) -> Scalarizer:
    module, attribute = config.function.split(":", 1)
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"scalarizer.function: {config.function!r} cannot be imported: {error}"
        ) from error
    try:
        built = kind(objectives, **config.params)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"scalarizer.function: {config.function!r} cannot be built from the objectives and "
            f"params {config.params}: {error}"
        ) from error
    if not isinstance(built, Scalarizer):
        wanted = sorted(m for m in vars(Scalarizer) if not m.startswith("_"))
        lacking = [name for name in (*wanted, "needs_hidden") if not hasattr(built, name)]
        raise ValueError(
            f"scalarizer.function: {config.function!r} lacks {', '.join(lacking)}; subclass "
            "workbench.core.scalarizer_input.Stateless and define choose"
        )
    return built


SCALARIZERS: dict[str, Factory] = {
    "static": lambda c, names, *_: Static(named_weights(c.weights, names)),
    "single": lambda c, names, *_: Static(named_weights({c.objective: 1.0}, names)),
    "random": lambda c, *_: Random(c.concentration, c.per),
    "oracle": lambda c, names, *_: Oracle(
        {kind: named_weights(weights, names) for kind, weights in c.by_kind.items()}, len(names)
    ),
    "saw": lambda c, names, *_: SAW(named_weights(c.priorities, names)),
    "dvao": lambda c, names, *_: DVAO(named_weights(c.weights, names)),
    "gd2po": lambda c, names, *_: GD2PO(named_weights(c.weights, names), c.threshold),
    "ctwa": lambda c, names, *_: CTWA(
        np.array([c.main_target, *[c.target] * (len(names) - 1)]),
        np.array([c.main_gate, *[c.gate] * (len(names) - 1)]),
        c.rate,
        c.smoothing,
    ),
    "sa_mrpo": lambda c, names, *_: SAMRPO(named_weights(c.weights, names), c.gamma),
    "hypervolume": lambda c, names, *_: Hypervolume(len(names), c.rate, c.smoothing),
    "conductor": _conductor,
    "custom": _custom,
}
"""How the scalarizers of the paper and its baselines are built, by the name of their settings."""


def build_scalarizer(
    config: configs.Settings,
    objectives: tuple[str, ...],
    hidden_size: int | None = None,
    num_generations: int = 8,
    seed: int = 0,
    aggregation: str = "sum_then_normalize",
    planned: int | None = None,
) -> Scalarizer:
    """Build the scalarizer that a configuration names.

    Args:
        config: settings of any scalarizer.
        objectives: names of the run's K objectives, in order.
        hidden_size: D of the policy; only a Conductor needs it.
        num_generations: G; the judged groups that an anchored Conductor replays all have this size.
        seed: for what a scalarizer draws by itself (the anchor's noise and shuffling).
        aggregation: the run's; an anchored Conductor learns through the same rewards or z-scores.
        planned: groups of the whole run, where that is known: the budget of an anchor is a share.

    Raises:
        ValueError: When the configuration does not fit the objectives.
    """
    config.check(objectives)
    if config.name not in SCALARIZERS:
        built: Scalarizer = config.build(objectives)
        return built
    factory = SCALARIZERS[config.name]
    return factory(config, objectives, hidden_size, num_generations, seed, aggregation, planned)
