"""The Conductor's distribution and its weights in plain numpy: evaluation without torch.

``core.conductor`` trains with the same formulas; pages and what-if questions need only this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from workbench.core.kernel import fit, in_units, weights_on_rewards
from workbench.core.scaling import RunningMoments
from workbench.types import Floats, Ints

HIDDEN_EPSILON = 1e-6


def standardize_hidden(hidden: Floats, mean: Floats, std: Floats) -> Floats:
    """(h - mean) / (std + 1e-6) / sqrt(D), (N, D): unit length in expectation, whatever D is."""
    return np.asarray((hidden - mean) / (std + HIDDEN_EPSILON) / np.sqrt(hidden.shape[1]))


def group_means(values: Floats, num_generations: int) -> Floats:
    """Mean over each group, (N, D) to (B, D)."""
    return np.asarray(values.reshape(-1, num_generations, values.shape[1]).mean(axis=1))


def floor_probabilities(policy: Floats, min_probability: float) -> Floats:
    """Raise probabilities below the floor to it and renormalise each row."""
    raised = np.maximum(policy, min_probability)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def conductor_probabilities(
    hidden: Any,
    weight: Any,
    bias: Any,
    temperature: float = 1.0,
    mean: Any = None,
    std: Any = None,
    min_probability: float = 0.0,
) -> Floats:
    """pi(a|h) = softmax((W h + b) / tau), without torch.

    Args:
        hidden: (N, D) contexts.
        weight: W (K, D).
        bias: b (K,).
        temperature: tau > 0.
        mean: (D,) running mean of the contexts; with ``std`` the contexts are standardised first.
        std: (D,) running deviation of the contexts.
        min_probability: floor of each probability, renormalised.

    Returns:
        (N, K), each row on the simplex.

    Raises:
        ValueError: On shapes that do not fit or a temperature that is not positive.
    """
    h, w = np.asarray(hidden, dtype=np.float64), np.asarray(weight, dtype=np.float64)
    b = np.asarray(bias, dtype=np.float64)
    if h.ndim != 2 or w.ndim != 2 or h.shape[1] != w.shape[1] or b.shape != w.shape[:1]:
        raise ValueError(
            f"hidden {h.shape}, weight {w.shape}, bias {b.shape}: need (N, D), (K, D), (K,)"
        )
    if not temperature > 0:
        raise ValueError(f"temperature: {temperature} must be above 0")
    if mean is not None and std is not None:
        h = standardize_hidden(h, np.asarray(mean), np.asarray(std))
    logits = (h @ w.T + b) / temperature
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return floor_probabilities(odds / odds.sum(axis=1, keepdims=True), min_probability)


def sample_actions(policy: Floats, rng: np.random.Generator) -> Ints:
    """One action per row from (N, K) probabilities, by the inverse of the cumulative sum."""
    drawn = rng.random((len(policy), 1))
    below = (np.cumsum(policy, axis=1) <= drawn).sum(axis=1)
    return np.asarray(np.minimum(below, policy.shape[1] - 1), dtype=np.int64)


def discrete_weights(actions: Ints, num_objectives: int, emphasis: float) -> Floats:
    """Weights (1 - rho) / K + rho e_a, (N,) to (N, K). Our choice; the paper leaves it open."""
    spread = (1.0 - emphasis) / num_objectives
    return np.asarray(spread + emphasis * np.eye(num_objectives)[actions])


def continuous_weights(policy: Floats, min_weight: float) -> Floats:
    """Weights m + (1 - K m) pi with floor m, (N, K). Our choice; the paper leaves it open."""
    return np.asarray(min_weight + (1.0 - policy.shape[1] * min_weight) * policy)


def weights_from_state(
    state: Mapping[str, np.ndarray[Any, Any]],
    hidden: Any,
    groups: Any = None,
    min_probability: float = 1e-4,
) -> Floats:
    """Weights of a saved Conductor, without exploring, for other hidden states.

    The same as its ``choose(..., explore=False)``: the distribution, drawn towards equal weights as
    far as an anchored Conductor does not trust it, with a floor; or, of a kernel head, the signed
    weights of the posterior mean.

    Args and errors as for ``policy_from_state``.
    """
    if "kernel/trust" in state:
        return _kernel_weights(state, hidden, groups)
    weights = policy_from_state(state, hidden, groups)
    if "anchor/trust" in state:
        learned = continuous_weights(weights, float(state["anchor/min_weight"]))
        weights = trusted_weights(learned, float(state["anchor/trust"]))
    return floor_probabilities(weights, min_probability)


def trusted_weights(learned: Floats, trust: float) -> Floats:
    """Weights (1 - trust) / K + trust * learned, (N, K): how far learned weights are used."""
    return np.asarray((1.0 - trust) / learned.shape[1] + trust * learned)


def policy_from_state(
    state: Mapping[str, np.ndarray[Any, Any]],
    hidden: Any,
    groups: Any = None,
) -> Floats:
    """Distribution of a saved Conductor for other hidden states: "what would it have said?".

    Args:
        state: what a Conductor's ``state()`` returned, e.g. read from its safetensors file.
        hidden: (N, D) terminal hidden states.
        groups: (N,) group ids, read by a Conductor with prompt context, whose context is the mean
            over the group; None takes every row for itself.

    Returns:
        (N, K), each row on the simplex.

    Raises:
        ValueError: When the hidden size is not the Conductor's.
    """
    h, mean, std = _contexts(state, hidden, groups)
    temperature = float(np.exp(state["log_temperature"]))
    return conductor_probabilities(h, state["weight"], state["bias"], temperature, mean, std)


def _contexts(
    state: Mapping[str, np.ndarray[Any, Any]], hidden: Any, groups: Any
) -> tuple[Floats, Floats | None, Floats | None]:
    """Contexts (N, D) as the saved Conductor reads them, with the statistics it has of them."""
    h = np.asarray(hidden, dtype=np.float64)
    if groups is not None and bool(state["prompt_context"]):
        _, index = np.unique(np.asarray(groups), return_inverse=True)
        sums = np.zeros((index.max() + 1, h.shape[1]))
        np.add.at(sums, index, h)
        h = (sums / np.bincount(index)[:, None])[index]
    if not bool(state["normalize_hidden"]):
        return h, None, None
    moments = RunningMoments(len(state["hidden/mean"]))
    moments.load({key: state[f"hidden/{key}"] for key in ("count", "mean", "squares")})
    return h, moments.mean, moments.std


def _kernel_weights(state: Mapping[str, np.ndarray[Any, Any]], hidden: Any, groups: Any) -> Floats:
    """The weights of a saved Kernel Conductor, from the judged groups that it keeps."""
    h, mean, std = _contexts(state, hidden, groups)
    judged, deviation = state["judged/contexts"], np.asarray(state["kernel/deviation"])
    if h.ndim != 2 or h.shape[1] != judged.shape[1]:
        raise ValueError(f"hidden: shape {h.shape} is not (N, D) with D = {judged.shape[1]}")
    if mean is not None and std is not None:
        h, judged = (standardize_hidden(x, mean, std) for x in (h, judged))
    settings = float(state["kernel/shared"]), int(state["kernel/inducing"])
    rows = in_units(state["judged/rows"], deviation)
    found = fit(judged, rows, state["judged/scores"], float(state["kernel/ridge"]), *settings)
    return weights_on_rewards(found.weights(h), deviation, float(state["kernel/trust"]))
