"""Sign, condition, scaling and centring of rewards against literals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.core.scaling import (
    ObjectiveScaling,
    RewardScaling,
    RunningMoments,
    group_ranks,
    parse_condition,
    scale,
)

NAN = float("nan")


def one(**settings):
    return [ObjectiveScaling("a", **settings)]


def column(*values):
    return np.array(values, dtype=float)[:, None]


def test_sign_turns_more_into_less():
    np.testing.assert_array_equal(scale(column(1, -2), 2, one(sign=-1)), column(-1, 2))


def test_batch_standardises_over_all_rows():
    # mean 2, sample deviation sqrt((4+0+0+4)/3)
    std = np.sqrt(8 / 3)
    got = scale(column(0, 2, 2, 4), 2, one(scaling="batch"))
    np.testing.assert_allclose(got[:, 0], np.array([-2, 0, 0, 2]) / (std + 1e-4))


def test_batch_of_one_value_is_zero():
    got = scale(column(3, NAN), 2, one(scaling="batch"))
    assert got[0, 0] == 0.0 and np.isnan(got[1, 0])


def test_rank_maps_the_group_to_the_unit_interval():
    # second group: two values tie for ranks 1 and 2, so both get 0.5 / 2
    got = scale(column(3, 9, 5, 1, 1, 7), 3, one(scaling="rank"))
    np.testing.assert_array_equal(got[:, 0], [0, 1, 0.5, 0.25, 0.25, 1])


def test_rank_leaves_nan_out_and_keeps_a_flat_group_flat():
    np.testing.assert_array_equal(
        group_ranks(np.array([2, NAN, 5, 4, 4, 4, NAN, 1, NAN]), 3),
        [0, NAN, 1, 0.5, 0.5, 0.5, NAN, 0.5, NAN],
    )


def test_centring_subtracts_the_group_mean_after_scaling():
    got = scale(column(1, 3, 10, NAN), 2, one(), center_objectives=True)
    np.testing.assert_array_equal(got[:, 0], [-1, 1, 0, NAN])


def test_unmet_condition_falls_to_the_worst_declared_value():
    objectives = [
        ObjectiveScaling("format"),
        ObjectiveScaling("length", lower=-1, upper=0, condition="format >= 0.5"),
        ObjectiveScaling("entropy", sign=-1, lower=0, upper=3, condition="format > 0.5"),
    ]
    rewards = np.array([[0.0, -0.2, 1.0], [0.5, -0.2, 1.0], [0.9, NAN, 1.0], [NAN, -0.2, 1.0]])
    np.testing.assert_array_equal(
        scale(rewards, 2, objectives),
        [
            [0.0, -1.0, -3.0],  # format missed: worst length -1, worst (signed) entropy -3
            [0.5, -0.2, -3.0],  # 0.5 meets >= but not >
            [0.9, NAN, -1.0],  # a reward that does not apply stays so
            [NAN, -0.2, -1.0],  # a condition that does not apply does not bind
        ],
    )


def test_gdpo_conditioned_reward_with_unit_rewards_is_the_papers_zero():
    objectives = [
        ObjectiveScaling("correct", lower=0, upper=1),
        ObjectiveScaling("short", lower=0, upper=1, condition="correct >= 1"),
    ]
    rewards = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(scale(rewards, 3, objectives), [[0, 0], [1, 1], [1, 0]])


@pytest.mark.parametrize(
    "text", ["format", "format = 1", "format >= high", ">= 1", "format >= 1 2"]
)
def test_conditions_that_are_no_comparison_are_refused(text):
    with pytest.raises(ValueError, match="not of the form"):
        parse_condition(text, ["format"])


def test_conditions_read():
    assert parse_condition("b.c<=-1e-3", ["a", "b.c"]) == (1, "<=", -1e-3)
    with pytest.raises(ValueError, match=r"'x' unknown; the objectives are \['a'\]"):
        parse_condition("x > 1", ["a"])


def test_condition_without_a_bound_is_refused_before_any_row():
    with pytest.raises(ValueError, match=r"length\.lower: missing"):
        RewardScaling([ObjectiveScaling("f"), ObjectiveScaling("length", condition="f > 0")])
    with pytest.raises(ValueError, match=r"length\.upper: missing"):
        RewardScaling(
            [ObjectiveScaling("f"), ObjectiveScaling("length", sign=-1, lower=0, condition="f > 0")]
        )


def test_running_moments_equal_those_of_all_rows_at_once():
    rows = np.random.default_rng(0).normal(3, 2, (90, 2))
    rows[rows > 5] = NAN
    moments = RunningMoments(2)
    for part in np.split(rows, [7, 8, 40]):
        moments.update(part)
    np.testing.assert_allclose(moments.mean, np.nanmean(rows, axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.std, np.nanstd(rows, axis=0, ddof=1), rtol=1e-12)


def test_running_scaling_counts_training_rows_only_and_resumes_exactly():
    settings_ = one(scaling="running")
    straight, resumed = RewardScaling(settings_), RewardScaling(settings_)
    first, second = column(1, 2, 3, 4), column(5, 6, 7, 9)
    straight(first, 2)
    straight(column(100, 200), 2, update=False)
    resumed.load(straight.state())
    np.testing.assert_array_equal(straight(second, 2)[1], resumed(second, 2)[1])
    everything = np.concatenate([first, second])[:, 0]
    expected = (second[:, 0] - everything.mean()) / (everything.std(ddof=1) + 1e-4)
    np.testing.assert_allclose(resumed(second, 2, update=False)[1][:, 0], expected)


def test_raw_statistics_see_sign_and_condition_but_no_scaling():
    scaling = RewardScaling(one(sign=-1, lower=0, upper=5, scaling="rank"), True)
    signed, scaled = scaling(column(1, 3), 2)
    np.testing.assert_array_equal(signed, column(-1, -3))
    np.testing.assert_array_equal(scaled, column(0.5, -0.5))
    assert scaling.lower == [-5] and scaling.upper == [0] and scaling.changes_rewards
    assert not RewardScaling(one()).changes_rewards


def test_refusals():
    with pytest.raises(ValueError, match="2 columns for 1 objectives"):
        scale(np.zeros((2, 2)), 2, one())
    with pytest.raises(ValueError, match="'zscore' unknown"):
        scale(column(1, 2), 2, one(scaling="zscore"))
    with pytest.raises(ValueError, match="needs running moments"):
        scale(column(1, 2), 2, one(scaling="running"))


@given(arrays(np.float64, 12, elements=st.integers(-3, 3).map(float)), st.sampled_from([2, 3, 4]))
@settings(deadline=None)
def test_ranks_know_order_alone(values, g):
    ranks = group_ranks(values, g)
    assert ((ranks >= 0) & (ranks <= 1)).all()
    np.testing.assert_array_equal(group_ranks(np.exp(values) + 7, g), ranks)
    np.testing.assert_allclose(group_ranks(-values, g), 1 - ranks)
    np.testing.assert_allclose(ranks.reshape(-1, g).mean(axis=1), 0.5)
