"""What a scalarizer sees and what it answers: the one protocol behind which weights are chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from workbench.types import Floats, Ints


@dataclass(frozen=True)
class ScalarizerInput:
    """One batch of completions, before anybody has chosen weights.

    ``rewards`` (N, K) is what will be weighted. ``raw`` (N, K) is after sign and condition but
    before scaling and centring, and ``lower``, ``upper`` (K,) are its declared bounds (infinite
    where none is declared): what batch statistics such as SAW's are about. ``hidden`` (N, D) are
    the terminal hidden states, None when no scalarizer asked for them. ``policy_steps`` counts the
    policy updates that these completions train.
    """

    rewards: Floats
    raw: Floats
    lower: Floats
    upper: Floats
    kinds: Sequence[str]
    num_generations: int
    step: int
    hidden: Floats | None = None
    policy_steps: int = 1

    @property
    def groups(self) -> int:
        """B: prompts in the batch."""
        return len(self.rewards) // self.num_generations

    @property
    def objectives(self) -> int:
        """K."""
        return int(self.rewards.shape[1])


@dataclass(frozen=True)
class Weighting:
    """The weights of a batch.

    ``weights`` (N, K): each row sums to 1, or, where weights may be negative (the kernel head's),
    their absolute values do. ``policy`` (N, K) is the distribution a Conductor drew from and
    ``actions`` (N,) what it drew, None for the others. ``mask`` (N,) are factors on the rows'
    signal; None leaves all rows whole. ``trusted`` (N,) are the trusted scores that train rows
    themselves (NaN: none), ``trusted_share`` (N,) how far: all four go to ``aggregate``.
    """

    weights: Floats
    policy: Floats | None = None
    actions: Ints | None = None
    mask: Floats | None = None
    trusted: Floats | None = None
    trusted_share: Floats | None = None


Ask = Callable[[Ints], Mapping[int, Floats]]
"""Pays for the trusted scores (G,) of whole groups of the batch, by their indices."""


@runtime_checkable
class Scalarizer(Protocol):
    """Chooses the weights of every completion, and may learn from what came of them."""

    needs_hidden: bool

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """Weights of one batch; ``explore=False`` gives the expected weights, without sampling."""
        ...

    def observe(self, scene: ScalarizerInput, rng: np.random.Generator, ask: Ask) -> None:
        """Called once a training step, before ``choose``: what can be learned before weighing."""
        ...

    def anchor_groups(self, scene: ScalarizerInput, rng: np.random.Generator) -> Ints:
        """Indices of the groups whose trusted score is wanted this step; mostly empty."""
        ...

    def learn(
        self,
        scene: ScalarizerInput,
        choice: Weighting,
        advantages: Floats,
        anchors: Mapping[int, Floats],
    ) -> dict[str, float] | None:
        """Take in one policy step; metrics of the update, or None when nothing was updated."""
        ...

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that is needed to continue exactly, as arrays."""
        ...

    def load(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Restore what ``state`` returned."""
        ...


class Stateless:
    """The part of the protocol that a scalarizer without memory shares with all others."""

    needs_hidden = False

    def observe(self, scene: ScalarizerInput, rng: np.random.Generator, ask: Ask) -> None:
        """Nothing to learn before weighing."""

    def anchor_groups(self, scene: ScalarizerInput, rng: np.random.Generator) -> Ints:
        """No group is judged."""
        return np.zeros(0, dtype=np.int64)

    def learn(
        self,
        scene: ScalarizerInput,
        choice: Weighting,
        advantages: Floats,
        anchors: Mapping[int, Floats],
    ) -> dict[str, float] | None:
        """Nothing to learn."""
        return None

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Nothing to keep."""
        return {}

    def load(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Nothing to restore."""


def to_simplex(weights: Floats, fallback: Floats | None = None) -> Floats:
    """Divide non-negative weights by their sum along the last axis; equal (or fallback) if 0."""
    total = weights.sum(axis=-1, keepdims=True)
    spare = np.full(weights.shape[-1], 1.0 / weights.shape[-1]) if fallback is None else fallback
    return np.asarray(np.where(total > 0, weights / np.where(total > 0, total, 1.0), spare))


def named_weights(weights: Mapping[str, float], objectives: Sequence[str]) -> Floats:
    """(K,) weights on the simplex from a mapping by objective; empty means equal, missing 0.

    Raises:
        ValueError: a weight is no number from 0, or all are 0.
    """
    if not weights:
        return np.full(len(objectives), 1.0 / len(objectives))
    for name, value in weights.items():
        if not 0 <= value < np.inf:
            raise ValueError(f"weights: {name} is {value:g}; allowed are numbers from 0")
    if not any(weights.values()):
        raise ValueError("weights: all are 0; at least one must be positive")
    return to_simplex(np.array([float(weights.get(name, 0.0)) for name in objectives]))


def is_flat(values: Floats, std: Floats, axis: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether a deviation along an axis is no more than rounding; see ``within_rounding``."""
    largest = np.max(np.where(np.isnan(values), 0.0, np.abs(values)), axis=axis, keepdims=True)
    return within_rounding(std, largest)


def within_rounding(std: Floats, largest: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether a deviation is below 1e-8 or 1e-6 of the largest magnitude; a NaN one is.

    Rewards often come from float32, whose rounding is 1e-7 of their size; divided by a mean near
    its bound, such noise would look like a coefficient of variation of 1.
    """
    return np.asarray(~(std > 1e-8 + 1e-6 * largest))
