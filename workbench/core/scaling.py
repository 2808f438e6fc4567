"""From raw rewards to what is weighted: sign, condition, scaling, centring.

The order is fixed. *Sign* turns "more" into "less". *Condition* is GDPO's conditioned reward
(arXiv 2601.05242): where another objective does not reach its level, an objective gets its worst
value. The paper writes 0, which for its rewards in {0, 1} is their lower bound; for any other
range a plain 0 could be a good value, so the declared bound is what is used. *Scaling* makes
objectives comparable, *centring* subtracts the group mean so that only differences count.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.advantages import EPSILON, nan_mean_std
from workbench.core.arrays import as_floats, check_groups, check_matrix
from workbench.types import Floats

SCALINGS = ("none", "batch", "running", "rank")
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(
    r"\s*([A-Za-z0-9][\w.-]*)\s*(>=|<=|>|<)\s*([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)\s*"
)


@dataclass(frozen=True)
class ObjectiveScaling:
    """How one objective's raw reward becomes what is weighted."""

    name: str
    scaling: str = "none"
    sign: int = 1
    lower: float | None = None
    upper: float | None = None
    condition: str | None = None

    @property
    def worst(self) -> float:
        """The lower bound after ``sign``: -inf when it is not declared."""
        bound = self.lower if self.sign > 0 else self.upper
        return -np.inf if bound is None else self.sign * bound

    @property
    def best(self) -> float:
        """The upper bound after ``sign``: inf when it is not declared."""
        bound = self.upper if self.sign > 0 else self.lower
        return np.inf if bound is None else self.sign * bound


def parse_condition(text: str, names: Sequence[str]) -> tuple[int, str, float]:
    """Read ``format >= 0.5`` as (index of the objective, comparison, level).

    Raises:
        ValueError: When the text is no comparison of a known objective with a number.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(
            f"condition: {text!r} is not of the form 'NAME >= NUMBER' (allowed: >=, >, <=, <)"
        )
    name, compare, level = match.groups()
    if name not in names:
        raise ValueError(f"condition: {name!r} unknown; the objectives are {list(names)}")
    return list(names).index(name), compare, float(level)


class RunningMoments:
    """Count, mean and sum of squared deviations of each objective over all rows seen so far.

    Merged batch by batch with the parallel update of Chan, Golub and LeVeque (1979).
    """

    def __init__(self, num_objectives: int) -> None:
        self.count: Floats = np.zeros(num_objectives)
        self.mean: Floats = np.zeros(num_objectives)
        self.squares: Floats = np.zeros(num_objectives)

    def update(self, rewards: Floats) -> None:
        """Add the rows of (N, K) rewards; NaN entries are left out."""
        valid = ~np.isnan(rewards)
        count = valid.sum(axis=0).astype(np.float64)
        some = count > 0
        filled = np.where(valid, rewards, 0.0)
        mean = filled.sum(axis=0) / np.where(some, count, 1.0)
        squares = np.where(valid, (filled - mean) ** 2, 0.0).sum(axis=0)
        total = self.count + count
        share = np.divide(count, total, out=np.zeros_like(total), where=total > 0)
        delta = np.where(some, mean - self.mean, 0.0)
        self.squares = self.squares + squares + delta**2 * self.count * share
        self.mean = self.mean + delta * share
        self.count = total

    @property
    def std(self) -> Floats:
        """Sample deviation (K,); 0 where fewer than two rows were seen."""
        spread = self.squares / np.maximum(self.count - 1, 1.0)
        return np.asarray(np.where(self.count > 1, np.sqrt(spread), 0.0))

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to continue exactly."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned."""
        self.count = np.array(state["count"], dtype=np.float64)
        self.mean = np.array(state["mean"], dtype=np.float64)
        self.squares = np.array(state["squares"], dtype=np.float64)


def group_ranks(values: Floats, num_generations: int) -> Floats:
    """Rank of each row inside its group, mapped to [0, 1]; ties share their mean rank.

    (rank - 1) / (n - 1) over the n entries of the group that are not NaN; 0.5 when n = 1 or when
    all are equal, so that a flat group stays flat.
    """
    grouped = values.reshape(-1, num_generations)  # (B, G)
    mine, others = grouped[:, :, None], grouped[:, None, :]  # (B, G, 1), (B, 1, G)
    below = (others < mine).sum(axis=2)
    tied = (others == mine).sum(axis=2) - 1.0  # without the row itself
    n = (~np.isnan(grouped)).sum(axis=1, keepdims=True)
    ranks = np.where(n > 1, (below + 0.5 * tied) / np.maximum(n - 1, 1), 0.5)
    return np.asarray(np.where(np.isnan(grouped), np.nan, ranks).reshape(-1))


def sign_and_condition(rewards: Floats, settings: Sequence[ObjectiveScaling]) -> Floats:
    """Apply each objective's sign and condition to (N, K) raw rewards.

    Conditions read the raw rewards. Where the condition's own objective does not apply (NaN) it
    does not bind; a conditioned reward that is NaN stays NaN.

    Raises:
        ValueError: When a conditioned objective declares no worst value.
    """
    names = [s.name for s in settings]
    signed = rewards * np.array([float(s.sign) for s in settings])
    for k, setting in enumerate(settings):
        if setting.condition is None:
            continue
        if not np.isfinite(setting.worst):
            side = "lower" if setting.sign > 0 else "upper"
            raise ValueError(
                f"{setting.name}.{side}: missing; the condition {setting.condition!r} needs the "
                "bound that an unmet condition falls back to"
            )
        other, compare, level = parse_condition(setting.condition, names)
        met = _COMPARE[compare](rewards[:, other], level) | np.isnan(rewards[:, other])
        unmet = ~met & ~np.isnan(signed[:, k])
        signed[unmet, k] = setting.worst
    return np.asarray(signed)


def scale(
    rewards: Any,
    num_generations: int,
    settings: Sequence[ObjectiveScaling],
    center_objectives: bool = False,
    running: RunningMoments | None = None,
) -> Floats:
    """Turn raw rewards into what is weighted; see the module's text for the order.

    ``none`` leaves values, ``batch`` and ``running`` give (r - mean) / (std + 1e-4) over the batch
    or over all rows seen, ``rank`` the rank inside the group in [0, 1].

    Args:
        rewards: (N, K) raw rewards, NaN where an objective does not apply.
        num_generations: G, rows per group.
        settings: one per objective, in the order of the columns.
        center_objectives: subtract each objective's group mean at the end.
        running: moments for ``running``, already updated with these rows where that is wanted.

    Returns:
        (N, K) float64.

    Raises:
        ValueError: On a shape or a name that does not fit.
    """
    raw = as_floats(rewards, "rewards")
    check_matrix(raw)
    check_groups(len(raw), num_generations)
    if raw.shape[1] != len(settings):
        raise ValueError(f"rewards: {raw.shape[1]} columns for {len(settings)} objectives")
    return _scaled(
        sign_and_condition(raw, settings), num_generations, settings, center_objectives, running
    )


def _scaled(
    signed: Floats,
    num_generations: int,
    settings: Sequence[ObjectiveScaling],
    center_objectives: bool,
    running: RunningMoments | None,
) -> Floats:
    scaled = signed.copy()
    for k, setting in enumerate(settings):
        if setting.scaling == "batch":
            mean, std = nan_mean_std(signed[:, k], axis=None)
            scaled[:, k] = (signed[:, k] - mean) / (np.nan_to_num(std) + EPSILON)
        elif setting.scaling == "running":
            if running is None:
                raise ValueError(f"{setting.name}.scaling: 'running' needs running moments")
            scaled[:, k] = (signed[:, k] - running.mean[k]) / (running.std[k] + EPSILON)
        elif setting.scaling == "rank":
            scaled[:, k] = group_ranks(signed[:, k], num_generations)
        elif setting.scaling != "none":
            raise ValueError(
                f"{setting.name}.scaling: {setting.scaling!r} unknown; allowed are {SCALINGS}"
            )
    if center_objectives:
        grouped = scaled.reshape(-1, num_generations, len(settings))  # (B, G, K)
        scaled = (grouped - nan_mean_std(grouped, axis=1)[0]).reshape(scaled.shape)
    return scaled


class RewardScaling:
    """The scaling of a run: its settings, and the running moments that a checkpoint must keep."""

    def __init__(
        self, settings: Sequence[ObjectiveScaling], center_objectives: bool = False
    ) -> None:
        self.settings = tuple(settings)
        self.center_objectives = center_objectives
        self.running = RunningMoments(len(self.settings))
        # fail at the start of a run, not at the first row that misses its condition
        sign_and_condition(np.full((1, len(self.settings)), np.nan), self.settings)

    @property
    def lower(self) -> Floats:
        """Declared lower bounds after sign (K,), -inf where none is declared."""
        return np.array([s.worst for s in self.settings])

    @property
    def upper(self) -> Floats:
        """Declared upper bounds after sign (K,), inf where none is declared."""
        return np.array([s.best for s in self.settings])

    @property
    def changes_rewards(self) -> bool:
        """Whether what is weighted can differ from the raw rewards at all."""
        return self.center_objectives or any(
            s.sign != 1 or s.condition is not None or s.scaling != "none" for s in self.settings
        )

    def __call__(
        self, rewards: Floats, num_generations: int, update: bool = True
    ) -> tuple[Floats, Floats]:
        """Return (signed, scaled), each (N, K): after sign and condition, and after everything.

        ``signed`` is what batch statistics such as SAW's read; ``scaled`` is what is weighted.
        ``update`` adds these rows to the running moments first: off for probes and evaluation.
        """
        raw = as_floats(rewards, "rewards")
        check_matrix(raw)
        check_groups(len(raw), num_generations)
        signed = sign_and_condition(raw, self.settings)
        if update:
            self.running.update(signed)
        return signed, _scaled(
            signed, num_generations, self.settings, self.center_objectives, self.running
        )

    def state(self) -> dict[str, np.ndarray]:
        """Running moments, for the checkpoint."""
        return self.running.state()

    def load(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Restore what ``state`` returned."""
        self.running.load(state)
