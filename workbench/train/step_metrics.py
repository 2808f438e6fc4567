"""Numbers of one step: what the log, the trackers and the pages plot."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from workbench.core.advantages import EPSILON
from workbench.types import Floats, RolloutBatch


def simplex_entropy(weights: Floats) -> float:
    """Mean over rows of H(|w|) / log K, (N, K); 1 is equal weights, 0 all weight on one."""
    if weights.shape[1] == 1:
        return 0.0
    size = np.abs(weights)  # a kernel head's weights are signed; their absolute values sum to 1
    safe = np.where(size > 0, size, 1.0)
    return float(-(size * np.log(safe)).sum(axis=1).mean() / math.log(weights.shape[1]))


def weight_metrics(
    weights: Floats, policy: Floats | None, names: Sequence[str]
) -> dict[str, float]:
    """Mean weight and probability per objective, and how spread the weights are."""
    means = weights.mean(axis=0)
    metrics = {f"weight/{name}": float(mean) for name, mean in zip(names, means, strict=True)}
    metrics["weights_entropy"] = simplex_entropy(weights)
    if policy is not None:
        for name, mean in zip(names, policy.mean(axis=0), strict=True):
            metrics[f"policy/{name}"] = float(mean)
    return metrics


def scalar_metrics(
    scalars: Floats, advantages: Floats, num_generations: int, how: str
) -> dict[str, float]:
    """TRL's ``reward``, ``reward_std`` and ``frac_reward_zero_std``, of what trained the policy.

    Args:
        scalars: (N,) weighted sums, NaN for rows without any reward.
        advantages: (N,) what became of them.
        num_generations: G.
        how: What makes a row flat: no deviation in its ``group``, none in the ``batch``, or, where
            z-scores are summed, no ``advantage`` anywhere.
    """
    known = scalars[~np.isnan(scalars)]
    spread = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    if how == "advantage":
        flat = float(not advantages.any())
    elif how == "batch":
        flat = float(spread < EPSILON**2)
    else:
        grouped = scalars.reshape(-1, num_generations)
        spreads = [row[~np.isnan(row)] for row in grouped]
        flat = float(np.mean([len(r) < 2 or r.std(ddof=1) < EPSILON**2 for r in spreads]))
    mean = float(known.mean()) if len(known) else math.nan
    return {"reward": mean, "reward_std": spread, "frac_reward_zero_std": flat}


def probe_metrics(batch: RolloutBatch) -> dict[str, float]:
    """Means of a probe or an evaluation: rewards, weights, judge, length, truncation."""
    metrics = {**batch.logged, **weight_metrics(batch.weights, batch.policy, batch.objectives)}
    for k, name in enumerate(batch.objectives):
        values = batch.rewards[:, k]
        if not np.isnan(values).all():
            metrics[f"rewards/{name}/mean"] = float(np.nanmean(values))
    metrics["completions/mean_length"] = float(np.mean(batch.num_tokens))
    metrics["completions/clipped_ratio"] = float(np.mean(batch.truncated))
    if batch.judge is not None and not np.isnan(batch.judge).all():
        metrics["judge"] = float(np.nanmean(batch.judge))
        for kind in sorted(set(batch.kinds)):
            of_kind = batch.judge[[k == kind for k in batch.kinds]]
            metrics[f"judge/{kind}"] = float(np.nanmean(of_kind))
    return metrics
