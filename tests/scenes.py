"""Scenes for the tests of scalarizers."""

import numpy as np

from workbench.core.scalarizers import ScalarizerInput


def make_scene(rewards, g=4, lower=0.0, upper=1.0, kinds=None, raw=None, step=0):
    rewards = np.asarray(rewards, dtype=float)
    k = rewards.shape[1]
    return ScalarizerInput(
        rewards=rewards,
        raw=rewards if raw is None else raw,
        lower=np.full(k, lower),
        upper=np.full(k, upper),
        kinds=["x"] * len(rewards) if kinds is None else kinds,
        num_generations=g,
        step=step,
    )


def rng():
    return np.random.default_rng(0)
