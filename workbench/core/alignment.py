"""How far weights order a judged group as a trusted score does, and how far to believe that."""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np

from workbench.core.advantages import EPSILON, nan_mean_std
from workbench.types import Floats

EVIDENCE = 64
"""How many newly judged groups the trust in a softmax's weights looks back on."""
TYPICAL = 0.3
"""Size of an agreement that is worth having; a perfect match has (G - 1) / G."""
PRIOR_ODDS = 0.25
"""That scores can be predicted by weights at all, against that they say nothing. A clear judge
overcomes it within eight groups; at even odds a third of shuffled ones is believed for a while."""
PRIOR_GAIN, PRIOR_SPREAD = 0.1, 0.2
"""What learned weights are expected to gain over equal ones, before any evidence."""


def agreements(predicted: Floats, v: Floats) -> Floats:
    """F = (1/G) sum_i A_i V_i of each group, A the group-normalised prediction; (M, G) to (M,)."""
    return np.asarray((_standard(predicted) * v).mean(axis=1))


def _standard(values: Floats) -> Floats:
    """Group-normalise each row of (M, G) without NaN."""
    mean, std = nan_mean_std(values, axis=1)
    return np.asarray((values - mean) / (np.nan_to_num(std) + EPSILON))


def compared(learned: Floats, equal: Floats, v: Floats, mutual: bool = False) -> Floats:
    """How two predictions of judged groups agree with the scores, and how far chance alone goes.

    Under scores in random order (1/G) sum_i D_i V_i of centred D and V has mean 0 and variance
    |D|^2 |V|^2 / (G^2 (G - 1)), exactly.

    Args:
        learned: (M, G) predictions of each group by weights that never saw its scores.
        equal: (M, G) weighted sums under equal weights.
        v: (M, G) standardised trusted scores.
        mutual: the groups were predicted by each other, as by leaving each one out. Then every pair
            of groups counts twice: sum_g f_g is 2 sum_{g < h} of products that are uncorrelated
            under scores in random order, so the variance of the sum is twice that of independent
            predictions (exactly so for one weight vector and a large ridge).

    Returns:
        (M, 4): the agreement f of the learned weights and its variance by chance, the gain d over
        equal weights and its variance by chance.
    """
    a, b = _standard(learned), _standard(equal)
    size = v.shape[1]
    scale = (v**2).sum(axis=1) / (size**2 * max(1, size - 1)) * (2.0 if mutual else 1.0)
    columns = (
        (a * v).mean(axis=1),
        (a**2).sum(axis=1) * scale,
        ((a - b) * v).mean(axis=1),
        ((a - b) ** 2).sum(axis=1) * scale,
    )
    return np.stack(columns, axis=1)


def trust_of(evidence: Floats) -> float:
    """Probability that learned weights are better than equal ones, from judged groups left out.

    The product of two. First, that the scores can be predicted at all: mean agreement 0, against a
    mean that is half-normal with scale tau = 0.3, at odds of 1 to 4; with f the mean and s^2 its
    variance by chance, the Bayes factor is 2 sqrt(s^2 / q) exp(f^2 tau^2 / (2 s^2 q))
    Phi(f tau / (s sqrt(q))), q = s^2 + tau^2: it needs no setting for how good a judge is, and
    falls below 1 by itself when the evidence stays away. Second, that the gain over equal weights
    is positive, under a normal prior of mean 0.1 and deviation 0.2.

    Args:
        evidence: (M, 4) rows of ``compared``; M may be 0.
    """
    f, f_chance = _pooled(evidence[:, 0], evidence[:, 1])
    d, d_chance = _pooled(evidence[:, 2], evidence[:, 3])
    odds = PRIOR_ODDS
    if f_chance > 0:
        total = f_chance + TYPICAL**2
        z = f * TYPICAL / np.sqrt(f_chance * total)
        log_factor = 0.5 * np.log(f_chance / total) + 0.5 * z**2 + np.log(2 * _normal(z))
        odds *= float(np.exp(np.clip(log_factor, -50.0, 50.0)))
    gain, spread = PRIOR_GAIN, PRIOR_SPREAD**2
    if d_chance > 0:
        gain = (gain / spread + d / d_chance) / (1 / spread + 1 / d_chance)
        spread = 1 / (1 / spread + 1 / d_chance)
    return float(odds / (1 + odds) * _normal(gain / np.sqrt(spread)))


def _pooled(values: Floats, variances: Floats) -> tuple[float, float]:
    """Mean over the groups in which anything varies, and its variance; (0, 0) without any."""
    kept = variances > 1e-12
    count = int(kept.sum())
    if count == 0:
        return 0.0, 0.0
    return float(values[kept].mean()), float(variances[kept].sum()) / count**2


def _normal(x: float) -> float:
    """Phi, the distribution function of the standard normal."""
    return 0.5 * erfc(-x / sqrt(2.0))


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
