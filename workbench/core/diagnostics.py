"""What can go wrong with weights and rewards, each as a pure function of logged arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.advantages import aggregate, group_z_scores, nan_mean_std
from workbench.core.scalarizer_input import is_flat
from workbench.types import Floats, Ints

COLLAPSED = 0.1
"""A prompt's emphasis entropy (over log K) below this counts as collapsed."""

DEGENERATE = ("no", "flat_all", "flat_emphasised", "flat_weighted")
"""Names of the codes of ``degenerate_groups``."""


def emphasis_entropy(policy: Floats) -> Floats:
    """H(pi) / log K of each row, (N, K) to (N,): 1 is equal, 0 is all on one objective."""
    safe = np.where(policy > 0, policy, 1.0)
    scale = np.log(policy.shape[1]) if policy.shape[1] > 1 else 1.0
    return np.asarray(-(policy * np.log(safe)).sum(axis=1) / scale)


def collapsed_share(policy: Floats, num_generations: int) -> float:
    """Share of prompts whose mean emphasis entropy is below 0.1; above 0.5 is a collapse."""
    per_prompt = emphasis_entropy(policy).reshape(-1, num_generations).mean(axis=1)
    return float((per_prompt < COLLAPSED).mean())


def self_favouring(weights: Floats, rewards: Floats) -> float:
    """How far weights sit where rewards already are high, in [-1, 1].

    For each objective the correlation over rows of w_ik with r_ik, averaged over the objectives on
    which both vary; 0 when there is none.
    """
    valid = ~np.isnan(rewards)
    seen = np.where(valid, weights, np.nan)
    w_mean, w_std = nan_mean_std(seen, axis=0)
    r_mean, r_std = nan_mean_std(rewards, axis=0)
    varies = ~is_flat(seen, w_std, axis=0) & ~is_flat(rewards, r_std, axis=0)  # (1, K)
    if not varies.any():
        return 0.0
    products = np.where(valid, (seen - w_mean) * (rewards - r_mean), 0.0).sum(axis=0)
    scale = (np.maximum(valid.sum(axis=0) - 1, 1) * w_std * r_std)[0]
    return float((products[varies[0]] / scale[varies[0]]).mean())


def anchor_agreement(advantages: Floats, scores: Floats) -> float:
    """Mean A_i V_i over one judged group, V the group-normalised trusted score; both (G,).

    About 1 when the advantage orders the group as the score does, 0 when it does not know.
    """
    mean, std = nan_mean_std(scores, axis=None)
    standard = np.nan_to_num((scores - mean) / (std + 1e-4), nan=0.0)
    return float((advantages * standard).mean())


def degenerate_groups(
    rewards: Floats,
    weights: Floats,
    num_generations: int,
    aggregation: str = "sum_then_normalize",
) -> Ints:
    """Tell apart the groups that teach nothing, (N, K) rewards as weighted to (B,) codes.

    1 ``flat_all``: flat on every objective, whatever the weights; with weights that differ inside
    the group its advantages are then pure weighting noise. 2 ``flat_emphasised``: some objective
    varies, but all weight sits on flat ones. 3 ``flat_weighted``: objectives that carry weight
    vary, and cancel in the weighted sum. 0: the group has something to teach.
    """
    k = rewards.shape[1]
    grouped = rewards.reshape(-1, num_generations, k)  # (B, G, K)
    flat = is_flat(grouped, nan_mean_std(grouped, axis=1)[1], axis=1)[:, 0, :]  # (B, K)
    heaviest = np.abs(weights).reshape(-1, num_generations, k).max(axis=1)  # (B, K)
    decoupled = aggregation == "normalize_then_sum"
    parts = group_z_scores(rewards, num_generations) if decoupled else rewards
    scalars = np.nansum(parts * weights, axis=1).reshape(-1, num_generations)
    # flatness of the sum is judged against the size of its parts, which may cancel
    size = np.nansum(np.abs(parts * weights), axis=1).reshape(-1, num_generations)
    weighted_flat = is_flat(size, nan_mean_std(scalars, axis=1)[1], axis=1)[:, 0]
    codes = np.where(weighted_flat, 3, 0)
    codes = np.where(weighted_flat & (flat | (heaviest <= 1e-9)).all(axis=1), 2, codes)
    return np.asarray(np.where(flat.all(axis=1), 1, codes), dtype=np.int64)


def audit(
    rewards: Floats,
    weights: Floats,
    advantages: Floats,
    num_generations: int,
    aggregation: str = "sum_then_normalize",
    scale_rewards: str = "group",
    penalty: Floats | None = None,
    mask: Floats | None = None,
    trusted: Floats | None = None,
    trusted_share: Floats | None = None,
) -> float:
    """Largest absolute difference of the advantages used from those recomputed from the log.

    Computed in float64 from the same numbers they agree to 1e-9; more means that what trained the
    policy is not what was logged. Arguments as in ``advantages.aggregate``.
    """
    recomputed = aggregate(
        rewards,
        weights,
        num_generations,
        aggregation,
        scale_rewards,
        penalty,
        mask,
        trusted,
        trusted_share,
    )[1]
    return float(np.abs(np.asarray(recomputed) - advantages).max())


def trend(values: Any) -> float:
    """Whether a series rises: Welch's t of its last third against its first, NaN left out.

    0 with fewer than 4 values in a third: too little to say anything.
    """
    series = np.asarray(values, dtype=np.float64)
    series = series[~np.isnan(series)]
    third = len(series) // 3
    if third < 4:
        return 0.0
    first, last = series[:third], series[-third:]
    spread = np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / third)
    return float((last.mean() - first.mean()) / (spread + 1e-12))


def reward_hacking(objective_means: Floats, trusted: Floats, threshold: float = 3.0) -> Ints:
    """Objectives that rise while the judge or the anchor falls: likely reward hacking.

    Args:
        objective_means: (T, K) mean reward of each objective over time.
        trusted: (T,) judge or anchor over the same time, NaN where nobody asked.
        threshold: in units of ``trend``.

    Returns:
        Indices of the rising objectives; empty when the trusted score does not fall.
    """
    if trend(trusted) > -threshold:
        return np.zeros(0, dtype=np.int64)
    rising = [
        k for k in range(objective_means.shape[1]) if trend(objective_means[:, k]) > threshold
    ]
    return np.array(rising, dtype=np.int64)


def by_kind(values: Any, kinds: Sequence[str]) -> dict[str, float]:
    """Mean of (N,) values over the rows of each kind; NaN entries left out."""
    array = np.asarray(values, dtype=np.float64)
    names: NDArray[Any] = np.asarray(kinds, dtype=object)
    return {
        str(kind): float(nan_mean_std(array[names == kind], axis=None)[0].reshape(()))
        for kind in sorted(set(kinds))
    }


def suggest_token_limit(num_tokens: Ints, truncated: NDArray[np.bool_], limit: int) -> int:
    """A completion limit that fits what the policy wants to say.

    A tenth above the 99th percentile of the lengths when at most one row in twenty hits the limit;
    otherwise their true lengths are unknown, and twice the limit is the next thing to try.
    """
    if np.mean(truncated) > 0.05:
        return 2 * limit
    return int(np.ceil(1.1 * np.quantile(num_tokens, 0.99)))
