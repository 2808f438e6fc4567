"""Advantages of rows in any order: groups and batches by id, of any size, a million at once.

The same mathematics as ``core.advantages``, which needs rows ordered in groups of one size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.core.advantages import EPSILON
from workbench.types import Floats, Ints


def segment_mean_std(values: Floats, index: Ints, count: int) -> tuple[Floats, Floats]:
    """Mean and sample deviation of each segment, without NaN: (N,) values to (count,) twice.

    The mean is NaN where nothing is left, the deviation where fewer than two entries are.
    """
    valid = ~np.isnan(values)
    whole = bool(valid.all())
    kept, where = (values, index) if whole else (values[valid], index[valid])
    n = np.bincount(where, minlength=count)
    mean = np.bincount(where, weights=kept, minlength=count) / np.where(n > 0, n, np.nan)
    squares = np.bincount(where, weights=(kept - mean[where]) ** 2, minlength=count)
    return mean, np.sqrt(squares / np.where(n > 1, n - 1, np.nan))


def segment_z_scores(rewards: Floats, groups: Ints) -> Floats:
    """z_ik = (r_ik - mean_g r_k) / (std_g r_k + 1e-4), (N, K) to (N, K), groups (N,) from 0."""
    count = int(groups.max()) + 1
    alone = np.bincount(groups, minlength=count) == 1
    z = np.empty_like(rewards)
    for k in range(rewards.shape[1]):
        mean, std = segment_mean_std(rewards[:, k], groups, count)
        z[:, k] = (rewards[:, k] - mean[groups]) / (np.where(alone, 0.0, std) + EPSILON)[groups]
    return z


def aggregate_segments(
    rewards: Floats,
    weights: Floats,
    groups: Ints,
    batches: Ints,
    aggregation: str = "sum_then_normalize",
    scale_rewards: str = "group",
    penalty: Floats | None = None,
    mask: Floats | None = None,
    trusted: Floats | None = None,
    trusted_share: Floats | None = None,
) -> tuple[Floats, Floats]:
    """``advantages.aggregate`` for rows in any order.

    Args:
        rewards: (N, K) as weighted, NaN where an objective does not apply.
        weights: (N, K).
        groups: (N,) index of each row's group, from 0.
        batches: (N,) index of the policy step that each row belongs to, from 0.
        aggregation: ``sum_then_normalize`` or ``normalize_then_sum``.
        scale_rewards: ``group``, ``batch`` or ``none``.
        penalty: (N,) subtracted from the scalar.
        mask: (N,) factors on the rows' signal.
        trusted: (N,) scores that train rows themselves, NaN where there is none.
        trusted_share: (N,) how far they do; NaN means 0.

    Returns:
        Scalars and advantages, each (N,).
    """
    decoupled = aggregation == "normalize_then_sum"
    taken = np.zeros(len(rewards)) if penalty is None else penalty
    unscorable = np.asarray(np.isnan(rewards).all(axis=1))
    scalars = _weighted(rewards, weights, unscorable) - taken
    factors = np.ones(len(scalars)) if mask is None else mask
    signal, index = scalars, groups
    if decoupled:
        z = _weighted(segment_z_scores(rewards, groups), weights, unscorable) - taken
        signal = np.where(factors > 0, z * factors, np.nan)
        index = batches
    count = int(index.max()) + 1
    mean, std = segment_mean_std(signal, index, count)
    advantages = signal - mean[index]
    if scale_rewards == "batch" and not decoupled:
        index = batches
        count = int(index.max()) + 1
        std = segment_mean_std(signal, index, count)[1]
    if scale_rewards != "none" or decoupled:
        alone = np.bincount(index, minlength=count) == 1
        advantages = advantages / (np.where(alone, 0.0, std) + EPSILON)[index]
    if not decoupled:
        advantages = advantages * factors
    advantages = np.nan_to_num(advantages, nan=0.0)
    if trusted is not None and trusted_share is not None:
        share = np.nan_to_num(trusted_share, nan=0.0)
        scores = np.nan_to_num(segment_z_scores(trusted[:, None], groups)[:, 0], nan=0.0)
        advantages = (1.0 - share) * advantages + share * scores
    return scalars, advantages


def _weighted(parts: Floats, weights: Floats, unscorable: NDArray[np.bool_]) -> Floats:
    """(N,) weighted sums, NaN where no objective applies."""
    sums: Floats = np.where(np.isnan(parts), 0.0, parts * weights).sum(axis=1)
    return np.where(unscorable, np.nan, sums)
