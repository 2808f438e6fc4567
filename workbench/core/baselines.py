"""Weightings of the neighbouring papers, each a page of pure code behind the same protocol.

Where a paper's code leaves weights unnormalised, ours divides by their sum: advantages change only
through epsilon, and every weight stays readable as a share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from workbench.core.advantages import group_z_scores, nan_mean_std
from workbench.core.scalarizer_input import (
    ScalarizerInput,
    Stateless,
    Weighting,
    is_flat,
    to_simplex,
)
from workbench.types import Floats


class DVAO(Stateless):
    """Weights proportional to each objective's deviation in the group (arXiv 2605.25604).

    w_gk = p_k sigma_gk / sum_j p_j sigma_gj. Under ``normalize_then_sum``, the paper's setting,
    sum_k w_gk z_ik = sum_k p_k (r_ik - mean_g r_k) / sum_j p_j sigma_gj: GRPO's numerator over
    another denominator. A group that is flat on every objective keeps the base weights p.
    """

    def __init__(self, base: Floats) -> None:
        self.base = base

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """One weight vector per group."""
        grouped = scene.rewards.reshape(scene.groups, scene.num_generations, -1)  # (B, G, K)
        std = nan_mean_std(grouped, axis=1)[1]
        std = np.where(is_flat(grouped, std, axis=1), 0.0, std)[:, 0, :]  # (B, K)
        weights = to_simplex(std * self.base, self.base)
        return Weighting(np.repeat(weights, scene.num_generations, axis=0))


class GD2PO(Stateless):
    """Takes out rollouts whose objectives disagree (arXiv 2606.16771, SNR variant of the code).

    With z the group's z-scores, s_i = sum_k p_k z_ik / (sum_k p_k |z_ik| + 1e-6). A rollout
    whose z-scores carry both signs and whose |s_i| is below the threshold is masked; a threshold of
    1 masks every conflict (the paper's hard filter). The rest of the group is scaled by the share
    of it that was kept (query-level reweighting). Meant for ``normalize_then_sum``.
    """

    def __init__(self, base: Floats, threshold: float) -> None:
        self.base = base
        self.threshold = threshold

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """The base weights, and the mask of conflicts."""
        z = np.nan_to_num(group_z_scores(scene.rewards, scene.num_generations), nan=0.0)
        z = np.where(np.abs(z) > 1e-8, z, 0.0) * self.base
        conflict = (z > 0).any(axis=1) & (z < 0).any(axis=1)
        agreement = np.abs(z.sum(axis=1)) / (np.abs(z).sum(axis=1) + 1e-6)
        keep = ~(conflict & (agreement < self.threshold))
        share = keep.reshape(scene.groups, -1).mean(axis=1)  # (B,)
        mask = keep * np.repeat(share, scene.num_generations)
        return Weighting(np.tile(self.base, (len(z), 1)), mask=mask)


class CTWA(Stateless):
    """Covariance-targeted weight adaptation (arXiv 2602.06869).

    c_k is the mean over groups of the covariance of r_k (signed, unscaled) with the advantage,
    smoothed; log w_k grows by ``rate`` * max(0, target - c_k) per policy step: what lags behind its
    target gains weight, unless its mean stands at its gate already (as a share of its declared
    range; the authors' rewards are in [0, 1]). Defaults are those of the authors' configuration,
    whose first objective is correctness: targets 0.1, 0.05, 0.05, gates 1, 0.95, 0.95, rate 0.02,
    smoothing 0.9. The code weights the covariance by the clipped ratio, which is 1 at the
    first pass over fresh rollouts.
    """

    def __init__(self, targets: Floats, gates: Floats, rate: float, smoothing: float) -> None:
        """``targets`` and ``gates`` are (K,)."""
        self.targets = targets
        self.gates = gates
        self.rate = rate
        self.smoothing = smoothing
        self.log_weights: Floats = np.zeros(len(targets))
        self.covariance: Floats = np.full(len(targets), np.nan)

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """The current weights, N times."""
        weights = to_simplex(np.exp(self.log_weights - self.log_weights.max()))
        return Weighting(np.tile(weights, (len(scene.rewards), 1)))

    def learn(
        self,
        scene: ScalarizerInput,
        choice: Weighting,
        advantages: Floats,
        anchors: Mapping[int, Floats],
    ) -> dict[str, float] | None:
        """Update the smoothed covariances and the weights."""
        grouped = scene.raw.reshape(scene.groups, scene.num_generations, -1)  # (B, G, K)
        a = advantages.reshape(scene.groups, scene.num_generations, 1)
        centred = (grouped - nan_mean_std(grouped, axis=1)[0]) * (a - a.mean(axis=1, keepdims=True))
        now = nan_mean_std(nan_mean_std(centred, axis=1)[0], axis=0)[0].reshape(-1)  # (K,)
        before = np.where(np.isnan(self.covariance), now, self.covariance)
        now = np.where(np.isnan(now), before, now)
        self.covariance = self.smoothing * before + (1 - self.smoothing) * now
        lacking = np.nan_to_num(self.targets - self.covariance, nan=0.0)
        level = _level(np.asarray(nan_mean_std(scene.raw, axis=0)[0][0]), scene, otherwise=0.0)
        deficit = np.where(level < self.gates, np.maximum(0.0, lacking), 0.0)
        self.log_weights = self.log_weights + self.rate * deficit
        return {"deficit": float(deficit.mean())}

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Log-weights and smoothed covariances."""
        return {"log_weights": self.log_weights, "covariance": self.covariance}

    def load(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Restore what ``state`` returned."""
        self.log_weights = np.array(state["log_weights"], dtype=np.float64)
        self.covariance = np.array(state["covariance"], dtype=np.float64)


class SAMRPO(Stateless):
    """Saturation-aware weights on GDPO: w_k proportional to p_k (1 - saturation_k)^gamma.

    Saturation is where the batch mean stands between the declared bounds, clipped to [0, 1]. An
    objective without two finite bounds never saturates. All saturated: the base weights p.
    """

    def __init__(self, base: Floats, gamma: float) -> None:
        self.base = base
        self.gamma = gamma

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """The batch's weights, N times."""
        level = _level(np.asarray(nan_mean_std(scene.raw, axis=0)[0][0]), scene, otherwise=0.0)
        weights = to_simplex(self.base * (1 - level) ** self.gamma, self.base)
        return Weighting(np.tile(weights, (len(scene.raw), 1)))


class Hypervolume(Stateless):
    """Weights that climb the hypervolume of the mean rewards (after arXiv 2509.11452).

    m_k is the smoothed batch mean, mapped to [0, 1] by the declared bounds; the hypervolume of
    that one point over the lower bounds is prod_k m_k, and the gradient of its logarithm 1 / m_k.
    Each policy step multiplies w_k by exp(rate * (share_k - 1/K)) with share_k = (1/m_k) over
    sum_j (1/m_j).
    The paper instead multiplies the *whole* reward by 0.5 + 1.5 tanh(gain of hypervolume on a
    validation set), a factor that dividing by the group's deviation takes out again. An objective
    without two finite bounds stands at 0.5.
    """

    def __init__(self, num_objectives: int, rate: float, smoothing: float) -> None:
        self.rate = rate
        self.smoothing = smoothing
        self.log_weights: Floats = np.zeros(num_objectives)
        self.level: Floats = np.full(num_objectives, np.nan)

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """The current weights, N times."""
        weights = to_simplex(np.exp(self.log_weights - self.log_weights.max()))
        return Weighting(np.tile(weights, (len(scene.rewards), 1)))

    def learn(
        self,
        scene: ScalarizerInput,
        choice: Weighting,
        advantages: Floats,
        anchors: Mapping[int, Floats],
    ) -> dict[str, float] | None:
        """Update the smoothed means and the weights."""
        now = _level(np.asarray(nan_mean_std(scene.raw, axis=0)[0][0]), scene, otherwise=0.5)
        before = np.where(np.isnan(self.level), now, self.level)
        self.level = self.smoothing * before + (1 - self.smoothing) * now
        pull = 1.0 / np.maximum(self.level, 1e-3)
        self.log_weights = self.log_weights + self.rate * (pull / pull.sum() - 1.0 / len(pull))
        return {"hypervolume": float(np.prod(self.level))}

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Log-weights and smoothed means."""
        return {"log_weights": self.log_weights, "level": self.level}

    def load(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Restore what ``state`` returned."""
        self.log_weights = np.array(state["log_weights"], dtype=np.float64)
        self.level = np.array(state["level"], dtype=np.float64)


def _level(mean: Floats, scene: ScalarizerInput, otherwise: float) -> Floats:
    """Where each mean stands between its declared bounds, in [0, 1]."""
    bounded = np.isfinite(scene.lower) & np.isfinite(scene.upper) & ~np.isnan(mean)
    span = np.where(bounded, scene.upper - scene.lower, 1.0)
    above = np.where(bounded, mean - np.where(bounded, scene.lower, 0.0), 0.0)
    return np.asarray(np.where(bounded, np.clip(above / span, 0.0, 1.0), otherwise))
