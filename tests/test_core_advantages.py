"""GRPO and GDPO advantages against literals with their derivation, and their invariances."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.core.advantages import (
    aggregate,
    gdpo_advantages,
    group_z_scores,
    grpo_advantages,
)
from workbench.core.ragged import aggregate_segments

NAN = float("nan")
EPS = 1e-4
# two groups of two, two objectives
REWARDS = np.array([[1.0, 0.0], [0.0, 0.5], [1.0, 1.0], [1.0, 0.0]])
HALF = np.full((4, 2), 0.5)


def test_grpo_literal():
    # R = (0.5, 0.25, 1.0, 0.5); a pair (a, b) has mean (a+b)/2 and std |a-b|/sqrt(2)
    first = 0.125 / (0.25 / math.sqrt(2) + EPS)
    second = 0.25 / (0.5 / math.sqrt(2) + EPS)
    got = grpo_advantages(REWARDS, HALF, 2)
    np.testing.assert_allclose(got, [first, -first, second, -second], rtol=1e-14)
    assert got.dtype == np.float64


def test_grpo_scaling_by_batch_and_by_nothing():
    # R as above: mean 0.5625, deviations (-1, -5, 7, -1)/16, squares sum 76/256, over 3
    std = math.sqrt(76 / 256 / 3)
    differences = np.array([0.125, -0.125, 0.25, -0.25])
    np.testing.assert_allclose(
        grpo_advantages(REWARDS, HALF, 2, "batch"), differences / (std + EPS), rtol=1e-14
    )
    np.testing.assert_allclose(grpo_advantages(REWARDS, HALF, 2, "none"), differences, rtol=1e-14)


def test_gdpo_literal():
    # z of a pair (a, b): +-(|a-b|/2) / (|a-b|/sqrt(2) + eps); a flat pair has z = 0
    unit = 0.5 / (1 / math.sqrt(2) + EPS)
    half = 0.25 / (0.5 / math.sqrt(2) + EPS)
    # A = 0.5 (z_1 + z_2): the pairs pull against each other in the first group
    a = np.array([0.5 * (unit - half), 0.5 * (half - unit), 0.5 * unit, -0.5 * unit])
    std = math.sqrt((a**2).sum() / 3)  # the mean is 0
    np.testing.assert_allclose(gdpo_advantages(REWARDS, HALF, 2), a / (std + EPS), rtol=1e-13)


def test_own_weights_per_row():
    # the first row looks only at objective 1, the others only at objective 2: R = (1, .5, 1, 0)
    weights = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    scalars, advantages = aggregate(REWARDS, weights, 2)
    np.testing.assert_array_equal(scalars, [1.0, 0.5, 1.0, 0.0])
    first = 0.25 / (0.5 / math.sqrt(2) + EPS)
    second = 0.5 / (1 / math.sqrt(2) + EPS)
    np.testing.assert_allclose(advantages, [first, -first, second, -second], rtol=1e-14)


def test_nan_is_left_out_of_the_sum_and_the_weights_stay():
    rewards = np.array([[1.0, NAN], [0.0, 0.5]])
    scalars, advantages = aggregate(rewards, np.full((2, 2), 0.5), 2)
    np.testing.assert_array_equal(scalars, [0.5, 0.25])
    np.testing.assert_allclose(advantages[0], 0.125 / (0.25 / math.sqrt(2) + EPS), rtol=1e-14)


def test_unscorable_row_has_advantage_zero_and_leaves_the_others_alone():
    rewards = np.array([[NAN, NAN], [1.0, 0.0], [0.0, 0.0]])
    scalars, advantages = aggregate(rewards, np.full((3, 2), 0.5), 3)
    assert np.isnan(scalars[0]) and advantages[0] == 0.0
    np.testing.assert_array_equal(advantages[1:], grpo_advantages(rewards[1:], HALF[:2], 2))
    whitened = gdpo_advantages(rewards, np.full((3, 2), 0.5), 3)
    np.testing.assert_array_equal(whitened[1:], gdpo_advantages(rewards[1:], HALF[:2], 2))
    assert whitened[0] == 0.0


def test_objective_with_one_value_in_the_group_says_nothing_under_gdpo():
    # its z-score is NaN (no deviation of one value), so only the other objective is left
    rewards = np.array([[1.0, NAN], [0.0, 0.5]])
    alone = gdpo_advantages(rewards[:, :1], np.full((2, 1), 0.5), 2)
    np.testing.assert_allclose(gdpo_advantages(rewards, HALF[:2], 2), alone, rtol=1e-14)


def test_a_lone_scorable_row_of_a_group_gets_zero():
    rewards = np.array([[1.0], [NAN], [2.0], [4.0]])
    advantages = grpo_advantages(rewards, np.ones((4, 1)), 2)
    assert advantages[0] == 0.0 and advantages[1] == 0.0 and advantages[2] < 0 < advantages[3]


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_groups_of_one_give_zero_under_grpo(scale):
    np.testing.assert_array_equal(grpo_advantages(REWARDS, HALF, 1, scale), np.zeros(4))


def test_groups_of_one_give_zero_under_gdpo():
    np.testing.assert_array_equal(gdpo_advantages(REWARDS, HALF, 1), np.zeros(4))


def test_flat_groups_give_zero():
    rewards = np.full((8, 3), 0.1)
    assert np.abs(grpo_advantages(rewards, np.full((8, 3), 1 / 3), 4)).max() < 1e-11
    assert np.abs(gdpo_advantages(rewards, np.full((8, 3), 1 / 3), 4)).max() < 1e-7


def test_penalty_is_taken_from_the_scalar():
    penalty = np.array([0.25, 0.0, 0.0, 0.5])
    scalars, advantages = aggregate(REWARDS, HALF, 2, penalty=penalty)
    np.testing.assert_array_equal(scalars, [0.25, 0.25, 1.0, 0.0])
    np.testing.assert_array_equal(advantages[:2], [0.0, 0.0])


def test_mask_under_gdpo_whitens_over_what_is_left():
    mask = np.array([1.0, 0.0, 1.0, 1.0])
    kept = np.array([True, False, True, True])
    scalars, advantages = aggregate(REWARDS, HALF, 2, "normalize_then_sum", mask=mask)
    np.testing.assert_array_equal(scalars, [0.5, 0.25, 1.0, 0.5])  # rewards, not z-scores
    left = (group_z_scores(REWARDS, 2) @ [0.5, 0.5])[kept]
    np.testing.assert_allclose(
        advantages[kept], (left - left.mean()) / (left.std(ddof=1) + EPS), rtol=1e-13
    )
    assert advantages[1] == 0.0


def test_mask_under_grpo_multiplies_the_advantage():
    plain = grpo_advantages(REWARDS, HALF, 2)
    masked = aggregate(REWARDS, HALF, 2, mask=np.array([1.0, 0.0, 0.5, 0.5]))[1]
    np.testing.assert_array_equal(masked, plain * [1.0, 0.0, 0.5, 0.5])


def test_tensors_come_back_as_tensors_of_their_kind():
    for dtype, expected in [
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.bfloat16, torch.float64),
        (torch.int64, torch.float64),
    ]:
        got = grpo_advantages(torch.tensor(REWARDS * 2).to(dtype), torch.tensor(HALF), 2)
        assert got.dtype == expected
        np.testing.assert_allclose(got.numpy(), grpo_advantages(REWARDS * 2, HALF, 2), rtol=1e-6)


def test_no_gradient_flows_through_a_tensor():
    rewards = torch.tensor(REWARDS, requires_grad=True)
    assert not grpo_advantages(rewards, torch.tensor(HALF), 2).requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grpo_advantages(REWARDS[0], HALF, 2), r"rewards: shape \(2,\) is not \(N, K\)"),
        (lambda: grpo_advantages(REWARDS, HALF[:3], 2), r"weights: shape \(3, 2\)"),
        (lambda: grpo_advantages(REWARDS, HALF, 3), "4 rows do not divide into groups of 3"),
        (lambda: grpo_advantages(REWARDS, HALF, 0), "groups of 0"),
        (lambda: grpo_advantages(REWARDS, HALF, 2, "rows"), "scale_rewards: 'rows' unknown"),
        (lambda: aggregate(REWARDS, HALF, 2, "sum"), "aggregation: 'sum' unknown"),
        (
            lambda: grpo_advantages(np.where(REWARDS > 0.9, np.inf, 0.0), HALF, 2),
            r"rewards\[0, 0\] is inf",
        ),
        (lambda: grpo_advantages(REWARDS, HALF * NAN, 2), "weights: contain NaN"),
        (lambda: grpo_advantages([["a"]], HALF, 2), "rewards: not a rectangular array"),
        (lambda: aggregate(REWARDS, HALF, 2, penalty=[1.0]), r"penalty: shape \(1,\)"),
        (lambda: gdpo_advantages(np.zeros((0, 2)), np.zeros((0, 2)), 2), r"shape \(0, 2\)"),
    ],
)
def test_refusals_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- properties -------------------------------------------------------------------------------

SHAPES = st.tuples(st.integers(1, 4), st.integers(2, 5), st.integers(1, 4))  # B, G, K


@st.composite
def scenes(draw, with_nan=True):
    b, g, k = draw(SHAPES)
    value = st.integers(-40, 40).map(lambda i: i / 16)
    if with_nan:
        value = st.one_of(value, st.just(NAN))
    rewards = draw(arrays(np.float64, (b * g, k), elements=value))
    odds = draw(arrays(np.float64, (b * g, k), elements=st.integers(1, 9).map(float)))
    return rewards, odds / odds.sum(axis=1, keepdims=True), g


AGGREGATIONS = st.sampled_from(["sum_then_normalize", "normalize_then_sum"])


@given(scenes(), AGGREGATIONS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_of_groups_and_objectives_does_not_matter(scene, aggregation, random):
    rewards, weights, g = scene
    _, before = aggregate(rewards, weights, g, aggregation)
    b, k = len(rewards) // g, rewards.shape[1]
    groups, columns = random.sample(range(b), b), random.sample(range(k), k)
    rows = np.concatenate([np.arange(g) + g * i for i in groups])
    _, after = aggregate(rewards[rows][:, columns], weights[rows][:, columns], g, aggregation)
    np.testing.assert_allclose(after, before[rows], atol=1e-9)


@given(scenes(with_nan=False), AGGREGATIONS)
@settings(deadline=None)
def test_advantages_sum_to_zero(scene, aggregation):
    """In every group under GRPO, over the batch under GDPO."""
    rewards, weights, g = scene
    _, advantages = aggregate(rewards, weights, g, aggregation)
    assert abs(advantages.sum()) < 1e-7
    if aggregation == "sum_then_normalize":
        assert np.abs(advantages.reshape(-1, g).sum(axis=1)).max() < 1e-7


@given(scenes(with_nan=False), st.integers(-8, 8))
@settings(deadline=None)
def test_shifting_an_objective_is_harmless_for_shared_weights_only(scene, shift):
    """A constant on one objective leaves GRPO alone when a group shares its weights."""
    rewards, weights, g = scene
    moved = rewards.copy()
    moved[:, 0] += shift
    shared = np.repeat(weights[::g], g, axis=0)
    np.testing.assert_allclose(
        grpo_advantages(moved, shared, g), grpo_advantages(rewards, shared, g), atol=1e-6
    )
    np.testing.assert_allclose(  # GDPO standardises each objective first: any weights will do
        gdpo_advantages(moved, weights, g), gdpo_advantages(rewards, weights, g), atol=1e-6
    )


def test_shifting_an_objective_matters_when_rows_have_their_own_weights():
    weights = np.array([[0.9, 0.1], [0.1, 0.9]])
    rewards = np.array([[0.0, 0.0], [0.0, 0.0]])
    moved = rewards + [1.0, 0.0]
    assert np.abs(grpo_advantages(rewards, weights, 2)).max() == 0
    assert grpo_advantages(moved, weights, 2)[0] > 0.7  # the level alone makes row 0 a winner


@given(scenes(with_nan=False))
@settings(deadline=None)
def test_factor_on_all_weights_matters_only_through_epsilon(scene):
    rewards, weights, g = scene
    spread = np.array([np.ptp(s) for s in (rewards * weights).sum(axis=1).reshape(-1, g)])
    clear = np.repeat(spread > 0.5, g)
    one = grpo_advantages(rewards, weights, g)
    many = grpo_advantages(rewards, weights * rewards.shape[1], g)
    assert np.abs(one - many)[clear].max(initial=0.0) < 1e-2


@given(scenes(), AGGREGATIONS, st.sampled_from(["group", "batch", "none"]), st.booleans())
@settings(deadline=None)
def test_segments_agree_with_ordered_groups(scene, aggregation, scale, masked):
    rewards, weights, g = scene
    n = len(rewards)
    mask = np.where(np.arange(n) % 3 == 0, 0.0, 0.5) if masked else None
    penalty = np.arange(n) / 10
    expected = aggregate(rewards, weights, g, aggregation, scale, penalty, mask)
    order = np.random.default_rng(0).permutation(n)
    got = aggregate_segments(
        rewards[order],
        weights[order],
        (np.arange(n) // g)[order],
        np.zeros(n, dtype=np.int64),
        aggregation,
        scale,
        penalty[order],
        None if mask is None else mask[order],
    )
    np.testing.assert_allclose(got[0], expected[0][order], atol=1e-9)
    np.testing.assert_allclose(got[1], expected[1][order], atol=1e-9)


def test_a_trusted_score_makes_its_share_of_the_advantage():
    # G = 2, one objective: A = -+ (1/2) / (1/sqrt(2) + e) in both groups; U = (3, 1) in the second,
    # whose V is +- 1 / (sqrt(2) + e), at a share of 1/4
    rewards, weights = np.array([[0.0], [1.0], [0.0], [1.0]]), np.ones(1)
    trusted, share = np.array([np.nan, np.nan, 3.0, 1.0]), np.array([np.nan, np.nan, 0.25, 0.25])
    a, v = 0.5 / (np.sqrt(0.5) + 1e-4), 1.0 / (np.sqrt(2) + 1e-4)
    got = aggregate(rewards, weights, 2, trusted=trusted, trusted_share=share)[1]
    both = 0.75 * a - 0.25 * v
    np.testing.assert_allclose(got, [-a, a, -both, both])
    # a row that the judge could not score is worth the group's mean there: 0
    trusted = np.array([np.nan, np.nan, 3.0, np.nan])
    got = aggregate(rewards, weights, 2, trusted=trusted, trusted_share=share)[1]
    np.testing.assert_allclose(got, [-a, a, -0.75 * a, 0.75 * a])
    plain = aggregate(rewards, weights, 2)[1]
    np.testing.assert_array_equal(aggregate(rewards, weights, 2, trusted=trusted)[1], plain)


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
def test_rows_in_any_order_get_the_same_share_of_a_trusted_score(aggregation):
    draw = np.random.default_rng(3)
    rewards, weights = draw.random((12, 3)), draw.normal(size=(12, 3))
    trusted = np.where(np.repeat(draw.random(3) < 0.7, 4), draw.random(12), np.nan)
    share = np.where(np.isnan(trusted), 0.0, 0.6)
    expected = aggregate(rewards, weights, 4, aggregation, trusted=trusted, trusted_share=share)[1]
    order = draw.permutation(12)
    groups = np.repeat(np.arange(3), 4)[order]
    got = aggregate_segments(
        rewards[order], weights[order], groups, np.zeros(12, dtype=np.int64), aggregation,
        trusted=trusted[order], trusted_share=share[order],
    )[1]  # fmt: skip
    np.testing.assert_allclose(got, expected[order], atol=1e-12)
