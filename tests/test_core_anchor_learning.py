"""What the anchored Conductor learns from one group in eight, and what it must not."""

import numpy as np
import pytest
from anchor_world import BEST, EQUAL, B, G, learner, make_scene, quality, rng, train

from workbench.core.scalarizers import ScalarizerInput

# -- what it learns -------------------------------------------------------------------------------


def test_it_finds_each_kinds_own_weights_from_one_group_in_eight():
    conductor = learner()
    metrics = train(conductor, range(60))
    assert quality(conductor) > EQUAL + 0.8 * (BEST - EQUAL)
    assert metrics[-1]["anchor_trust"] > 0.9
    unseen = [m["anchor_agreement"] for m in metrics]
    assert unseen[0] < 0.65 < 0.95 * BEST < np.mean(unseen[-20:])


def shuffled(seed, gate):
    conductor = learner(seed=seed, shuffle=True, gate=gate, select="random")
    train(conductor, range(100 * seed, 100 * seed + 50))
    weights = conductor.choose(make_scene(900)[0], rng(), explore=False).weights
    return quality(conductor), float(weights.max(axis=1).mean())


def test_a_shuffled_anchor_falls_back_to_equal_weights():
    """With the gate; without it a few noisy groups against D x K parameters collapse the head."""
    gated = [shuffled(seed, gate=True) for seed in range(2)]
    assert np.mean([q for q, _ in gated]) == pytest.approx(EQUAL, abs=0.06)
    assert np.mean([heaviest for _, heaviest in gated]) < 0.5
    bare = [shuffled(seed, gate=False) for seed in range(2)]
    assert min(q for q, _ in bare) < EQUAL - 0.2
    assert np.mean([heaviest for _, heaviest in bare]) > 0.8


def test_a_score_outside_the_span_of_the_objectives_cannot_be_matched():
    conductor = learner()
    metrics = train(
        conductor, range(60), score=lambda seed, s: rng(5000 + seed).normal(size=s.shape)
    )
    assert np.mean([m["anchor_agreement"] for m in metrics]) < 0.1
    assert metrics[-1]["meta_reward"] < 0.5 * BEST  # even on what it was fitted to
    assert metrics[-1]["anchor_trust"] < 0.7


def test_noise_on_the_anchor_is_survived():
    conductor = learner(noise=0.3)
    train(conductor, range(60))
    assert quality(conductor) > EQUAL + 0.7 * (BEST - EQUAL)


def test_stale_replay_is_forgotten_after_its_length():
    """The truth moves from objective a to b: a short replay follows, a long one drags behind."""
    before, after = (((1, 0, 0),) * 2, ((0, 1, 0),) * 2)
    weight_on_b = {}
    for replay in (8, 256):
        conductor = learner(
            replay=replay, gate=False, select="random", config={"learn_temperature": False}
        )
        train(conductor, range(40), truth=before)
        train(conductor, range(40, 65), truth=after)
        assert len(conductor.replay) == min(replay, 65)
        scene, _ = make_scene(900)
        weight_on_b[replay] = conductor.choose(scene, rng(), explore=False).weights[:, 1].mean()
    assert weight_on_b[8] > 0.7 > 0.4 > weight_on_b[256]


def test_biased_and_drifting_scales_of_the_judge_do_not_matter():
    """Only the order inside a group is read: offset and scale of U cancel."""
    plain, biased = learner(), learner()
    train(plain, range(10))
    train(biased, range(10), score=lambda seed, s: 3.0 + seed + 2.0 * (1 + seed) * s)
    np.testing.assert_allclose(
        plain.conductor.weight.detach(), biased.conductor.weight.detach(), atol=1e-3
    )


def test_bias_head_gives_all_prompts_the_same_weights():
    conductor = learner(head="bias")
    train(conductor, range(20))
    assert (conductor.conductor.weight == 0).all() and (conductor.conductor.bias != 0).any()
    weights = conductor.choose(make_scene(900)[0], rng(), explore=False).weights
    np.testing.assert_array_equal(weights, np.tile(weights[0], (B * G, 1)))


def test_ridge_shrinks_the_linear_part():
    norms = {}
    for ridge in (0.0, 0.1):
        conductor = learner(ridge=ridge, config={"learn_temperature": False})
        train(conductor, range(20))
        norms[ridge] = float((conductor.conductor.weight.detach() ** 2).sum())
    assert norms[0.1] < 0.5 * norms[0.0]


def test_under_gdpo_the_learner_sees_z_scores():
    """An objective on a hundred times the scale drowns the others in a sum, not in z-scores."""
    scene, scores = make_scene(0)
    loud = ScalarizerInput(**{**scene.__dict__, "rewards": scene.rewards * [100.0, 1.0, 1.0]})
    for scenes in (scene, loud):
        conductor = learner(aggregation="normalize_then_sum", fraction=1.0)
        choice = conductor.choose(scenes, rng())
        conductor.learn(scenes, choice, np.zeros(B * G), {0: scores[0]})
        np.testing.assert_allclose(conductor.replay[0][1].std(axis=0, ddof=1), 1, atol=1e-2)
