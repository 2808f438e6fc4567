"""From rewards and weights to advantages, as GRPO and as GDPO do it.

Both equal TRL's own numbers for constant weights: sample deviations (ddof = 1), epsilon 1e-4, NaN
left out of every sum and statistic without renormalising the weights. A row whose rewards are all
NaN has no scalar, takes no part in the statistics and gets advantage 0. Everything is computed in
float64, because on a nearly flat group the division by its deviation magnifies rounding.

GRPO: DeepSeekMath, arXiv 2402.03300. GDPO: arXiv 2601.05242 (row statistics, as in TRL; the
authors' verl version whitens over tokens instead).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.arrays import as_floats, check_groups, check_matrix, to_like
from workbench.types import Floats

Bools = NDArray[np.bool_]
EPSILON = 1e-4
"""Added to every deviation before dividing, as TRL does."""

AGGREGATIONS = ("sum_then_normalize", "normalize_then_sum")
SCALE_REWARDS = ("group", "batch", "none")


def nan_mean_std(values: Floats, axis: int | None) -> tuple[Floats, Floats]:
    """Mean and sample deviation along an axis without the NaN entries, dimensions kept.

    The mean is NaN where nothing is left, the deviation where fewer than two entries are.
    """
    valid = ~np.isnan(values)
    count = valid.sum(axis=axis, keepdims=True)
    filled = np.where(valid, values, 0.0)
    mean = filled.sum(axis=axis, keepdims=True) / np.where(count > 0, count, np.nan)
    squares = np.where(valid, (filled - mean) ** 2, 0.0).sum(axis=axis, keepdims=True)
    return mean, np.sqrt(squares / np.where(count > 1, count - 1, np.nan))


def group_z_scores(rewards: Floats, num_generations: int) -> Floats:
    """z_ik = (r_ik - mean_g r_k) / (std_g r_k + 1e-4), (N, K) to (N, K); NaN stays NaN."""
    grouped = rewards.reshape(-1, num_generations, rewards.shape[1])  # (B, G, K)
    mean, std = nan_mean_std(grouped, axis=1)
    if num_generations == 1:
        std = np.zeros_like(mean)
    return np.asarray(((grouped - mean) / (std + EPSILON)).reshape(rewards.shape))


def _weighted_sum(rewards: Floats, weights: Floats, unscorable: Bools) -> Floats:
    scalars = np.where(np.isnan(rewards), 0.0, rewards * weights).sum(axis=1)
    scalars[unscorable] = np.nan
    return np.asarray(scalars)


def _normalize(scalars: Floats, num_generations: int, scale_rewards: str) -> Floats:
    grouped = scalars.reshape(-1, num_generations)  # (B, G)
    mean, std = nan_mean_std(grouped, axis=1)
    advantages = grouped - mean
    if scale_rewards == "group":
        advantages = advantages / ((std if num_generations > 1 else 0.0) + EPSILON)
    elif scale_rewards == "batch":
        whole = nan_mean_std(scalars, axis=None)[1] if scalars.size > 1 else 0.0
        advantages = advantages / (whole + EPSILON)
    return np.asarray(advantages.reshape(-1))


def _whiten(scalars: Floats, kept: Bools) -> Floats:
    """Standardise over the kept rows of the batch; the others become NaN."""
    scalars = np.where(kept, scalars, np.nan)
    mean, std = nan_mean_std(scalars, axis=None)
    return np.asarray((scalars - mean) / ((std if scalars.size > 1 else 0.0) + EPSILON))


def aggregate(
    rewards: Any,
    weights: Any,
    num_generations: int,
    aggregation: str = "sum_then_normalize",
    scale_rewards: str = "group",
    penalty: Any = None,
    mask: Any = None,
    trusted: Any = None,
    trusted_share: Any = None,
) -> tuple[Any, Any]:
    """Scalars and advantages of N completions under their own weights.

    ``sum_then_normalize`` (GRPO): R_i = sum_k w_ik r_ik; A_i = (R_i - mean_g R) / (std_g R + eps),
    where ``scale_rewards`` picks the deviation of the group, of the batch, or none.
    ``normalize_then_sum`` (GDPO): Z_i = sum_k w_ik z_ik with z the group's z-scores;
    A_i = (Z_i - mean Z) / (std Z + eps) over the batch. ``scale_rewards`` plays no part there. R_i
    is the weighted sum of the rewards there too: the mean of Z is 0 whatever the policy does.

    Args:
        rewards: (N, K), rows ordered group by group, NaN where an objective does not apply.
        weights: (N, K), or (K,) for weights that all rows share.
        num_generations: G, rows per group.
        aggregation: ``sum_then_normalize`` or ``normalize_then_sum``.
        scale_rewards: ``group``, ``batch`` or ``none``.
        penalty: (N,) subtracted from R_i (and Z_i) before statistics: beta * KL when KL enters the
            reward.
        mask: (N,) factors in [0, 1] on the rows' signal; 0 takes a row out. Under
            ``normalize_then_sum`` they multiply Z and the batch statistics run over the rows that
            are left (the order of GD2PO's code); under ``sum_then_normalize`` they multiply A.
        trusted: (N,) scores U that train rows themselves, NaN where there is none.
        trusted_share: (N,) s in [0, 1], None or NaN means 0: the advantage is
            (1 - s) A_i + s V_i, V the group-normalised U, 0 where U is NaN.

    Returns:
        Scalars R (N,), NaN where every reward of a row is NaN, and advantages A (N,), there 0.

    Raises:
        ValueError: On a shape that does not fit, an infinite number or an unknown name.
    """
    r = as_floats(rewards, "rewards")
    check_matrix(r)
    check_groups(len(r), num_generations)
    w = as_floats(weights, "weights")
    if w.shape not in (r.shape, r.shape[1:]):
        raise ValueError(
            f"weights: shape {w.shape} is neither (N, K) = {r.shape} nor (K,) = {r.shape[1:]}"
        )
    if np.isnan(w).any():
        raise ValueError("weights: contain NaN; every weight must be a finite number")
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"aggregation: {aggregation!r} unknown; allowed are {AGGREGATIONS}")
    if scale_rewards not in SCALE_REWARDS:
        raise ValueError(f"scale_rewards: {scale_rewards!r} unknown; allowed are {SCALE_REWARDS}")
    unscorable: Bools = np.asarray(np.isnan(r).all(axis=1))
    decoupled = aggregation == "normalize_then_sum"
    taken = np.zeros(len(r)) if penalty is None else _rows(penalty, len(r), "penalty")
    scalars = _weighted_sum(r, w, unscorable) - taken
    factors = np.ones(len(r)) if mask is None else _rows(mask, len(r), "mask")
    if decoupled:
        z = _weighted_sum(group_z_scores(r, num_generations), w, unscorable) - taken
        advantages = _whiten(z * factors, factors > 0)
    else:
        advantages = _normalize(scalars, num_generations, scale_rewards) * factors
    if trusted is not None and trusted_share is not None:
        share = np.nan_to_num(_rows(trusted_share, len(r), "trusted_share"), nan=0.0)
        scores = _normalize(_rows(trusted, len(r), "trusted"), num_generations, "group")
        weighted = np.nan_to_num(advantages, nan=0.0)
        advantages = (1.0 - share) * weighted + share * np.nan_to_num(scores, nan=0.0)
    return to_like(scalars, rewards), to_like(np.nan_to_num(advantages, nan=0.0), rewards)


def _rows(values: Any, rows: int, name: str) -> Floats:
    array = as_floats(values, name)
    if array.shape != (rows,):
        raise ValueError(f"{name}: shape {array.shape} is not (N,) = ({rows},)")
    return array


def grpo_advantages(
    rewards: Any, weights: Any, num_generations: int, scale_rewards: str = "group"
) -> Any:
    """GRPO's group-relative advantages of the weighted sum (arXiv 2402.03300).

    Args:
        rewards: (N, K), rows ordered group by group, NaN where an objective does not apply.
        weights: (N, K) or (K,).
        num_generations: G, rows per group.
        scale_rewards: deviation that divides: ``group``, ``batch`` or ``none``.

    Returns:
        Advantages (N,): float64, or a tensor when ``rewards`` is one.

    Raises:
        ValueError: On a shape that does not fit or an unknown name.
    """
    return aggregate(rewards, weights, num_generations, "sum_then_normalize", scale_rewards)[1]


def gdpo_advantages(rewards: Any, weights: Any, num_generations: int) -> Any:
    """GDPO's decoupled advantages: z-scores per objective, weighted, whitened (arXiv 2601.05242).

    Args:
        rewards: (N, K), rows ordered group by group, NaN where an objective does not apply.
        weights: (N, K) or (K,).
        num_generations: G, rows per group.

    Returns:
        Advantages (N,): float64, or a tensor when ``rewards`` is one.

    Raises:
        ValueError: On a shape that does not fit.
    """
    return aggregate(rewards, weights, num_generations, "normalize_then_sum")[1]
