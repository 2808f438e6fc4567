"""What if other weights had been used: advantages of logged rows, recomputed.

Light (no torch) and vectorised: a million rows take seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis.logged_rows import LoggedRows
from workbench.config.scalarizers import Conductor, ScalarizerConfig
from workbench.core.advantages import aggregate
from workbench.core.emphasis import weights_from_state
from workbench.core.ragged import aggregate_segments
from workbench.core.scalarizer_input import named_weights
from workbench.core.scalarizers import Scalarizer, ScalarizerInput, Weighting, build_scalarizer
from workbench.types import Floats, Ints


@dataclass(frozen=True)
class WhatIf:
    """Advantages under other weights, beside those that trained the policy."""

    rows: LoggedRows
    weights: Floats
    scalars: Floats
    advantages: Floats

    @property
    def flipped(self) -> np.ndarray:
        """(N,) whether the advantage's sign turned from one side to the other."""
        return np.asarray(self.advantages * self.rows.advantages < 0)

    @property
    def sign_flips(self) -> float:
        """Share of rows whose advantage changed sign."""
        return float(self.flipped.mean())

    @property
    def rank_correlation(self) -> float:
        """Spearman's correlation of the advantages before and after; NaN when one is constant."""
        before = pd.Series(self.rows.advantages).rank().to_numpy()
        after = pd.Series(self.advantages).rank().to_numpy()
        spread = before.std() * after.std()
        if spread == 0:
            return float("nan")
        return float(((before - before.mean()) * (after - after.mean())).mean() / spread)

    def top(self, count: int = 20) -> pd.DataFrame:
        """The rows that change most: row number, advantage before, after, change, flipped."""
        change = self.advantages - self.rows.advantages
        count = min(count, len(change))
        most = np.argpartition(-np.abs(change), count - 1)[:count]
        most = most[np.argsort(-np.abs(change[most]), kind="stable")]
        return pd.DataFrame(
            {
                "row": most,
                "before": self.rows.advantages[most],
                "after": self.advantages[most],
                "change": change[most],
                "flipped": self.flipped[most],
            }
        )

    def mean_weights(self) -> pd.DataFrame:
        """Mean weight per objective before and after, by kind where kinds are known."""
        kinds = self.rows.kinds if self.rows.kinds is not None else ["all"] * len(self.weights)
        columns = [*(f"{n} before" for n in self.rows.objectives), *self.rows.objectives]
        both = pd.DataFrame(np.hstack([self.rows.weights, self.weights]), columns=columns)
        return both.groupby(np.asarray(kinds, dtype=object)).mean()

    def summary(self) -> dict[str, float]:
        """Rows, rank correlation and share of sign flips."""
        return {
            "rows": float(len(self.advantages)),
            "rank_correlation": self.rank_correlation,
            "sign_flips": self.sign_flips,
        }


def whatif(
    rows: LoggedRows,
    scalarizer: ScalarizerConfig | None = None,
    weights: Mapping[str, float] | Floats | None = None,
    conductor: Mapping[str, np.ndarray] | None = None,
    aggregation: str = "sum_then_normalize",
    scale_rewards: str = "group",
    lower: Floats | None = None,
    upper: Floats | None = None,
    seed: int = 0,
) -> WhatIf:
    """Recompute the advantages of logged rows under another weighting; give exactly one of three.

    Where a judge's score itself trained a row, fixed weights leave that share of it; another
    scalarizer or Conductor is asked what its weights alone would have done.

    Scalarizers with a memory (CTWA, hypervolume) see the policy steps in their order and learn as
    they go; batch statistics (SAW) are those of each policy step. The logged mask holds for every
    weighting that makes none of its own, so that all are on one scale.

    Args:
        rows: what was logged.
        scalarizer: settings of any scalarizer but a Conductor, whose weights are learned.
        weights: fixed weights by objective, or (K,) or (N, K).
        conductor: ``state()`` of any run's Conductor; needs logged contexts.
        aggregation: to use from here on.
        scale_rewards: to use from here on.
        lower: (K,) declared bounds after sign, for those who read them (-inf: none declared).
        upper: (K,) likewise.
        seed: for random weights.

    Raises:
        ValueError: When not exactly one weighting is given, or it does not fit the rows.
    """
    if sum(given is not None for given in (scalarizer, weights, conductor)) != 1:
        raise ValueError("whatif: give exactly one of scalarizer, weights, conductor")
    mask, share = rows.mask, None
    if conductor is not None:
        if rows.contexts is None:
            raise ValueError(
                "contexts: none are logged for these rows (logging.contexts was off, or its "
                "budget is spent), and a Conductor reads them"
            )
        chosen = weights_from_state(conductor, rows.contexts, rows.groups)
    elif scalarizer is not None:
        chosen, own = _by_scalarizer(
            rows, scalarizer, aggregation, scale_rewards, lower, upper, seed
        )
        mask = mask if own is None else own
    else:
        chosen, share = _given(weights, rows), rows.judge_share
    if chosen.shape != rows.rewards.shape:
        raise ValueError(f"weights: shape {chosen.shape} is not (N, K) = {rows.rewards.shape}")
    scalars, advantages = aggregate_segments(
        rows.rewards,
        chosen,
        rows.groups,
        rows.batches,
        aggregation,
        scale_rewards,
        rows.penalty,
        mask,
        rows.judge,
        share,
    )
    return WhatIf(rows, chosen, scalars, advantages)


def audit_error(
    rows: LoggedRows, aggregation: str = "sum_then_normalize", scale_rewards: str = "group"
) -> float:
    """Largest difference of the logged advantages from those of the logged weights."""
    used = aggregate_segments(
        rows.rewards,
        rows.weights,
        rows.groups,
        rows.batches,
        aggregation,
        scale_rewards,
        rows.penalty,
        rows.mask,
        rows.judge,
        rows.judge_share,
    )[1]
    return float(np.abs(used - rows.advantages).max())


def _given(weights: Any, rows: LoggedRows) -> Floats:
    """(N, K) from weights by objective, (K,) or (N, K).

    Raises:
        ValueError: an objective is unknown, a number is no weight, or all are 0. Weights below 0
            are weights only where the run's own are signed too.
    """
    if isinstance(weights, Mapping):
        unknown = sorted(set(weights) - set(rows.objectives))
        if unknown:
            raise ValueError(
                f"weights: {unknown} unknown; the objectives are {list(rows.objectives)}"
            )
        signed = bool((rows.weights < 0).any()) and any(v < 0 for v in weights.values())
        if signed:
            weights = [float(weights.get(name, 0.0)) for name in rows.objectives]
        else:
            weights = named_weights(weights, rows.objectives)
    array = np.asarray(weights, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"weights: {array[~np.isfinite(array)][0]} is no weight")
    return np.tile(array, (len(rows.rewards), 1)) if array.ndim == 1 else array


def _by_scalarizer(
    rows: LoggedRows,
    config: ScalarizerConfig,
    aggregation: str,
    scale_rewards: str,
    lower: Floats | None,
    upper: Floats | None,
    seed: int,
) -> tuple[Floats, Floats | None]:
    """Weights and mask of every row, policy step by policy step."""
    if isinstance(config, Conductor):
        raise ValueError("conductor: its weights are learned; name the run whose Conductor to ask")
    n, k = rows.rewards.shape
    raw = rows.rewards if rows.raw is None else rows.raw
    low = np.full(k, -np.inf) if lower is None else lower
    high = np.full(k, np.inf) if upper is None else upper
    kinds = np.asarray(rows.kinds if rows.kinds is not None else [""] * n, dtype=object)
    judge = build_scalarizer(config, rows.objectives)
    rng = np.random.default_rng(seed)

    def choose(where: Any, size: int, step: int) -> tuple[ScalarizerInput, Weighting]:
        parts = rows.rewards[where], raw[where], low, high, kinds[where]
        scene = ScalarizerInput(*parts, num_generations=size, step=step)
        return scene, judge.choose(scene, rng)

    if config.looks_at == "row":  # one call for all of them
        return choose(slice(None), 1, 0)[1].weights, None
    weights, mask, masked = np.empty((n, k)), np.ones(n), False
    # one call for each size of group, or one for each step
    batches = np.zeros(n, np.int64) if config.looks_at == "group" else rows.batches
    for step, (where, size) in enumerate(_batches(rows.groups, batches)):
        scene, choice = choose(where, size, step)
        weights[where] = choice.weights
        if choice.mask is not None:
            mask[where], masked = choice.mask, True
        _learn(judge, scene, choice, aggregation, scale_rewards)
    return weights, mask if masked else None


def _learn(
    judge: Scalarizer,
    scene: ScalarizerInput,
    choice: Weighting,
    aggregation: str,
    scale_rewards: str,
) -> None:
    if not judge.state():
        return
    advantages = aggregate(
        scene.rewards, choice.weights, scene.num_generations, aggregation, scale_rewards
    )[1]
    judge.learn(scene, choice, advantages, {})


def _batches(groups: Ints, batches: Ints) -> list[tuple[Ints, int]]:
    """Row numbers of each policy step, group by group, with the size of its groups.

    A step whose logged groups differ in size is taken apart into one batch per size.
    """
    sizes = np.bincount(groups)[groups]
    order = np.lexsort((groups, sizes, batches))
    same = (np.diff(batches[order]) == 0) & (np.diff(sizes[order]) == 0)
    parts = np.split(order, np.flatnonzero(~same) + 1)
    return [(part, int(sizes[part[0]])) for part in parts]
