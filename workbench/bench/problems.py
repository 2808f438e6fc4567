"""Planted worlds: contextual bandits whose true utility is known, U_f = w*_f . r.

A world has F families of prompts, A possible answers (arms) per prompt and K objectives. What a
family really wants is a fixed mix w*_f of the objectives, so the best weighting is known, and so
is everything that any other weighting loses. ``conflict`` sets the correlation between the two
objectives of a pair; a ``trap`` adds a fifth objective that no utility wants and that each breaks
some method:

    constant     the same for every answer: nothing to learn, but a share of every fixed weighting
    saturated    nearly at its bound, with differences of no meaning: magnified by standardising
    biased_high  far above the others on average: attracts whoever rewards what is already high
    noise        drawn anew for every row: the largest deviation of all, and no information
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.types import Floats, Ints

CONFLICTS = (-0.8, 0.0, 0.8)
"""Correlations of the dial: objectives of a pair against each other, unrelated, aligned."""
TRAPS = ("constant", "saturated", "biased_high", "noise")

FAMILIES, PROMPTS_PER_FAMILY, ARMS, PAIRS, HIDDEN = 7, 6, 24, 2, 16


@dataclass(frozen=True)
class World:
    """One planted problem; P prompts, A arms, K objectives, D hidden.

    ``rewards`` (P, A, K) in [0, 1]; ``utilities`` (F, K) on the simplex; ``family`` (P,);
    ``hidden`` (P, A, D) is what a Conductor may read. ``noise``: the last objective is pure noise.
    ``shared``: one set of parameters serves all prompts, instead of a table.
    """

    rewards: Floats
    utilities: Floats
    family: Ints
    hidden: Floats
    noise: bool
    shared: bool = False

    @property
    def utility(self) -> Floats:
        """U of every arm of every prompt, (P, A)."""
        return np.asarray(np.einsum("pak,pk->pa", self.rewards, self.utilities[self.family]))

    def observe(self, prompts: Ints, arms: Ints, rng: np.random.Generator) -> Floats:
        """Rewards (N, K) of drawn arms."""
        seen = self.rewards[prompts, arms].copy()
        if self.noise:
            seen[:, -1] = rng.random(len(seen))
        return np.asarray(seen)


def plant(
    conflict: float = 0.0, trap: str | None = None, seed: int = 0, shared: bool = False
) -> World:
    """Draw a world.

    Two pairs of objectives are standard normal with correlation ``conflict`` inside a pair, mapped
    to [0, 1] by 0.5 + 0.15 z. Families differ in what they want: w*_f is Dirichlet(0.5) over the
    four, 0 on a trap. Hidden states are a family's own direction, plus the prompt's, plus a
    projection of the arm's rewards: readable, but not labelled.

    Raises:
        ValueError: On a correlation outside [-1, 1] or an unknown trap.
    """
    if not -1 <= conflict <= 1:
        raise ValueError(f"conflict: {conflict} is no correlation; it must be in [-1, 1]")
    if trap is not None and trap not in TRAPS:
        raise ValueError(f"trap: {trap!r} unknown; allowed are {list(TRAPS)}")
    rng = np.random.default_rng([seed, 7])
    prompts = FAMILIES * PROMPTS_PER_FAMILY
    family = np.arange(prompts) % FAMILIES
    first, other = rng.standard_normal((2, prompts, ARMS, PAIRS))
    second = conflict * first + np.sqrt(1 - conflict**2) * other
    z = np.stack([first, second], axis=-1).reshape(prompts, ARMS, 2 * PAIRS)
    rewards = np.clip(0.5 + 0.15 * z, 0.0, 1.0)
    utilities = rng.dirichlet(np.full(2 * PAIRS, 0.5), size=FAMILIES)
    shape = (prompts, ARMS, 1)
    if trap is not None:
        drawn = rng.standard_normal(shape)
        extra = {
            "constant": np.full(shape, 0.5),
            "saturated": np.clip(0.99 + 0.002 * drawn, 0.0, 1.0),
            "biased_high": np.clip(0.9 + 0.05 * drawn, 0.0, 1.0),
            "noise": np.full(shape, 0.5),
        }[trap]
        rewards = np.concatenate([rewards, extra], axis=-1)
        utilities = np.concatenate([utilities, np.zeros((FAMILIES, 1))], axis=1)
    own = rng.standard_normal((FAMILIES, HIDDEN))[family][:, None, :]  # (P, 1, D)
    prompt = rng.standard_normal((prompts, 1, HIDDEN))
    projection = rng.standard_normal((2 * PAIRS, HIDDEN))
    hidden = own + 0.3 * prompt + 0.3 * (z @ projection) / np.sqrt(2 * PAIRS)
    return World(rewards, utilities, family, np.asarray(hidden), trap == "noise", shared)
