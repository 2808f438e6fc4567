"""Who plays in the planted worlds: scalarizers with their surroundings, and the judges they meet.

Besides the methods of the language tier there is a row for each way in which an anchor can go
wrong, and for each other use of its budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.bench.methods import FAST, PLAIN
from workbench.bench.problems import World
from workbench.types import Floats, Ints

GROUP = 16


@dataclass(frozen=True)
class Player:
    """One method of the bandit tier: a scalarizer's settings and what surrounds it.

    ``reward`` is ``objectives``, or ``utility``: the judge itself as the reward, on the share
    ``judged`` of the groups. ``judge`` names whom an anchor asks; ``group`` is G.
    """

    scalarizer: Mapping[str, Any]
    aggregation: str = "sum_then_normalize"
    scaling: str = "none"
    reward: str = "objectives"
    judged: float = 1.0
    judge: str = "true"
    group: int = GROUP


Judge = Callable[[World, float, Ints, Ints], Floats]
"""Scores (N,) of arms of prompts, when a share of the run has passed."""


def _true(world: World, share: float, prompts: Ints, arms: Ints) -> Floats:
    return np.asarray(world.utility[prompts, arms])


def _biased(world: World, share: float, prompts: Ints, arms: Ints) -> Floats:
    return np.asarray(world.utility[prompts, arms] + 0.3 * world.rewards[prompts, arms, 0])


def _drifting(world: World, share: float, prompts: Ints, arms: Ints) -> Floats:
    liking = 0.6 * share * world.rewards[prompts, arms, 0]
    return np.asarray((1 + share) * (world.utility[prompts, arms] + liking) - share)


def _outside(world: World, share: float, prompts: Ints, arms: Ints) -> Floats:
    table = np.random.default_rng(13).standard_normal(world.rewards.shape[:2])
    return np.asarray(table[prompts, arms])


def _weak(correlation: float) -> Judge:
    """A judge whose scores correlate so with the truth within a prompt, over all its arms."""

    def judge(world: World, share: float, prompts: Ints, arms: Ints) -> Floats:
        spread = world.utility.std(axis=1)[prompts]
        noise = np.random.default_rng([int(share * 1e6), 17]).standard_normal(len(arms))
        return np.asarray(
            world.utility[prompts, arms] + spread * np.sqrt(1 / correlation**2 - 1) * noise
        )

    return judge


JUDGES: dict[str, Judge] = {
    "true": _true,
    "biased": _biased,
    "drifting": _drifting,
    "outside": _outside,
    "weak-45": _weak(0.45),
    "weak-25": _weak(0.25),
    "weak-17": _weak(0.17),
}
"""``biased`` also likes the first objective; ``drifting`` comes to like it twice as much, and
changes its scale meanwhile; ``outside`` wants something that no objective measures; ``weak-25``
correlates 0.25 with the truth within a prompt, as real judges do."""


def anchored(judge: str = "true", group: int = GROUP, **anchor: Any) -> Player:
    """The anchored Conductor on one group in eight, with some settings of the anchor changed."""
    settings = {"source": "judge", "fraction": 0.125} | anchor
    conductor = {"name": "conductor", "meta_reward": "anchor", "anchor": settings}
    return Player(conductor, judge=judge, group=group)


def kernel(judge: str = "true", **anchor: Any) -> Player:
    """The kernel head on one group in eight, with some settings of the anchor changed."""
    player = anchored(judge, **anchor)
    return Player(dict(player.scalarizer) | {"head": "kernel"}, judge=judge)


EQUAL = {"name": "static"}
PLAYERS: dict[str, Player] = {
    **{
        f"single-{k}": Player({"name": "single", "objective": f"objective_{k}"})
        for k in range(1, 5)
    },
    "equal": Player(EQUAL),
    "random": Player({"name": "random", "per": "step"}),
    "random-response": Player({"name": "random", "per": "completion"}),
    "saw": Player({"name": "saw"}),
    "gdpo": Player(EQUAL, "normalize_then_sum"),
    "saw-gdpo": Player({"name": "saw"}, "normalize_then_sum"),
    "dvao": Player({"name": "dvao"}, "normalize_then_sum"),
    "gd2po": Player({"name": "gd2po"}, "normalize_then_sum"),
    "ctwa": Player({"name": "ctwa"}),
    "sa-mrpo": Player({"name": "sa_mrpo"}, "normalize_then_sum"),
    "hypervolume": Player({"name": "hypervolume"}),
    "maestro": Player({"name": "conductor"}),
    "maestro-rank": Player({"name": "conductor"}, scaling="rank"),
    "maestro-fast": Player(FAST["scalarizer"]),
    "kernel": kernel(),
    "kernel-64": kernel(fraction=1 / 64),
    "kernel-no-gate": kernel(gate=False),
    "kernel-weights": kernel(judge_rows=False),
    "kernel-weak-45": kernel("weak-45"),
    "kernel-weak-25": kernel("weak-25"),
    "kernel-weak-25-no-gate": kernel("weak-25", gate=False),
    "kernel-weak-17": kernel("weak-17"),
    "kernel-weak-17-no-gate": kernel("weak-17", gate=False),
    "kernel-outside": kernel("outside"),
    "kernel-drifting": kernel("drifting"),
    "kernel-shuffled": kernel(shuffle=True),
    "anchored": anchored(),
    "anchored-16": anchored(fraction=1 / 16),
    "anchored-64": anchored(fraction=1 / 64),
    "anchored-plain": anchored(**PLAIN),
    "anchored-64-plain": anchored(fraction=1 / 64, **PLAIN),
    "anchored-64-uncertain": anchored(fraction=1 / 64, select="uncertain"),
    "anchored-64-disagreement": anchored(fraction=1 / 64, select="disagreement"),
    "anchored-64-bias": anchored(fraction=1 / 64, head="bias"),
    "anchored-64-ridge": anchored(fraction=1 / 64, ridge=0.01),
    "anchored-no-gate": anchored(gate=False),
    "anchored-bias": anchored(head="bias"),
    "anchored-uncertain": anchored(select="uncertain"),
    "anchored-disagreement": anchored(select="disagreement"),
    "anchored-noise": anchored(noise=0.05),
    "anchored-biased": anchored("biased"),
    "anchored-drifting": anchored("drifting"),
    "anchored-drifting-replay-32": anchored("drifting", replay=32),
    "anchored-outside": anchored("outside"),
    "anchored-shuffled": anchored(shuffle=True),
    "judge-only": Player(EQUAL, reward="utility", judged=0.125),
    "judge-everywhere": Player(EQUAL, reward="utility"),
}
"""Every method of the tier by its key; the oracle is trained beside them."""
