"""The Kernel Conductor: what it learns, when, how far it is believed, exact resume."""

import numpy as np
import pytest
from anchor_world import BEST, EQUAL, NAMES, B, D, G, K, make_scene, quality, rng

from workbench.config.scalarizers import AnchorConfig
from workbench.config.scalarizers import Conductor as Config
from workbench.core.advantages import aggregate
from workbench.core.alignment import normalize_scores
from workbench.core.diagnostics import audit
from workbench.core.emphasis import weights_from_state
from workbench.core.scalarizers import ScalarizerInput, build_scalarizer


def learner(seed=0, aggregation="sum_then_normalize", planned=None, **anchor):
    anchored = AnchorConfig(**({"source": "judge"} | anchor))
    config = Config(meta_reward="anchor", head="kernel", anchor=anchored)
    return build_scalarizer(config, NAMES, D, G, seed, aggregation, planned)


def one_step(conductor, seed, score=lambda seed, scores: scores):
    """Observe, choose, learn, as a run does; (scene, choice, metrics, groups that were judged)."""
    scene, scores = make_scene(seed)
    asked = []

    def ask(groups):
        asked.extend(int(g) for g in groups)
        return {int(g): score(seed, scores)[g] for g in groups}

    conductor.observe(scene, rng(1000 + seed), ask)
    choice = conductor.choose(scene, rng(seed))
    return scene, choice, conductor.learn(scene, choice, np.zeros(B * G), {}), asked


def train(conductor, seeds, **options):
    return [one_step(conductor, seed, **options)[2] for seed in seeds]


# -- what it learns -------------------------------------------------------------------------------


def test_it_finds_each_kinds_own_weights_from_one_group_in_eight():
    conductor = learner()
    metrics = train(conductor, range(30))
    assert quality(conductor) > EQUAL + 0.9 * (BEST - EQUAL)
    assert metrics[-1]["anchor_trust"] > 0.95 and metrics[-1]["meta_reward"] > 0.9 * BEST
    assert metrics[-1]["weights_variance"] < 0.5


def test_weights_are_signed():
    """A kind that wants less of the first objective gets a negative weight on it."""
    conductor = learner()
    train(conductor, range(30), score=lambda seed, s: -s)
    weights = conductor.choose(make_scene(900)[0], rng(), explore=False).weights
    assert weights.min() < -0.3
    np.testing.assert_allclose(np.abs(weights).sum(axis=1), 1.0)
    assert quality(conductor) < -0.8 * BEST


def test_it_learns_from_a_steps_judged_groups_before_it_weighs_that_step():
    """After a single group of a constant context the weights of the same step follow it."""
    conductor = learner(fraction=1.0, gate=False, judge_rows=False, caution=0.0)
    scene, choice, _, asked = one_step(conductor, 0)
    assert asked == list(range(B))
    scores = make_scene(0)[1]
    got = aggregate(scene.rewards, choice.weights, G)[1].reshape(B, G)
    found = [float((got[b] * normalize_scores(scores[b])).mean()) for b in range(B)]
    assert np.mean(found) > 0.8 * BEST  # equal weights: about half


@pytest.mark.parametrize("seed", range(3))
def test_a_shuffled_score_falls_back_to_equal_weights(seed):
    conductor = learner(seed=seed, shuffle=True)
    metrics = train(conductor, range(100 * seed, 100 * seed + 60))
    assert metrics[-1]["anchor_trust"] < 0.25
    assert quality(conductor) == pytest.approx(EQUAL, abs=0.06)


def test_noise_is_survived():
    conductor = learner(noise=1.0)  # as large as the signal
    train(conductor, range(60))
    assert quality(conductor) > EQUAL + 0.6 * (BEST - EQUAL)


def test_only_the_order_inside_a_group_is_read():
    plain, moved = learner(), learner()
    train(plain, range(8))
    train(moved, range(8), score=lambda seed, s: 3.0 + seed + 2.0 * (1 + seed) * s)
    scene = make_scene(900)[0]
    np.testing.assert_allclose(
        plain.choose(scene, rng(), explore=False).weights,
        moved.choose(scene, rng(), explore=False).weights,
        atol=1e-3,
    )


def test_one_group_in_64_judged_at_once_helps():
    conductor = learner(fraction=1 / 64, first=8, planned=64 * 8)
    train(conductor, range(3))
    assert len(conductor.judged) == 8  # and none since: the budget is spent
    assert quality(conductor) > EQUAL + 0.3 * (BEST - EQUAL)


# -- what is judged, and what judged groups do ----------------------------------------------------


def test_the_first_groups_that_are_asked_about_differ():
    """Six groups of one kind and two of another, rewards alike: one of each is judged."""
    scene, scores = make_scene(0)
    kinds = np.array([0] * 6 + [1] * 2)
    hidden = np.repeat(np.eye(D)[kinds], G, axis=0)
    rewards = np.tile(scene.rewards[:G], (B, 1))
    scene = ScalarizerInput(**{**scene.__dict__, "hidden": hidden, "rewards": rewards})
    for seed in range(5):
        asked = []
        conductor = learner(fraction=0.25)
        conductor.observe(scene, rng(seed), lambda g, asked=asked: asked.extend(g.tolist()) or {})
        assert sorted(kinds[asked]) == [0, 1]


def test_a_flat_group_is_never_worth_a_judge_where_scores_are_asked_about():
    scene, scores = make_scene(0)
    rewards = scene.rewards.copy()
    rewards[G:] = 1.0  # all but the first group are flat
    scene = ScalarizerInput(**{**scene.__dict__, "rewards": rewards})
    asked = []
    conductor = learner(select="uncertain")
    conductor.observe(scene, rng(), lambda g: asked.extend(g.tolist()) or {0: scores[0]})
    assert asked == [0]


def test_judged_groups_are_trained_by_the_score_and_the_log_says_so():
    conductor = learner(fraction=0.25, gate=False, caution=0.5)
    scene, choice, _, asked = one_step(conductor, 0)
    judged = np.isin(np.repeat(np.arange(B), G), asked)
    np.testing.assert_array_equal(choice.trusted_share, judged.astype(float))
    np.testing.assert_array_equal(np.isnan(choice.trusted), ~judged)
    parts = choice.weights, G, "sum_then_normalize", "group", None, choice.mask
    both = *parts, choice.trusted, choice.trusted_share
    advantages = aggregate(scene.rewards, *both)[1]
    expected = [normalize_scores(row) for row in make_scene(0)[1][asked]]
    np.testing.assert_allclose(advantages[judged].reshape(-1, G), expected, atol=1e-12)
    weighed = aggregate(scene.rewards, *parts)[1]
    np.testing.assert_array_equal(advantages[~judged], weighed[~judged])
    logged = scene.rewards, choice.weights, advantages, *parts[1:]
    assert audit(*logged, choice.trusted, choice.trusted_share) == 0.0
    assert audit(*logged) > 0.1  # without the share the log does not explain the advantages


def test_a_group_without_any_answer_is_trained_by_weights():
    conductor = learner(fraction=0.25, gate=False)
    silent = one_step(conductor, 0, score=lambda seed, s: np.full_like(s, np.nan))[1]
    assert (silent.trusted_share == 0).all()
    assert conductor.spent == 0


def test_caution_holds_back_what_is_unlike_everything_judged():
    conductor = learner(gate=False)
    first = one_step(conductor, 0)[1].mask
    train(conductor, range(1, 30))
    last = conductor.choose(make_scene(0)[0], rng()).mask
    assert first.min() < 0.1 and last.mean() > 0.6 > 0.4 < last.min()
    assert learner(caution=0.0).choose(make_scene(0)[0], rng()).mask is None


def test_the_window_bounds_what_is_kept():
    conductor = learner(fraction=0.5, replay=10)
    train(conductor, range(6))
    assert len(conductor.judged) == 10
    assert conductor.posterior.spread.shape[0] <= 10 * K


# -- scale, missing objectives, refusals ----------------------------------------------------------


def test_weights_act_on_the_rewards_as_logged():
    """An objective in other units gets another weight and the same say."""
    scene, scores = make_scene(0)
    factors = np.array([100.0, 1.0, 0.01])
    choices = []
    for rewards in (scene.rewards, scene.rewards * factors):
        conductor = learner(fraction=1.0, gate=False, judge_rows=False, caution=0.0)
        one = ScalarizerInput(**{**scene.__dict__, "rewards": rewards})
        conductor.observe(one, rng(), lambda groups: {int(g): scores[g] for g in groups})
        weights = conductor.choose(one, rng()).weights
        choices.append(aggregate(rewards, weights, G, "sum_then_normalize", "none")[1])
    ratio = choices[0].reshape(B, G).std(axis=1) / choices[1].reshape(B, G).std(axis=1)
    np.testing.assert_allclose(
        choices[0].reshape(B, G), choices[1].reshape(B, G) * ratio[:, None], atol=1e-9
    )


def test_an_objective_that_does_not_apply_is_left_out():
    conductor = learner(fraction=1.0, gate=False)
    scene, scores = make_scene(0)
    rewards = scene.rewards.copy()
    rewards[:, 2] = np.nan
    scene = ScalarizerInput(**{**scene.__dict__, "rewards": rewards})
    conductor.observe(scene, rng(), lambda groups: {int(g): scores[g] for g in groups})
    weights = conductor.choose(scene, rng()).weights
    assert (weights[:, 2] == 0).all() and np.isfinite(weights).all()


def test_a_nan_context_and_a_wrong_score_are_refused():
    scene, scores = make_scene(0)
    bad = ScalarizerInput(**{**scene.__dict__, "hidden": np.full_like(scene.hidden, np.nan)})
    with pytest.raises(ValueError, match="diverged"):
        learner().observe(bad, rng(), lambda groups: {})
    with pytest.raises(ValueError, match=r"anchors\[0\]: shape \(3,\) is not \(G,\) = \(4,\)"):
        learner().observe(scene, rng(), lambda groups: {0: scores[0][:3]})
    with pytest.raises(ValueError, match="group 99 is not among 0..7"):
        learner().observe(scene, rng(), lambda groups: {99: scores[0]})
    with pytest.raises(ValueError, match="'kernel' learns from trusted scores"):
        Config(head="kernel")


def test_ratings_are_recalled_and_not_asked_for():
    conductor = learner(source="ratings")
    asked = one_step(conductor, 0)[3]
    assert asked == [] and conductor.choose(make_scene(0)[0], rng()).mask is None
    scenes = [make_scene(seed) for seed in range(5)]
    keys = [f"{seed}/{b}" for seed in range(5) for b in range(B)]
    contexts = np.concatenate([s.hidden.reshape(B, G, D).mean(axis=1) for s, _ in scenes])
    z = np.concatenate([s.rewards.reshape(B, G, K) for s, _ in scenes])
    conductor.recall(keys, contexts, z, np.concatenate([u for _, u in scenes]))
    one_step(conductor, 1)
    assert quality(conductor) > EQUAL + 0.8 * (BEST - EQUAL)
    assert conductor.spent == 5 * B * G
    conductor.recall(keys, contexts, z, np.concatenate([u for _, u in scenes]))
    assert conductor.spent == 5 * B * G  # said once, counted once


# -- state ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [0, 1, 7])
def test_resume_is_exact_bit_for_bit(stop):
    def fresh():
        return learner(fraction=1 / 16, noise=0.2, shuffle=True, replay=3)

    straight = fresh()
    train(straight, range(12))
    first, resumed = fresh(), fresh()
    train(first, range(stop))
    resumed.load({key: value.copy() for key, value in first.state().items()})
    train(resumed, range(stop, 12))
    expected, got = straight.state(), resumed.state()
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(value, got[key], err_msg=key)


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
def test_saved_state_answers_what_if_without_training(aggregation):
    conductor = learner(aggregation=aggregation)
    train(conductor, range(6))
    assert 0 < conductor.trust < 1
    scene, _ = make_scene(9)
    expected = conductor.choose(scene, rng(), explore=False).weights
    groups = np.repeat(np.arange(B), G)
    got = weights_from_state(conductor.state(), scene.hidden, groups)
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    with pytest.raises(ValueError, match="is not \\(N, D\\) with D = 6"):
        weights_from_state(conductor.state(), scene.hidden[:, :3], groups)


def test_a_state_of_another_head_or_shape_is_refused():
    linear = build_scalarizer(Config(), NAMES, D, G)
    with pytest.raises(ValueError, match="linear head, this run a kernel"):
        learner().load(linear.state())
    other = build_scalarizer(learner().config, NAMES[:2], D, G)
    with pytest.raises(ValueError, match=r"\(4, 3\).* are not \(4, 2\)"):
        other.load(learner().state())
