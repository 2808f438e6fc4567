"""Groups of two kinds that the context tells apart, and a trusted score that each mixes its way."""

import numpy as np

from workbench.config.scalarizers import AnchorConfig
from workbench.config.scalarizers import Conductor as Config
from workbench.core.advantages import grpo_advantages
from workbench.core.alignment import normalize_scores
from workbench.core.scalarizers import ScalarizerInput, build_scalarizer

B, G, K, D = 8, 4, 3, 6
NAMES = ("a", "b", "c")
PROTOTYPES = np.random.default_rng(99).normal(size=(2, D))


def rng(seed=0):
    return np.random.default_rng(seed)


def learner(seed=0, aggregation="sum_then_normalize", config=None, **anchor):
    anchored = AnchorConfig(**({"source": "judge", "first": 0} | anchor))
    return build_scalarizer(
        Config(meta_reward="anchor", anchor=anchored, **(config or {})),
        NAMES,
        hidden_size=D,
        num_generations=G,
        seed=seed,
        aggregation=aggregation,
    )


def make_scene(seed, truth=((1.0, 0.0, 0.0), (0.0, 0.5, 0.5))):
    """B groups of two kinds that the context tells apart; U is its kind's own mix of objectives."""
    draw = rng(seed)
    kinds = draw.integers(0, 2, B)
    hidden = np.repeat(PROTOTYPES[kinds], G, axis=0) + 0.5 * draw.normal(size=(B * G, D))
    rewards = draw.normal(size=(B * G, K))
    per_group = rewards.reshape(B, G, K)
    scores = np.einsum("bgk,bk->bg", per_group, np.array(truth)[kinds])
    scene = ScalarizerInput(
        rewards=rewards,
        raw=rewards,
        lower=np.full(K, -np.inf),
        upper=np.full(K, np.inf),
        kinds=[str(kind) for kind in np.repeat(kinds, G)],
        num_generations=G,
        step=seed,
        hidden=hidden,
    )
    return scene, scores


def train(conductor, seeds, score=lambda seed, scores: scores, **truth):
    metrics = []
    for seed in seeds:
        scene, scores = make_scene(seed, **truth)
        choice = conductor.choose(scene, rng(seed))
        advantages = grpo_advantages(scene.rewards, choice.weights, G)
        groups = conductor.anchor_groups(scene, rng(1000 + seed))
        anchors = {int(g): score(seed, scores)[g] for g in groups}
        metrics.append(conductor.learn(scene, choice, advantages, anchors))
    return metrics


def quality(conductor, seeds=range(500, 510)):
    """Mean agreement of the weights' advantages with U on groups never trained on."""
    values = []
    for seed in seeds:
        scene, scores = make_scene(seed)
        weights = conductor.choose(scene, rng(), explore=False).weights
        a = grpo_advantages(scene.rewards, weights, G).reshape(B, G)
        values += [float((a[b] * normalize_scores(scores[b])).mean()) for b in range(B)]
    return float(np.mean(values))


EQUAL = quality(build_scalarizer(Config(), NAMES, D))
BEST = (G - 1) / G  # the agreement of perfectly correlated scores
