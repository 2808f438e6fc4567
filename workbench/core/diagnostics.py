"""What can go wrong with weights and rewards, each as a pure function of logged arrays.

The one place that says what flat, degenerate and collapsed mean; ``findings`` has the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.advantages import aggregate, nan_mean_std
from workbench.core.ragged import segment_mean_std, segment_z_scores
from workbench.core.scalarizer_input import is_flat, within_rounding
from workbench.types import Floats, Ints, RolloutBatch

COLLAPSED = 0.1
"""A prompt whose emphasis entropy (over log K) is below this counts as collapsed."""

DEGENERATE = ("no", "flat_all", "flat_emphasised", "flat_weighted")
"""Names of the codes of ``degenerate_groups``."""


def emphasis_entropy(policy: Floats) -> Floats:
    """H(pi) / log K of each row, (N, K) to (N,): 1 is equal, 0 is all on one objective.

    Of signed weights the sizes count, each as its share of their sum. An objective that is NaN
    does not apply to the row: K is how many do. NaN where a row has no weight at all.
    """
    size = np.abs(np.nan_to_num(policy))
    total = size.sum(axis=1, keepdims=True)
    share = size / np.where(total > 0, total, np.nan)
    count = (~np.isnan(policy)).sum(axis=1)
    scale = np.where(count > 1, np.log(np.maximum(count, 2)), 1.0)
    return np.asarray(-(share * np.log(np.where(share == 0, 1.0, share))).sum(axis=1) / scale)


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


def degenerate_groups(
    rewards: Floats,
    weights: Floats,
    groups: Ints,
    aggregation: str = "sum_then_normalize",
) -> Ints:
    """Tell apart the groups that teach nothing: what "flat" means wherever it is said.

    1 ``flat_all``: flat on every objective, whatever the weights; with weights that differ inside
    the group its advantages are then pure weighting noise. 2 ``flat_emphasised``: some objective
    varies, but all weight sits on flat ones. 3 ``flat_weighted``: objectives that carry weight
    vary, and cancel in the weighted sum. 0: the group has something to teach.

    Args:
        rewards: (N, K) as weighted, NaN where an objective does not apply.
        weights: (N, K), signed where the method's are.
        groups: (N,) index of each row's group, from 0; groups may differ in size.
        aggregation: the run's.

    Returns:
        (B,) codes, positions in ``DEGENERATE``.
    """
    count = int(groups.max()) + 1
    parts = segment_z_scores(rewards, groups) if aggregation == "normalize_then_sum" else rewards
    weighted = np.nan_to_num(parts * weights)
    flat = np.stack([flat_groups(column, groups) for column in rewards.T], axis=1)
    heaviest = _largest(np.abs(np.nan_to_num(weights)), groups, count)
    # flatness of the sum is judged against the size of its parts, which may cancel
    sum_flat = flat_groups(weighted.sum(axis=1), groups, np.abs(weighted).sum(axis=1))
    codes = np.where(sum_flat, 3, 0)
    codes = np.where(sum_flat & (flat | (heaviest <= 1e-9)).all(axis=1), 2, codes)
    return np.asarray(np.where(flat.all(axis=1), 1, codes), dtype=np.int64)


def _largest(values: Floats, groups: Ints, count: int) -> Floats:
    """Largest value of each group, (N, ...) to (B, ...); 0 where none is above."""
    found = np.zeros((count, *values.shape[1:]))
    np.maximum.at(found, groups, values)
    return found


def flat_groups(values: Floats, groups: Ints, size: Floats | None = None) -> NDArray[np.bool_]:
    """(B,) whether the deviation of a group's (N,) values is rounding beside their ``size``.

    ``groups`` (N,) are indices from 0; without ``size`` the values' own magnitude counts. A group
    of one is flat.
    """
    count = int(groups.max()) + 1
    std = segment_mean_std(values, groups, count)[1]
    beside = np.abs(np.nan_to_num(values if size is None else size))
    return within_rounding(std, _largest(beside, groups, count))


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
        trusted: (T,) judge or anchor over the same time, NaN where neither was asked.
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


def step_metrics(
    batch: RolloutBatch,
    aggregation: str = "sum_then_normalize",
    scale_rewards: str = "group",
    penalty: Floats | None = None,
) -> dict[str, float]:
    """Diagnostics of one step, to be logged as metrics.

    Args:
        batch: the rollouts as logged.
        aggregation: the run's.
        scale_rewards: the run's.
        penalty: (N,) what KL took from the scalar reward, where it did.

    Returns:
        ``emphasis_entropy`` and ``collapsed_prompts`` (where there is a policy),
        ``self_favouring``, ``degenerate`` and its three kinds ``degenerate/...`` as shares of the
        groups, ``audit_error``, ``length``, ``truncated``, ``kl``, each also per kind as
        ``length/KIND`` and so on, ``objective/NAME`` (mean raw reward), ``judge`` (where asked).
    """
    weighted = batch.rewards if batch.scaled is None else batch.scaled
    g = batch.num_generations
    codes = degenerate_groups(weighted, batch.weights, np.arange(len(weighted)) // g, aggregation)
    values = {
        "self_favouring": self_favouring(batch.weights, weighted),
        "degenerate": float((codes > 0).mean()),
        **{f"degenerate/{DEGENERATE[c]}": float((codes == c).mean()) for c in (1, 2, 3)},
        "audit_error": audit(
            weighted,
            batch.weights,
            batch.advantages,
            g,
            aggregation,
            scale_rewards,
            penalty,
            batch.mask,
            batch.judge,
            batch.judge_share,
        ),
    }
    per_row: dict[str, Floats] = {
        "length": batch.num_tokens.astype(np.float64),
        "truncated": batch.truncated.astype(np.float64),
    }
    if batch.kl is not None:
        per_row["kl"] = batch.kl
    if batch.policy is not None:
        per_row["emphasis_entropy"] = emphasis_entropy(batch.policy)
        values["collapsed_prompts"] = collapsed_share(batch.policy, g)
    for name, rows in per_row.items():
        values[name] = float(nan_mean_std(rows, axis=None)[0].reshape(()))
        values |= {f"{name}/{kind}": mean for kind, mean in by_kind(rows, batch.kinds).items()}
    means = nan_mean_std(batch.rewards, axis=0)[0][0]
    values |= {f"objective/{n}": float(m) for n, m in zip(batch.objectives, means, strict=True)}
    if batch.judge is not None and not np.isnan(batch.judge).all():
        values["judge"] = float(np.nanmean(batch.judge))
    return values
