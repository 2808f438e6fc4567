"""The weightings of the neighbouring papers against literals."""

import numpy as np
import pytest
from scenes import make_scene, rng

from workbench.config import scalarizers as configs
from workbench.core.advantages import aggregate, group_z_scores
from workbench.core.scalarizers import ScalarizerInput, build_scalarizer

NAMES = ("a", "b", "c")

# -- rivals -------------------------------------------------------------------------------------


def test_dvao_is_grpo_with_another_denominator():
    scene = make_scene(rng().random((8, 3)))
    base = np.array([0.5, 0.3, 0.2])
    dvao = build_scalarizer(configs.Dvao(weights={"a": 5.0, "b": 3.0, "c": 2.0}), NAMES)
    weights = dvao.choose(scene, rng()).weights
    sums = (group_z_scores(scene.rewards, 4) * weights).sum(axis=1)
    for rows in (slice(0, 4), slice(4, 8)):
        r = scene.rewards[rows]
        sigma = r.std(axis=0, ddof=1)
        expected = ((r - r.mean(axis=0)) @ base) / (sigma @ base)
        np.testing.assert_allclose(sums[rows], expected, atol=2e-3)  # epsilon 1e-4 on sigma 0.3
        np.testing.assert_allclose(weights[rows], np.tile(base * sigma / (sigma @ base), (4, 1)))


def test_dvao_keeps_base_weights_on_a_flat_group():
    scene = make_scene(np.full((4, 3), 0.1))
    weights = build_scalarizer(configs.Dvao(weights={"a": 1.0}), NAMES).choose(scene, rng()).weights
    np.testing.assert_array_equal(weights, np.tile([1.0, 0.0, 0.0], (4, 1)))


def test_gd2po_masks_conflicts_and_scales_the_rest_by_what_was_kept():
    # z of (0,1,0,1) is (-,+,-,+) and of (0,0,1,1) is (-,-,+,+): rows 1 and 2 conflict fully (s = 0)
    rewards = np.array([[0, 0], [1, 0], [0, 1], [1, 1.0], [0, 0], [0, 0], [1, 1], [1, 1]])
    gd2po = build_scalarizer(configs.Gd2po(), ("a", "b"))
    choice = gd2po.choose(make_scene(rewards), rng())
    np.testing.assert_array_equal(choice.mask, [0.5, 0, 0, 0.5, 1, 1, 1, 1])
    np.testing.assert_array_equal(choice.weights, np.full((8, 2), 0.5))
    _, advantages = aggregate(rewards, choice.weights, 4, "normalize_then_sum", mask=choice.mask)
    assert (advantages[[1, 2]] == 0).all()
    z = 0.5 / (np.sqrt(1 / 3) + 1e-4)  # group of four, two ones: deviation sqrt(4 * 0.25 / 3)
    left = np.array([-0.5 * z, 0.5 * z, -z, -z, z, z])
    expected = left / (left.std(ddof=1) + 1e-4)
    np.testing.assert_allclose(advantages[[0, 3, 4, 5, 6, 7]], expected, rtol=1e-12)


def test_gd2po_threshold_tolerates_mild_disagreement():
    # two objectives, weights 3:1, opposite z-scores: |s| = (3 - 1) / (3 + 1) = 0.5 on every row
    rewards = np.array([[0.0, 1.0], [1.0, 0.0]])
    weights = {"a": 3.0, "b": 1.0}
    for threshold, masked in [(0.4, False), (0.6, True), (1.0, True)]:
        config = configs.Gd2po(weights=weights, threshold=threshold)
        mask = build_scalarizer(config, ("a", "b")).choose(make_scene(rewards, g=2), rng()).mask
        assert (mask == 0).all() == masked


def test_ctwa_raises_what_lags_behind_its_covariance():
    rewards = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    scene = make_scene(rewards, g=2)
    ctwa = build_scalarizer(configs.Ctwa(target=0.1, rate=0.5, smoothing=0.0), ("a", "b"))
    choice = ctwa.choose(scene, rng())
    # advantages follow a: covariance +0.25 with a, -0.25 with b; deficit of b is 0.1 + 0.25
    ctwa.learn(scene, choice, np.array([-0.5, 0.5, -0.5, 0.5]), {})
    odds = np.exp(0.5 * 0.35)
    np.testing.assert_allclose(
        ctwa.choose(scene, rng()).weights[0], [1 / (1 + odds), odds / (1 + odds)], rtol=1e-12
    )


def test_ctwas_defaults_are_its_authors_and_what_is_good_enough_gains_nothing():
    names = ("a", "b", "c")
    ctwa = build_scalarizer(configs.Ctwa(smoothing=0.0), names)
    np.testing.assert_array_equal(ctwa.targets, [0.1, 0.05, 0.05])
    np.testing.assert_array_equal(ctwa.gates, [1.0, 0.95, 0.95])
    # advantages are 0, so every covariance is: deficits are the targets, but c stands at its gate
    rewards = np.array([[0.0, 0.0, 0.96], [1.0, 1.0, 0.96]])
    scene = make_scene(rewards, g=2)
    ctwa.learn(scene, ctwa.choose(scene, rng()), np.zeros(2), {})
    np.testing.assert_allclose(ctwa.log_weights, [0.02 * 0.1, 0.02 * 0.05, 0.0])


def test_sa_mrpo_fades_with_saturation():
    # levels 0.5, 0.9 and no declared bound: weights 0.5, 0.1, 1 at gamma 1
    scene = make_scene(np.tile([0.5, 0.9, 0.9], (4, 1)))
    scene = ScalarizerInput(
        **{**scene.__dict__, "lower": np.array([0, 0, -np.inf]), "upper": np.array([1, 1, np.inf])}
    )
    for gamma, odds in [(1.0, [0.5, 0.1, 1.0]), (2.0, [0.25, 0.01, 1.0]), (0.0, [1.0, 1.0, 1.0])]:
        weights = build_scalarizer(configs.SaMrpo(gamma=gamma), NAMES).choose(scene, rng()).weights
        np.testing.assert_allclose(weights[0], np.array(odds) / sum(odds), rtol=1e-12)


def test_hypervolume_pulls_towards_the_objective_that_is_furthest_behind():
    scene = make_scene(np.tile([0.2, 0.8], (4, 1)))
    guided = build_scalarizer(configs.Hypervolume(rate=1.0, smoothing=0.0), ("a", "b"))
    metrics = guided.learn(scene, guided.choose(scene, rng()), np.zeros(4), {})
    assert metrics["hypervolume"] == pytest.approx(0.16)
    # shares of 1/0.2 and 1/0.8 are 0.8 and 0.2; log-weights +0.3 and -0.3
    odds = np.exp([0.3, -0.3])
    np.testing.assert_allclose(
        guided.choose(scene, rng()).weights[0], odds / odds.sum(), rtol=1e-12
    )
