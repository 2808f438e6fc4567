"""Estimators for few seeds on several families: interquartile mean, intervals, comparisons.

The estimators of "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (Agarwal
et al., NeurIPS 2021) and of its library rliable, in numpy alone: rliable itself brings matplotlib,
seaborn, statsmodels and scipy. Scores are (S, F): S seeds by F families.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from workbench.types import Floats

T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Student's t: quantile at 0.975 for 1, 2, ..., 30 degrees of freedom."""


class Estimate(NamedTuple):
    """A point estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def _checked(scores: Floats, name: str = "scores") -> Floats:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name}: shape {array.shape} is not (seeds, families) with both >= 1")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: contain a number that is not finite")
    return array


def interquartile_mean(scores: Floats) -> Floats:
    """Mean of the middle half of all S * F scores; (..., S, F) to (...).

    A quarter of the scores, rounded down, is cut from each end (scipy's ``trim_mean(0.25)``, which
    rliable uses).
    """
    array = np.asarray(scores, dtype=np.float64)
    flat = np.sort(array.reshape(*array.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(axis=-1))


def mean(scores: Floats) -> Floats:
    """Mean over seeds and families; (..., S, F) to (...)."""
    return np.asarray(np.mean(scores, axis=(-2, -1)))


def stratified_resamples(scores: Floats, reps: int, rng: np.random.Generator) -> Floats:
    """(reps, S, F): within each family, S seeds drawn with replacement, family by family."""
    seeds, families = scores.shape
    drawn = rng.integers(seeds, size=(reps, seeds, families))
    return np.asarray(scores[drawn, np.arange(families)])


def interval(
    scores: Floats,
    statistic: Callable[[Floats], Floats] = interquartile_mean,
    reps: int = 5000,
    seed: int = 0,
) -> Estimate:
    """A statistic and its 95 % percentile interval under the stratified bootstrap.

    Args:
        scores: (S, F).
        statistic: maps (..., S, F) to (...).
        reps: bootstrap replications.
        seed: of the bootstrap.

    Raises:
        ValueError: When the scores are no finite (S, F) matrix.
    """
    array = _checked(scores)
    values = statistic(stratified_resamples(array, reps, np.random.default_rng(seed)))
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(float(statistic(array)), float(low), float(high))


def probability_of_improvement(ours: Floats, theirs: Floats) -> Floats:
    """P(X > Y) + P(X = Y) / 2, averaged over families; (..., S, F), (..., S', F) to (...).

    The Mann-Whitney statistic of each family over S * S' pairs of seeds.
    """
    x, y = np.asarray(ours)[..., :, None, :], np.asarray(theirs)[..., None, :, :]
    wins = (x > y) + 0.5 * (x == y)  # (..., S, S', F)
    return np.asarray(wins.mean(axis=(-3, -2, -1)))


def improvement(ours: Floats, theirs: Floats, reps: int = 2000, seed: int = 0) -> Estimate:
    """Probability of improvement with its interval; both methods resampled independently.

    Raises:
        ValueError: When a matrix is not (seeds, families) or the families differ in number.
    """
    x, y = _checked(ours, "ours"), _checked(theirs, "theirs")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"theirs: {y.shape[1]} families against {x.shape[1]} of ours")
    rng = np.random.default_rng(seed)
    values = probability_of_improvement(
        stratified_resamples(x, reps, rng), stratified_resamples(y, reps, rng)
    )
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(float(probability_of_improvement(x, y)), float(low), float(high))


def paired_difference(ours: Floats, theirs: Floats) -> Estimate:
    """Mean difference over seeds with Student's 95 % interval; row s of both has the same seed.

    Families of one seed share a policy, so they are averaged first and a seed is one observation;
    with a handful of seeds a percentile bootstrap of their differences would be too narrow.

    Raises:
        ValueError: When the shapes differ or there are fewer than two seeds.
    """
    x, y = _checked(ours, "ours"), _checked(theirs, "theirs")
    if x.shape != y.shape:
        raise ValueError(f"theirs: shape {y.shape} is not that of ours, {x.shape}")
    seeds = len(x)
    if seeds < 2:
        raise ValueError("ours: a paired interval needs at least two seeds, got 1")
    differences = (x - y).mean(axis=1)  # (S,)
    centre = float(differences.mean())
    quantile = T_975[min(seeds - 1, len(T_975)) - 1]
    half = quantile * float(differences.std(ddof=1)) / np.sqrt(seeds)
    return Estimate(centre, centre - half, centre + half)
