"""The bandit tier: every scalarizer on planted worlds, with the policy gradient in closed form.

A softmax over arms per prompt is the policy; groups are drawn by systematic sampling, so that each
arm appears G * pi(a) times up to less than one row, and

    grad_theta = (1/G) sum_i A_i (e_{a_i} - pi)

is the policy gradient of the group's advantages without a network or an optimiser in between.
Scalarizers see the same ``ScalarizerInput`` as in a run. Reported are the regret to the oracle
policy (same draws, trained on the true utility weights) in expected utility over all prompts,
exact under the policy, and the error of the weights: total variation between the mean weights of
a family over the last quarter of the steps and w*_f.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from workbench.bench.agents import GROUP, JUDGES, PLAYERS, Player
from workbench.bench.problems import CONFLICTS, FAMILIES, TRAPS, World, plant
from workbench.config.scalarizers import ScalarizerConfig
from workbench.core.advantages import aggregate
from workbench.core.scalarizer_input import Scalarizer, ScalarizerInput, Weighting
from workbench.core.scalarizers import build_scalarizer
from workbench.core.scaling import ObjectiveScaling, RewardScaling
from workbench.types import Floats, Ints

PROMPTS_PER_STEP, STEPS, RATE = 14, 200, 1.0
CONFIG: TypeAdapter[Any] = TypeAdapter(ScalarizerConfig)


@dataclass
class Learner:
    """The tabular policy: logits (P, A), and exact expectations under it."""

    world: World
    logits: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.logits = np.zeros(self.world.rewards.shape[:2])

    def probabilities(self, prompts: Ints | slice = slice(None)) -> Floats:
        """pi(.|p), (len(prompts), A)."""
        shifted = self.logits[prompts] - self.logits[prompts].max(axis=1, keepdims=True)
        odds = np.exp(shifted)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def value(self) -> float:
        """Expected utility over all prompts."""
        return float((self.probabilities() * self.world.utility).sum(axis=1).mean())

    def draw(self, prompts: Ints, rng: np.random.Generator, size: int = GROUP) -> Ints:
        """(B, G) arms by systematic sampling: one offset per group, in random order."""
        edges = np.cumsum(self.probabilities(prompts), axis=1)  # (B, A)
        points = (np.arange(size) + rng.random((len(prompts), 1))) / size  # (B, G)
        arms = (points[:, :, None] >= edges[:, None, :]).sum(axis=2)
        return np.asarray(rng.permuted(np.minimum(arms, edges.shape[1] - 1), axis=1))

    def ascend(self, prompts: Ints, arms: Ints, advantages: Floats) -> None:
        """One step along (1/G) sum_i A_i (e_{a_i} - pi) for each prompt of the batch."""
        a = advantages.reshape(arms.shape)  # (B, G)
        chosen = np.zeros((len(prompts), self.logits.shape[1]))
        np.add.at(chosen, (np.arange(len(prompts))[:, None], arms), a / arms.shape[1])
        pull = a.mean(axis=1, keepdims=True) * self.probabilities(prompts)
        self.logits[prompts] += RATE * (chosen - pull)


@dataclass
class SharedLearner(Learner):
    """A policy whose prompts share their parameters, as those of a language model do.

    logits(p, a) = c_p' M (h_pa - mean_a h_pa), with h the world's hidden states and c_p their mean
    over the arms, divided by sqrt(D): what is learned on one prompt moves all that are like it. The
    table of ``Learner`` shares nothing, so that a reward on few groups never reaches the others.
    """

    matrix: Floats = field(init=False)
    context: Floats = field(init=False)
    states: Floats = field(init=False)

    def __post_init__(self) -> None:
        hidden = self.world.hidden
        mean = hidden.mean(axis=1)
        self.context = mean / np.sqrt(hidden.shape[2])  # (P, D)
        self.states = hidden - mean[:, None, :]  # (P, A, D)
        self.matrix = np.zeros((hidden.shape[2], hidden.shape[2]))
        self.follow()

    def follow(self) -> None:
        """Logits (P, A) of the parameters as they are."""
        self.logits = np.einsum("pd,de,pae->pa", self.context, self.matrix, self.states)

    def ascend(self, prompts: Ints, arms: Ints, advantages: Floats) -> None:
        """The same gradient, through the parameters: sum_p c_p ((1/G) sum_i A_i (h_i - E h))'."""
        a = advantages.reshape(arms.shape)
        states = self.states[prompts]  # (B, A, D)
        expected = np.einsum("ba,bad->bd", self.probabilities(prompts), states)
        drawn = states[np.arange(len(prompts))[:, None], arms] - expected[:, None, :]
        self.matrix += (
            RATE * self.context[prompts].T @ np.einsum("bg,bgd->bd", a, drawn) / len(a[0])
        )
        self.follow()


def _rewards(player: Player, world: World, prompts: Ints, arms: Ints, seen: Floats) -> Floats:
    """What is weighted: the objectives, or the utility itself where the judge was asked."""
    if player.reward == "objectives":
        return seen
    utility = world.utility[prompts, arms][:, None]
    # the first share of every batch; which prompts those are changes from step to step
    size = player.group
    judged = np.arange(len(prompts)) < round(player.judged * len(prompts) / size) * size
    return np.where(judged[:, None], utility, np.nan)


def play(player: Player, world: World, seed: int, steps: int = STEPS) -> dict[str, float]:
    """Train one policy in one world.

    Returns:
        ``utility`` at the end, ``weight_error`` (NaN where weights do not act on raw rewards), and
        ``judged``, the number of rows whose utility was asked for.
    """
    rng, size = np.random.default_rng([seed, 11]), player.group
    count = world.rewards.shape[2] if player.reward == "objectives" else 1
    names = tuple(f"objective_{k + 1}" for k in range(count))
    scaling = RewardScaling(
        [ObjectiveScaling(n, player.scaling, lower=0.0, upper=1.0) for n in names]
    )
    scalarizer = build_scalarizer(
        CONFIG.validate_python(dict(player.scalarizer)),
        names,
        world.hidden.shape[2],
        size,
        seed,
        player.aggregation,
        steps * PROMPTS_PER_STEP,
    )
    learner = SharedLearner(world) if world.shared else Learner(world)
    totals, rows, judged = np.zeros((FAMILIES, count)), np.zeros((FAMILIES, 1)), 0
    for step in range(steps):
        batch = _batch(world, step, rng)
        arms = learner.draw(batch, rng, size)
        flat, prompts = arms.reshape(-1), np.repeat(batch, size)
        seen = world.observe(prompts, flat, rng)
        raw, scaled = scaling(_rewards(player, world, prompts, flat, seen), size)
        judged += int((~np.isnan(raw[:, 0])).sum()) if player.reward == "utility" else 0
        kinds = [str(f) for f in world.family[prompts]]
        scene = ScalarizerInput(
            scaled, raw, scaling.lower, scaling.upper, kinds, size, step,
            world.hidden[prompts, flat],
        )  # fmt: skip
        scores = JUDGES[player.judge](world, step / steps, prompts, flat)
        choice, advantages, asked = _turn(scalarizer, player, scene, scores, rng)
        judged += asked
        learner.ascend(batch, arms, advantages)
        if step >= steps * 3 // 4:
            np.add.at(totals, world.family[prompts], choice.weights)
            np.add.at(rows, world.family[prompts], 1.0)
    mean = totals / np.maximum(rows, 1.0)
    raw_weights = player.aggregation == "sum_then_normalize" and player.scaling == "none"
    known = raw_weights and player.reward == "objectives"
    error = 0.5 * np.abs(mean - world.utilities).sum(axis=1).mean() if known else np.nan
    return {"utility": learner.value(), "weight_error": float(error), "judged": float(judged)}


def _batch(world: World, step: int, rng: np.random.Generator) -> Ints:
    """B prompts, the same number of each family, in random order."""
    per_family = PROMPTS_PER_STEP // FAMILIES
    turns = (step * per_family + np.arange(per_family)) % (len(world.family) // FAMILIES)
    chosen = (turns[:, None] * FAMILIES + np.arange(FAMILIES)).reshape(-1)
    return np.asarray(rng.permutation(chosen))


def _turn(
    scalarizer: Scalarizer,
    player: Player,
    scene: ScalarizerInput,
    scores: Floats,
    rng: np.random.Generator,
) -> tuple[Weighting, Floats, int]:
    """Weights, advantages and the scalarizer's own learning; rows judged for its anchor."""
    size, asked = player.group, 0
    trusted = scores.reshape(-1, size)

    def ask(groups: Ints) -> dict[int, Floats]:
        nonlocal asked
        asked += len(groups) * size
        return {int(g): trusted[g] for g in groups}

    scalarizer.observe(scene, rng, ask)
    choice = scalarizer.choose(scene, rng)
    advantages = aggregate(
        scene.rewards,
        choice.weights,
        size,
        player.aggregation,
        mask=choice.mask,
        trusted=choice.trusted,
        trusted_share=choice.trusted_share,
    )[1]
    anchors = ask(scalarizer.anchor_groups(scene, rng))
    scalarizer.learn(scene, choice, advantages, anchors)
    return choice, np.asarray(advantages), asked


def oracle(world: World) -> Player:
    """The player that is given the true utility weights of every family."""
    by_kind = {
        str(f): {f"objective_{k + 1}": float(w) for k, w in enumerate(world.utilities[f])}
        for f in range(FAMILIES)
    }
    return Player({"name": "oracle", "by_kind": by_kind})


def worlds() -> dict[str, dict[str, Any]]:
    """Arguments of ``plant`` for every world of the tier, by name."""
    named: dict[str, dict[str, Any]] = {f"conflict {c:+.1f}": {"conflict": c} for c in CONFLICTS}
    named |= {f"shared {c:+.1f}": {"conflict": c, "shared": True} for c in CONFLICTS}
    return named | {f"trap {t.replace('_', ' ')}": {"trap": t} for t in TRAPS}


def tournament(world_name: str, seed: int, steps: int = STEPS) -> list[dict[str, Any]]:
    """Every player in one world: rows of world, seed, method, utility, regret, weight_error.

    ``recovered`` is the share of the distance from equal weights to the oracle.
    """
    world = plant(**worlds()[world_name], seed=seed)
    best = play(oracle(world), world, seed, steps)
    results = {"oracle": best} | {k: play(p, world, seed, steps) for k, p in PLAYERS.items()}
    gap = best["utility"] - results["equal"]["utility"]
    return [
        {"world": world_name, "seed": seed, "method": key}
        | found
        | {
            "regret": best["utility"] - found["utility"],
            "recovered": (found["utility"] - results["equal"]["utility"]) / gap,
        }
        for key, found in results.items()
    ]
