"""Which changes of the rewards each method feels and which it does not, stated and held.

=====================================  ======  ======  ======
change of the rewards of one batch     GRPO    GDPO    SAW's weights
=====================================  ======  ======  ======
order of the groups                    none    none    none
order of rows inside a group           none    none    none
order of the objectives                none    none    none
one objective + a constant             none*   none    changes (unless its bound moves along)
every objective * one factor           ε       ε       none
one objective * a factor               changes ε       none
one group * a factor                   ε**     ε       changes
every row there twice                  n - 1†  n - 1†  n - 1, the same for all: none
sign of every objective                flips   flips   not defined (below the bound)
=====================================  ======  ======  ======

none: moves with the rows; ε: only through the ε = 1e-4 in the denominator. * where a group shares
its weights. ** under ``scale_rewards="group"``; under "batch" it changes. † all advantages
grow by one factor, since the sample deviation divides by n - 1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scenes import make_scene, rng

from workbench.config import scalarizers as configs
from workbench.core.advantages import aggregate, gdpo_advantages, grpo_advantages
from workbench.core.scalarizers import build_scalarizer, saw_weights

METHODS = {"GRPO": grpo_advantages, "GDPO": gdpo_advantages}
NAMES = ("a", "b", "c")


@st.composite
def batches(draw, shared=True):
    """Rewards with a clear spread in every group and objective, and weights: (N, K) twice, G."""
    b, g, k = draw(st.integers(1, 3)), draw(st.integers(2, 4)), 3
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    steps = np.argsort(generator.random((b, g, k)), axis=1)  # all different inside a group
    rewards = (steps + generator.random((b, g, k)) / 4 + 0.5).reshape(b * g, k)
    weights = generator.dirichlet(np.ones(k), b if shared else b * g)
    return rewards, np.repeat(weights, g, axis=0) if shared else weights, g


def close(found, expected, atol=1e-9):
    np.testing.assert_allclose(found, expected, atol=atol)


@pytest.mark.parametrize("name", METHODS)
@given(batches(shared=False), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_rows_groups_and_objectives_have_no_order(name, batch, random):
    rewards, weights, g = batch
    n, k = rewards.shape
    groups = random.sample(range(n // g), n // g)
    rows = np.concatenate([g * i + np.array(random.sample(range(g), g)) for i in groups])
    columns = random.sample(range(k), k)
    method = METHODS[name]
    after = method(rewards[rows][:, columns], weights[rows][:, columns], g)
    close(after, method(rewards, weights, g)[rows])


@given(batches(), st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_a_constant_on_one_objective(batch, shift):
    rewards, weights, g = batch
    moved = rewards + [0, shift, 0]
    for method in METHODS.values():
        close(method(moved, weights, g), method(rewards, weights, g), 1e-6)
    bound = np.array([0.0, shift, 0.0])
    close(saw_weights(moved, bound), saw_weights(rewards), 1e-6)
    if shift > 0.5:
        assert np.abs(saw_weights(moved) - saw_weights(rewards)).max() > 1e-3


@given(batches(shared=False), st.floats(0.5, 4))
@settings(max_examples=20, deadline=None)
def test_a_constant_reaches_grpo_through_weights_of_ones_own(batch, shift):
    """Rows of one group weighed by different yardsticks: the level of an objective enters."""
    rewards, weights, g = batch
    moved = rewards + [shift, 0, 0]
    close(gdpo_advantages(moved, weights, g), gdpo_advantages(rewards, weights, g), 1e-6)
    spread = np.ptp(weights[:, 0].reshape(-1, g), axis=1).max()
    difference = np.abs(grpo_advantages(moved, weights, g) - grpo_advantages(rewards, weights, g))
    if g > 2 and spread > 0.3 and shift > 2:
        assert difference.max() > 1e-3


@pytest.mark.parametrize("name", METHODS)
@given(batches(), st.floats(0.5, 8))
@settings(max_examples=20, deadline=None)
def test_one_factor_on_everything_matters_only_through_epsilon(name, batch, factor):
    rewards, weights, g = batch
    scalars = (rewards * weights).sum(axis=1).reshape(-1, g)
    # in a pair the advantage is +-1/sqrt(2) at any scale; where R is nearly flat epsilon decides
    clear = np.repeat(np.ptp(scalars, axis=1) > 0.2, g) if name == "GRPO" else slice(None)
    before = METHODS[name](rewards, weights, g)[clear]
    close(METHODS[name](factor * rewards, weights, g)[clear], before, 5e-3)
    close(saw_weights(factor * rewards), saw_weights(rewards), 1e-6)


@given(batches(), st.floats(2, 8))
@settings(max_examples=20, deadline=None)
def test_one_factor_on_one_objective_is_felt_by_grpo_alone(batch, factor):
    rewards, weights, g = batch
    scaled = rewards * [factor, 1, 1]
    close(gdpo_advantages(scaled, weights, g), gdpo_advantages(rewards, weights, g), 5e-3)
    close(saw_weights(scaled), saw_weights(rewards), 1e-6)


def test_grpo_feels_the_scale_of_one_objective():
    # R = 0.5 (a + b): (0.5, 0.5, 0) before; a twice as large gives (1, 0.5, 0), another order
    rewards = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    half = np.full((3, 2), 0.5)
    before = grpo_advantages(rewards, half, 3)
    after = grpo_advantages(rewards * [2, 1], half, 3)
    assert before[0] == before[1] and after[0] > after[1] + 0.9


@given(batches(), st.floats(2, 8))
@settings(max_examples=20, deadline=None)
def test_a_factor_on_one_group(batch, factor):
    """Every group is its own yardstick, unless the batch's deviation divides."""
    rewards, weights, g = batch
    scaled = rewards.copy()
    scaled[:g] *= factor
    clear = np.ptp((rewards * weights).sum(axis=1)[:g]) > 0.2
    if clear:
        close(grpo_advantages(scaled, weights, g), grpo_advantages(rewards, weights, g), 5e-3)
    close(gdpo_advantages(scaled, weights, g), gdpo_advantages(rewards, weights, g), 5e-3)
    if len(rewards) > g and clear:
        batch_wide = grpo_advantages(scaled, weights, g, "batch")
        difference = np.abs(batch_wide - grpo_advantages(rewards, weights, g, "batch"))
        assert difference.max() > 1e-3


@pytest.mark.parametrize("name", METHODS)
@given(batches())
@settings(max_examples=20, deadline=None)
def test_the_opposite_rewards_give_the_opposite_advantages(name, batch):
    rewards, weights, g = batch
    close(METHODS[name](-rewards, weights, g), -METHODS[name](rewards, weights, g), 1e-7)


@pytest.mark.parametrize("name", METHODS)
@given(batches())
@settings(max_examples=20, deadline=None)
def test_rows_that_all_appear_twice_keep_their_advantage_but_for_n_minus_1(name, batch):
    rewards, weights, g = batch
    twice = np.concatenate([np.r_[g * i : g * i + g, g * i : g * i + g]
                            for i in range(len(rewards) // g)])  # fmt: skip
    after = METHODS[name](rewards[twice], weights[twice], 2 * g)
    before = METHODS[name](rewards, weights, g)[twice]
    # the deviation of n values and of the same values twice: sqrt((2n - 2) / (2n - 1)) apart
    ratio = after[np.abs(before) > 0.05] / before[np.abs(before) > 0.05]
    if name == "GRPO":
        close(ratio, np.sqrt((2 * g - 1) / (2 * g) / ((g - 1) / g)), 2e-2)
    else:
        assert len(ratio) == 0 or np.ptp(ratio) < 2e-2


@given(batches(), st.floats(2, 8))
@settings(max_examples=20, deadline=None)
def test_saw_looks_at_the_whole_batch(batch, factor):
    rewards, _, g = batch
    close(saw_weights(np.concatenate([rewards, rewards])), saw_weights(rewards), 1e-9)
    if len(rewards) > g:
        scaled = rewards.copy()
        scaled[:g, 0] *= factor
        assert np.abs(saw_weights(scaled) - saw_weights(rewards)).max() > 1e-3


@given(
    arrays(np.float64, (12, 3), elements=st.floats(-1e3, 1e3, width=32)),
    st.sampled_from(["saw", "dvao", "gd2po", "sa_mrpo", "random", "static", "ctwa", "hypervolume"]),
)
@settings(max_examples=40, deadline=None)
def test_weights_are_on_the_simplex_whatever_the_rewards(rewards, name):
    scalarizer = build_scalarizer(configs.SCALARIZER_CONFIGS[name](), NAMES)
    choice = scalarizer.choose(make_scene(rewards), rng())
    assert np.isfinite(choice.weights).all() and (choice.weights >= 0).all()
    close(choice.weights.sum(axis=1), 1.0, 1e-9)
    scalars, advantages = aggregate(rewards, choice.weights, 4)
    assert np.isfinite(scalars).all() and np.isfinite(advantages).all()


@given(batches(), st.randoms(use_true_random=False))
@settings(max_examples=12, deadline=None)
def test_the_conductor_has_no_order_of_groups(batch, random):
    """Its distribution is a function of a row's own context: rows may come in any order."""
    rewards, _, g = batch
    n = len(rewards)
    hidden = np.random.default_rng(n).standard_normal((n, 5))
    conductor = build_scalarizer(configs.Conductor(), NAMES, hidden_size=5, num_generations=g)
    state = conductor.state()
    for key in state:
        if key.endswith("weight"):
            state[key] = np.random.default_rng(1).standard_normal(state[key].shape)
    conductor.load(state)
    order = np.concatenate([np.arange(g) + g * i for i in random.sample(range(n // g), n // g)])
    scene = replace(make_scene(rewards, g=g), hidden=hidden)
    moved = replace(make_scene(rewards[order], g=g), hidden=hidden[order])
    before = conductor.choose(scene, rng(), explore=False)
    after = conductor.choose(moved, rng(), explore=False)
    close(after.weights, before.weights[order], 1e-12)
    close(before.weights.sum(axis=1), 1.0, 1e-12)
    assert before.weights.min() >= 1e-4 / 3
