"""How far weights order a judged group as a trusted score does, and how far to believe that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.core.advantages import EPSILON, nan_mean_std
from workbench.types import Floats

EVIDENCE = 64
"""How many newly judged groups the trust in the learned weights looks back on."""
WORTHWHILE = 0.3
"""Mean agreement of weights that are worth using; chance has 0, a perfect match (G - 1) / G."""
PRIOR_ODDS = 9.0
"""For a trusted score that can be learned from, against one that says nothing."""


def trust_of(gains: Sequence[float], num_generations: int) -> float:
    """Probability that learned weights agree with the trusted score rather than by chance.

    Two explanations of the agreements f = (1/G) sum_i A_i V_i with newly judged groups: mean 0 or
    mean mu = 0.3, both with the variance that f has when U is in random order. A correlation of G
    pairs in random order has variance 1 / (G - 1), and f is (G - 1) / G of it, so
    s^2 = (G - 1) / G^2 and each group adds (mu f - mu^2 / 2) / s^2 to the log odds, from log 9.
    """
    size = max(2, num_generations)
    variance = (size - 1) / size**2
    steps = WORTHWHILE * np.asarray(gains, dtype=np.float64) - WORTHWHILE**2 / 2
    odds = np.log(PRIOR_ODDS) + float(steps.sum()) / variance
    return float(1.0 / (1.0 + np.exp(-np.clip(odds, -50.0, 50.0))))


def normalize_scores(scores: Floats) -> Floats:
    """Standardise U over the group, (G,) to (G,); 0 where a score is NaN or the group is flat."""
    mean, std = nan_mean_std(scores, axis=None)
    return np.nan_to_num((scores - mean) / (std + EPSILON), nan=0.0)


def agreement(weights: Floats, z: Floats, v: Floats) -> tuple[float, Floats]:
    """Mean over judged groups of mean_i A_i V_i, and its gradient in the weights.

    With c the centred r = Z w, s its sample deviation and e = 1e-4, a group's value is
    f = c.V / (s + e) / G, and df/dc = [V / (s + e) - (c.V) c / ((G - 1) s (s + e)^2)] / G; centring
    that and multiplying by Z gives df/dw. Written out because it is taken many times a step.

    Args:
        weights: (M, K), one vector per judged group.
        z: (M, G, K) rewards of the judged groups, 0 where an objective does not apply.
        v: (M, G) standardised trusted scores.

    Returns:
        The mean, and its gradient (M, K).
    """
    size = z.shape[1]
    r = np.einsum("mgk,mk->mg", z, weights)
    c = r - r.mean(axis=1, keepdims=True)
    std = np.sqrt((c**2).sum(axis=1, keepdims=True) / max(1, size - 1))
    scale = std + EPSILON
    product = (c * v).sum(axis=1, keepdims=True)
    # a flat group has c = 0; the floor only keeps 0 / 0 from being asked
    slope = v / scale - product * c / (max(1, size - 1) * np.maximum(std, 1e-10) * scale**2)
    slope = (slope - slope.mean(axis=1, keepdims=True)) / (size * len(z))
    gradient = np.einsum("mgk,mg->mk", z, slope)
    return float((product / scale).mean() / size), np.asarray(gradient)
