"""Coverage: which groups to judge, and how far groups unlike the judged ones are held back."""

import numpy as np
import pytest
from anchor_world import NAMES, B, D, G, learner, make_scene, rng
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.advantages import grpo_advantages
from workbench.core.group_selection import coverage, most_novel, signal_share, similarity
from workbench.core.scalarizer_input import ScalarizerInput

EAST, NORTH, WEST = [2.0, 0.0], [0.0, 0.5], [-3.0, 0.0]
NORTH_EAST = [1.0, 1.0]


def test_similarity_literal():
    # cosines of north-east (45 degrees): sqrt(1/2) with east and north, negative with west
    got = similarity(np.array([NORTH_EAST, [0.0, 0.0]]), np.array([EAST, NORTH, WEST]))
    np.testing.assert_allclose(got, [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]], atol=1e-9)
    np.testing.assert_allclose(coverage(np.array([NORTH_EAST]), np.array([EAST, NORTH])), [1.0])
    assert coverage(np.array([EAST, WEST]), np.zeros((0, 2))).tolist() == [0.0, 0.0]


def test_the_signal_is_a_mean_shrunk_by_a_prior_worth_one_observation():
    # n / (n + 1) at full caution; 1 - 0.5 / (n + 1) at half
    np.testing.assert_allclose(signal_share(np.array([0.0, 1.0, 3.0]), 1.0), [0, 1 / 2, 3 / 4])
    np.testing.assert_allclose(signal_share(np.array([0.0, 1.0, 3.0]), 0.5), [1 / 2, 3 / 4, 7 / 8])
    np.testing.assert_allclose(signal_share(np.array([0.0, 9.0]), 0.0), [1, 1])


def test_novel_groups_are_chosen_one_after_the_other():
    # judged: east. Least like it: north and west (0 both, north stands first); then west, then
    # north-east (0.5 like east, 0.5 like north), at last east itself
    offered = np.array([EAST, NORTH, NORTH_EAST, WEST])
    assert most_novel(offered, np.array([EAST]), 4).tolist() == [1, 3, 2, 0]
    assert most_novel(offered, np.array([EAST]), 1).tolist() == [1]


@given(st.integers(0, 2**31), st.integers(0, 6))
def test_what_was_judged_is_covered_and_nobody_is_chosen_twice(seed, count):
    draw = np.random.default_rng(seed)
    contexts, judged = draw.normal(size=(6, 4)), draw.normal(size=(3, 4))
    chosen = most_novel(contexts, judged, count)
    assert len(set(chosen.tolist())) == count
    assert (coverage(judged, judged) >= 1 - 1e-9).all()
    shares = signal_share(coverage(contexts, judged), 1.0)
    assert ((shares >= 0) & (shares < 1)).all()
    more = signal_share(coverage(contexts, np.concatenate([judged, contexts])), 1.0)
    assert (more >= shares + 1e-3).all(), "a judged group like it never takes signal away"


def test_it_asks_about_the_kind_that_nobody_judged():
    conductor = learner(config={"normalize_hidden": False})
    scene, _ = make_scene(0)
    hidden = np.zeros((B * G, D))
    hidden[:, 0] = 1.0
    hidden[3 * G : 4 * G] = [0, 1, 0, 0, 0, 0]  # group 3 is of another kind
    scene = ScalarizerInput(**{**scene.__dict__, "hidden": hidden})
    conductor.replay = [(hidden[0], np.zeros((G, len(NAMES))), np.zeros(G))]
    assert conductor.anchor_groups(scene, rng()).tolist() == [3]
    shares = conductor.choose(scene, rng()).mask.reshape(B, G)
    assert shares[3].tolist() == [0.0] * G
    np.testing.assert_allclose(np.delete(shares, 3, axis=0), 0.5)  # one judged group is like them


def test_nothing_is_learned_by_the_policy_before_anything_was_judged():
    scene, scores = make_scene(0)
    conductor = learner()
    assert (conductor.choose(scene, rng()).mask == 0).all()
    assert conductor.choose(scene, rng(), explore=False).mask is None, "probes are left alone"
    conductor.learn(scene, conductor.choose(scene, rng()), np.zeros(B * G), {2: scores[2]})
    mask = conductor.choose(scene, rng()).mask.reshape(B, G)
    assert mask[2] == pytest.approx(0.5) and (np.ptp(mask, axis=1) == 0).all()


@pytest.mark.parametrize("settings", [{"caution": 0.0}, {"source": "ratings"}])
def test_without_caution_and_under_ratings_nothing_is_held_back(settings):
    assert learner(**settings).choose(make_scene(0)[0], rng()).mask is None


def test_the_agreement_that_is_logged_knows_nothing_of_the_caution():
    """mean A_i V_i of the weights used, though the advantages were multiplied by 0."""
    scene, scores = make_scene(0)
    conductor = learner()
    choice = conductor.choose(scene, rng())
    a = grpo_advantages(scene.rewards, choice.weights, G).reshape(B, G)
    metrics = conductor.learn(scene, choice, np.zeros(B * G), {1: scores[1]})
    v = (scores[1] - scores[1].mean()) / (scores[1].std(ddof=1) + 1e-4)
    assert metrics["anchor_agreement"] == pytest.approx((a[1] * v).mean())


def test_judging_what_is_new_covers_the_kinds_sooner_than_chance():
    """Two kinds, one of them in one group of eight: its first judged group comes at once."""
    first = {}
    for select in ("novel", "random"):
        conductor = learner(select=select, config={"normalize_hidden": False})
        for seed in range(40):
            scene, scores = make_scene(seed)
            hidden = np.tile([1.0, 0, 0, 0, 0, 0], (B * G, 1)) + 0.05 * rng(seed).normal(
                size=(B * G, D)
            )
            hidden[:G, :2] = [0.0, 1.0]
            scene = ScalarizerInput(**{**scene.__dict__, "hidden": hidden})
            groups = conductor.anchor_groups(scene, rng(seed))
            choice = conductor.choose(scene, rng(seed))
            conductor.learn(scene, choice, np.zeros(B * G), {int(g): scores[g] for g in groups})
            if 0 in groups:
                first[select] = seed
                break
    assert first["novel"] <= 1 < first["random"]
