"""How far learned weights are believed: against equal weights, on groups that were left out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.alignment import agreements, compared, normalize_scores, trust_of


def rng(seed=0):
    return np.random.default_rng(seed)


def scores(draw, groups, size):
    return np.array([normalize_scores(row) for row in draw.normal(size=(groups, size))])


def phi(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def test_compared_literal():
    # G = 2, deviations ddof 1: A of (0, 1) and of (1, 0) is -+ 1/sqrt(2) up to epsilon, V too.
    # Learned agrees: f = (1/2) (1/2 + 1/2) = 1/2; equal says the opposite: -1/2, so d = 1.
    # By chance: |A|^2 |V|^2 / (G^2 (G - 1)) = 1 * 1 / 4, and |A - B|^2 = 4 gives 1.
    v = np.array([[-1.0, 1.0]]) / math.sqrt(2)
    found = compared(np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]]), v)
    np.testing.assert_allclose(found, [[0.5, 0.25, 1.0, 1.0]], atol=1e-3)


def test_a_flat_prediction_says_nothing():
    v = np.array([[-1.0, 0.0, 1.0]])
    np.testing.assert_array_equal(compared(np.zeros((1, 3)), np.ones((1, 3)), v), np.zeros((1, 4)))
    assert agreements(np.full((1, 3), 7.0), v).tolist() == [0.0]


def test_the_variance_by_chance_is_that_of_scores_in_random_order():
    draw = rng(1)
    learned, equal = draw.normal(size=(2, 1, 6))
    v = scores(draw, 1, 6)
    _, f_chance, _, d_chance = compared(learned, equal, v)[0]
    orders = np.array([draw.permutation(v[0]) for _ in range(20000)])
    many = compared(np.repeat(learned, 20000, 0), np.repeat(equal, 20000, 0), orders)
    assert many[:, 0].var() == pytest.approx(f_chance, rel=0.05)
    assert many[:, 2].var() == pytest.approx(d_chance, rel=0.05)


def test_trust_literal():
    # nothing judged: odds of 1 to 4, times P(gain > 0) under N(0.1, 0.2^2)
    assert trust_of(np.zeros((0, 4))) == pytest.approx(0.2 * phi(0.5))
    # four groups, f = 0.2 and d = 0.1, each with variance 0.16: pooled variance 0.04
    q, z = 0.04 + 0.09, 0.2 * 0.3 / math.sqrt(0.04 * 0.13)
    odds = 0.25 * math.sqrt(0.04 / q) * math.exp(z**2 / 2) * 2 * phi(z)
    # the gain: prior and data have variance 0.04 each, so its mean is 0.1 and its variance 0.02
    expected = odds / (1 + odds) * phi(0.1 / math.sqrt(0.02))
    rows = np.tile([0.2, 0.16, 0.1, 0.16], (4, 1))
    assert trust_of(rows) == pytest.approx(expected)
    flat = np.zeros((9, 4))
    assert trust_of(np.vstack([rows, flat])) == pytest.approx(expected)  # flat groups do not dilute


@given(st.integers(0, 10**6), st.integers(0, 40), st.integers(2, 9), st.floats(-3, 3))
def test_trust_is_a_probability_whatever_the_evidence(seed, groups, size, scale):
    draw = rng(seed)
    v = scores(draw, groups, size).reshape(groups, size)
    learned = draw.normal(size=(groups, size)) + 10**scale * v
    assert 0.0 <= trust_of(compared(learned, draw.normal(size=(groups, size)), v)) <= 1.0


def trust_at(correlation, groups, size=8, seed=0):
    """Trust when predictions and scores correlate so, and equal weights know nothing."""
    draw = rng(seed)
    truth = draw.normal(size=(groups, size))
    noise = draw.normal(size=(groups, size))
    seen = correlation * truth + math.sqrt(1 - correlation**2) * noise
    v = np.array([normalize_scores(row) for row in seen])
    return trust_of(compared(truth, draw.normal(size=(groups, size)), v))


@pytest.mark.parametrize("correlation", [0.15, 0.25, 0.6])
def test_a_judge_as_weak_as_real_ones_comes_to_be_believed(correlation):
    assert np.mean([trust_at(correlation, 350, 16, seed) for seed in range(10)]) > 0.9
    assert trust_at(0.6, 12) > 0.8


def test_scores_that_say_nothing_are_not_believed():
    late = [trust_at(0.0, 350, 16, seed) for seed in range(40)]
    assert np.mean(late) < 0.1
    assert np.mean([trust_at(0.0, 40, 8, seed) for seed in range(40)]) < 0.25


def test_learned_weights_that_are_worse_than_equal_ones_are_not_used():
    """The scores can be predicted, but equal weights predict them better."""
    draw = rng(3)
    v = scores(draw, 200, 8)
    learned = v + 3.0 * draw.normal(size=v.shape)
    assert trust_of(compared(learned, v, v)) < 0.01
    assert trust_of(compared(v, learned, v)) > 0.99
