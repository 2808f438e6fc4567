"""Pairwise votes and several judges in the model of ``core.kernel``: the same weights, more voices.

A vote says that row a of a group is better than row b. Under the model of ``core.kernel`` it is
Bradley-Terry's in the weighted sums,

    P(a beats b) = 1 / (1 + exp(-(w(c) . (z_a - z_b)) / t)),

with t the scale below which votes are guesses. The logarithm of the posterior is concave in the
parameters, so Newton's method finds its one maximum, and Laplace's approximation is Gaussian there:
with p_v the probability of what was voted, d_v = (phi x (z_a - z_b)) / sqrt(K) and
h_v = p_v (1 - p_v) / t^2,

    S = (sum_v h_v d_v d_v' + X' N^-1 X + I)^-1,

where X and N are the rows that were also scored and their noise variances. At the maximum this is
ridge regression on the working responses d_v theta + (1 - p_v) / (t h_v), so leaving one group out
works as there, now as an approximation.

Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), section 3.4; Chu and
Ghahramani, Preference learning with Gaussian processes (ICML 2005), there with a probit.
"""

from __future__ import annotations

import numpy as np

from workbench.core.kernel import (
    PRIOR_RIDGE,
    KernelFit,
    context_kernel,
    inducing_groups,
    row_features,
)
from workbench.types import Floats, Ints

STEPS, TOLERANCE = 50, 1e-10


def fit_votes(
    contexts: Floats,
    z: Floats,
    votes: Ints,
    scores: Floats | None = None,
    noise: Floats | None = None,
    guess: float = 0.5,
    shared: float = 0.2,
    rank: int = 32,
) -> KernelFit:
    """Weights from votes, and from scores where there are some too.

    Args:
        contexts: (M, D) standardised contexts.
        z: (M, G, K) rewards in units, centred in each group, 0 where an objective does not apply.
        votes: (V, 3) rows (group, better row, worse row).
        scores: (M, G) trusted scores, standardised in each group, NaN where there is none.
        noise: (M,) or (M, G) variances of the scores' noise; None takes ``PRIOR_RIDGE``.
        guess: t, in the units of a score.
        shared: the part of the weights' variance that all prompts share.
        rank: how many inducing groups at most.

    Returns:
        The posterior's Gaussian approximation; ``left_out`` (M, G) are each group's weighted sums
        under weights learned from all others, and ``spread`` is S itself over ``PRIOR_RIDGE``, so
        that ``variance`` is that of the posterior. ``ridge`` is 1: noise is inside S.

    Raises:
        ValueError: a vote names a group or row that does not exist, or a row against itself.
    """
    groups, size, k = z.shape
    _check(votes, groups, size)
    kernel = context_kernel(contexts, contexts, shared)
    chosen = inducing_groups(kernel, rank)
    lower = np.linalg.cholesky(kernel[np.ix_(chosen, chosen)])
    factor = np.linalg.inv(lower)
    x = row_features(kernel[:, chosen] @ factor.T, z)  # (M, G, P)
    group, better, worse = votes.T
    pairs = (x[group, better] - x[group, worse]) / guess  # (V, P)
    scored, heard, owner = _scored(x, scores, noise)
    identity = np.eye(x.shape[2])
    theta = np.zeros(x.shape[2])
    for _ in range(STEPS):
        wrong = 1.0 / (1.0 + np.exp(np.clip(pairs @ theta, -500, 500)))  # 1 - p of what was voted
        strength = wrong * (1.0 - wrong)
        slope = pairs.T @ wrong + scored.T @ (heard - scored @ theta) - theta
        precision = (pairs * strength[:, None]).T @ pairs + scored.T @ scored + identity
        step = np.linalg.solve(precision, slope)
        theta = theta + step
        if float(np.abs(step).max()) < TOLERANCE:
            break
    spread = np.linalg.inv(precision)
    root = np.sqrt(np.maximum(strength, 1e-12))
    rows = np.concatenate([pairs * root[:, None], scored])
    rest = np.concatenate([wrong / root, heard - scored @ theta])
    owners = np.concatenate([group, owner])
    left_out = np.stack(
        [
            x[g] @ _without(theta, spread, rows[owners == g], rest[owners == g])
            for g in range(groups)
        ]
    )
    return KernelFit(
        contexts[chosen],
        factor,
        theta.reshape(-1, k),
        spread / PRIOR_RIDGE,
        left_out,
        1.0,
        shared,
    )


def _without(theta: Floats, spread: Floats, rows: Floats, rest: Floats) -> Floats:
    """Parameters without the rows of one group, in the ridge regression at the maximum."""
    inside = np.eye(len(rows)) - rows @ spread @ rows.T
    return np.asarray(theta - spread @ rows.T @ np.linalg.solve(inside, rest))


def _scored(x: Floats, scores: Floats | None, noise: Floats | None) -> tuple[Floats, Floats, Ints]:
    """Rows that were scored, over the deviation of their noise: (n, P), (n,), their groups."""
    if scores is None:
        return np.zeros((0, x.shape[2])), np.zeros(0), np.zeros(0, dtype=np.int64)
    variance = np.full(scores.shape, PRIOR_RIDGE)
    if noise is not None:
        variance = np.broadcast_to(noise if noise.ndim == 2 else noise[:, None], scores.shape)
    said = ~np.isnan(scores)
    deviation = np.sqrt(variance[said])
    where = np.nonzero(said)[0].astype(np.int64)
    return x[said] / deviation[:, None], scores[said] / deviation, where


def _check(votes: Ints, groups: int, size: int) -> None:
    if votes.ndim != 2 or votes.shape[1] != 3:
        raise ValueError(f"votes: shape {votes.shape} is not (V, 3): group, better row, worse row")
    bad = (votes < 0).any(axis=1) | (votes[:, 0] >= groups) | (votes[:, 1:] >= size).any(axis=1)
    bad = bad | (votes[:, 1] == votes[:, 2])
    if bad.any():
        first = votes[bad][0].tolist()
        raise ValueError(
            f"votes: {first} is not a group below {groups} with two different rows below {size}"
        )


def judge_noise(left_out: Floats, scores: Floats, judges: Ints) -> Floats:
    """How noisy each of several judges is, from what all the other groups say about its groups.

    The mean squared difference of a judge's standardised scores from the best multiple of the
    left-out predictions, over the same of all judges together: 1 is as noisy as the average. Handed
    to ``kernel.fit`` as factors (``noise[judges]``) it gives each judge the weight that it earns;
    two rounds are enough in practice.

    Args:
        left_out: (M, G) predictions of a fit.
        scores: (M, G) standardised scores.
        judges: (M,) which judge scored a group, from 0.

    Returns:
        (J,) factors; 1 for a judge without groups.
    """
    energy = float((left_out**2).sum())
    slope = float((left_out * scores).sum()) / energy if energy > 0 else 0.0
    squares = ((scores - max(slope, 0.0) * left_out) ** 2).mean(axis=1)
    count = int(judges.max()) + 1 if len(judges) else 0
    overall = float(squares.mean()) if len(squares) else 1.0
    found = np.ones(count)
    for judge in range(count):
        own = squares[judges == judge]
        if len(own) and overall > 0:
            found[judge] = max(float(own.mean()) / overall, 1e-3)
    return found
