"""Weights of every scalarizer without a network, against literals and properties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scenes import make_scene, rng

from workbench.config import scalarizers as configs
from workbench.core.advantages import aggregate, gdpo_advantages
from workbench.core.scalarizer_input import Stateless, Weighting, named_weights
from workbench.core.scalarizers import SCALARIZERS, build_scalarizer, saw_weights

NAN = float("nan")
NAMES = ("a", "b", "c")


# -- SAW ----------------------------------------------------------------------------------------


def test_saw_literal():
    # a: mean 2, std sqrt(2/2)=1 -> cv 1/2;  b: mean 3, std 3 -> cv 1;  c: mean 1, std 1/2 -> cv 1/2
    rewards = np.array([[1.0, 0.0, 0.5], [2.0, 3.0, 1.0], [3.0, 6.0, 1.5]])
    np.testing.assert_allclose(saw_weights(rewards), [0.25, 0.5, 0.25], atol=1e-8)


def test_saw_subtracts_the_declared_bound():
    # in [-3, 3]: values -1, 1 have std sqrt(2) and mean 0; 3 above the bound -> cv sqrt(2)/3
    # in [0, 1]: values 0, 1 have std 1/sqrt(2) and mean 1/2                  -> cv sqrt(2)
    rewards = np.array([[-1.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(saw_weights(rewards, [-3.0, 0.0]), [0.25, 0.75], atol=1e-7)


def test_saw_reads_a_missing_bound_as_zero():
    rewards = rng().random((16, 3))
    np.testing.assert_array_equal(saw_weights(rewards, [-np.inf, 0.0, NAN]), saw_weights(rewards))


def test_saw_leaves_nan_out():
    rewards = np.array([[1.0, 0.0], [3.0, NAN], [NAN, 2.0], [NAN, 4.0]])
    # a: 1, 3 -> sqrt(2)/2;  b: 0, 2, 4 -> 2/2
    expected = np.array([np.sqrt(2) / 2, 1.0])
    np.testing.assert_allclose(saw_weights(rewards), expected / expected.sum(), atol=1e-8)


def test_saw_constant_among_varying_gets_nothing():
    rewards = np.array([[0.5, 0.3, NAN], [0.7, 0.3, NAN]])
    np.testing.assert_array_equal(saw_weights(rewards), [1.0, 0.0, 0.0])


@pytest.mark.parametrize("value", [0.0, 0.3, -2.0, 1e6])
def test_saw_all_flat_is_equal(value):
    np.testing.assert_array_equal(saw_weights(np.full((8, 3), value)), np.full(3, 1 / 3))


def test_saw_rounding_over_a_mean_near_its_bound_is_not_variation():
    # the same number reached by different sums, in float32: noise of 1e-8 around the bound
    noise = np.float32(0.1) + np.float32(0.2) - np.float32(0.3)
    rewards = np.array([[noise, 0.2], [0.0, 0.4], [noise, 0.6], [0.0, 0.8]])
    np.testing.assert_array_equal(saw_weights(rewards), [0.0, 1.0])
    at_bound = np.array([[0.1, 0.2], [0.1 + 1e-9, 0.4], [0.1, 0.6], [0.1 - 1e-9, 0.8]])
    np.testing.assert_array_equal(saw_weights(at_bound, [0.1, 0.0]), [0.0, 1.0])


def test_saw_takes_tensors():
    rewards = rng().random((16, 3))
    got = saw_weights(torch.tensor(rewards), lower=torch.tensor([-1.0, 0.0, 0.5]))
    np.testing.assert_array_equal(got.numpy(), saw_weights(rewards, np.array([-1.0, 0.0, 0.5])))


def test_saw_refuses_bounds_of_another_length():
    with pytest.raises(ValueError, match=r"lower: shape \(2,\) is not \(K,\) = \(3,\)"):
        saw_weights(np.ones((4, 3)), [0.0, 0.0])


@given(
    arrays(np.float64, (12, 3), elements=st.integers(0, 16).map(lambda i: i / 16)),
    st.permutations(range(3)),
    st.integers(1, 50),
)
@settings(deadline=None)
def test_saw_properties(rewards, columns, factor):
    weights = saw_weights(rewards)
    assert (weights >= 0).all() and abs(weights.sum() - 1) < 1e-12
    np.testing.assert_allclose(saw_weights(rewards[:, columns]), weights[columns], atol=1e-12)
    np.testing.assert_allclose(saw_weights(rewards[::-1]), weights, atol=1e-12)  # row order
    scaled = rewards * [factor, 1, 1]  # the coefficient of variation has no unit
    np.testing.assert_allclose(saw_weights(scaled), weights, atol=1e-5)


def test_saw_shift_is_not_an_invariance_but_shift_with_the_bound_is():
    rewards = rng().random((16, 3))
    moved, bound = rewards + [5, 0, 0], np.array([5.0, 0, 0])
    assert np.abs(saw_weights(moved) - saw_weights(rewards)).max() > 0.1
    np.testing.assert_allclose(saw_weights(moved, bound), saw_weights(rewards), atol=1e-9)


def test_saw_under_gdpo_the_factor_k_changes_advantages_only_through_epsilon():
    rewards = rng().random((32, 3))
    weights = np.tile(saw_weights(rewards), (32, 1))
    np.testing.assert_allclose(
        gdpo_advantages(rewards, weights * 3, 8), gdpo_advantages(rewards, weights, 8), atol=2e-3
    )


def test_saw_scalarizer_uses_unscaled_rewards_and_priorities():
    raw = np.array([[1.0, 0.0, 0.5], [2.0, 3.0, 1.0], [3.0, 6.0, 1.5], [2.0, 3.0, 1.0]])
    saw = build_scalarizer(configs.Saw(priorities={"a": 1.0, "b": 3.0}), NAMES)
    choice = saw.choose(make_scene(np.zeros((4, 3)), raw=raw), rng())
    cv = raw.std(axis=0, ddof=1) / raw.mean(axis=0)
    expected = cv * [1, 3, 0] / (cv * [1, 3, 0]).sum()
    np.testing.assert_allclose(choice.weights, np.tile(expected, (4, 1)), atol=1e-8)


# -- fixed and random ---------------------------------------------------------------------------


def test_static_normalises_and_defaults_to_equal():
    scene = make_scene(np.zeros((4, 3)))
    choice = build_scalarizer(configs.Static(weights={"a": 3.0, "c": 1.0}), NAMES).choose(
        scene, rng()
    )
    np.testing.assert_array_equal(choice.weights, np.tile([0.75, 0.0, 0.25], (4, 1)))
    equal = build_scalarizer(configs.Static(), NAMES).choose(scene, rng())
    np.testing.assert_allclose(equal.weights, 1 / 3)


def test_single_and_oracle():
    scene = make_scene(np.zeros((4, 3)), g=2, kinds=["x", "x", "y", "y"])
    single = build_scalarizer(configs.Single(objective="b"), NAMES)
    np.testing.assert_array_equal(single.choose(scene, rng()).weights, np.tile([0, 1, 0], (4, 1)))
    oracle = build_scalarizer(configs.Oracle(by_kind={"y": {"a": 1.0, "b": 1.0}}), NAMES)
    np.testing.assert_allclose(
        oracle.choose(scene, rng()).weights, [[1 / 3] * 3] * 2 + [[0.5, 0.5, 0.0]] * 2
    )


@pytest.mark.parametrize(("per", "distinct"), [("completion", 8), ("group", 2), ("step", 1)])
def test_random_shares_one_draw(per, distinct):
    scene = make_scene(np.zeros((8, 3)))
    random = build_scalarizer(configs.Random(per=per), NAMES)
    weights = random.choose(scene, rng()).weights
    assert len(np.unique(weights, axis=0)) == distinct
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_array_equal(weights, random.choose(scene, rng()).weights)  # same generator
    np.testing.assert_allclose(random.choose(scene, rng(), explore=False).weights, 1 / 3)
    if per == "group":
        np.testing.assert_array_equal(weights[:4], np.tile(weights[0], (4, 1)))


# -- all of them --------------------------------------------------------------------------------

ALL = {
    "static": configs.Static(),
    "single": configs.Single(objective="b"),
    "random": configs.Random(),
    "oracle": configs.Oracle(by_kind={"x": {"a": 1.0}}),
    "saw": configs.Saw(),
    "dvao": configs.Dvao(),
    "gd2po": configs.Gd2po(),
    "ctwa": configs.Ctwa(),
    "sa_mrpo": configs.SaMrpo(),
    "hypervolume": configs.Hypervolume(),
}


def test_every_configuration_has_its_mathematics():
    assert set(SCALARIZERS) == set(configs.SCALARIZER_CONFIGS) == {*ALL, "conductor", "custom"}


class Favourite(Stateless):
    """A scalarizer from outside the package, as `name: custom` finds it."""

    def __init__(self, objectives, size=1.0):
        self.weights = np.full(len(objectives), (1 - size) / len(objectives))
        self.weights[0] += size

    def choose(self, scene, rng, explore=True):
        return Weighting(np.tile(self.weights, (len(scene.rewards), 1)))


def test_a_class_from_outside_is_built_by_its_name_and_refused_when_it_lacks_something():
    here = f"{__name__}:Favourite"
    built = build_scalarizer(configs.Custom(here, params={"size": 0.7}), NAMES)
    weights = built.choose(make_scene(rng().random((4, 3))), rng()).weights
    np.testing.assert_allclose(weights, np.tile([0.8, 0.1, 0.1], (4, 1)))
    for function, message in (
        ("Favourite", "must be package.module:Class"),
        ("nowhere:Favourite", "'nowhere:Favourite' cannot be imported: No module named 'nowhere'"),
        ("math:sqrt", "cannot be built from the objectives and params"),
        ("builtins:list", "lacks .*choose.*subclass .*Stateless and define choose"),
    ):
        with pytest.raises(ValueError, match=message):
            build_scalarizer(configs.Custom(function), NAMES)


REWARD = st.one_of(st.integers(0, 8).map(lambda i: i / 8), st.just(NAN))


@pytest.mark.parametrize("name", sorted(ALL))
@given(rewards=arrays(np.float64, (8, 3), elements=REWARD))
@settings(deadline=None, max_examples=25)
def test_weights_are_on_the_simplex_and_memory_is_restored_exactly(name, rewards):
    scene = make_scene(rewards)
    first, second = build_scalarizer(ALL[name], NAMES), build_scalarizer(ALL[name], NAMES)
    for _ in range(3):
        choice = first.choose(scene, rng())
        assert choice.weights.shape == (8, 3) and (choice.weights >= 0).all()
        np.testing.assert_allclose(choice.weights.sum(axis=1), 1, atol=1e-12)
        _, advantages = aggregate(rewards, choice.weights, 4, mask=choice.mask)
        first.learn(scene, choice, advantages, {})
        second.load(first.state())
        assert first.anchor_groups(scene, rng()).size == 0
    after = [s.choose(scene, rng()).weights for s in (first, second)]
    np.testing.assert_array_equal(*after)


@pytest.mark.parametrize("name", ["dvao", "gd2po", "saw", "sa_mrpo"])
def test_order_of_groups_and_objectives_does_not_matter(name):
    rewards = rng().random((12, 3))
    scalarizer = build_scalarizer(ALL[name], NAMES)
    before = scalarizer.choose(make_scene(rewards), rng())
    rows = np.r_[8:12, 0:4, 4:8]
    after = scalarizer.choose(make_scene(rewards[rows][:, [2, 0, 1]]), rng())
    np.testing.assert_allclose(after.weights, before.weights[rows][:, [2, 0, 1]], atol=1e-12)
    if before.mask is not None:
        np.testing.assert_array_equal(after.mask, before.mask[rows])


def test_unknown_objectives_are_refused():
    with pytest.raises(ValueError, match=r"\['z'\] unknown"):
        build_scalarizer(configs.Static(weights={"z": 1.0}), NAMES)
    with pytest.raises(ValueError, match="hidden_size: missing"):
        build_scalarizer(configs.Conductor(), NAMES)


def test_named_weights():
    np.testing.assert_array_equal(named_weights({"b": 2.0}, NAMES), [0, 1, 0])
