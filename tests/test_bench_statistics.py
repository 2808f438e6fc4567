"""The benchmark's estimators against rliable's numbers and against small cases by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.bench import statistics as stats

# five and four seeds by three families
X = np.array(
    [[0.61, 0.42, 0.90], [0.55, 0.48, 0.85], [0.70, 0.40, 0.80], [0.66, 0.51, 0.95]]
    + [[0.52, 0.45, 0.88]]
)
Y = np.array([[0.50, 0.44, 0.91], [0.57, 0.39, 0.84], [0.61, 0.41, 0.86], [0.48, 0.50, 0.79]])


def test_estimators_are_rliables() -> None:
    # rliable 1.2.0: metrics.aggregate_iqm, aggregate_mean, probability_of_improvement
    assert stats.interquartile_mean(X) == pytest.approx(0.6311111111111111, abs=1e-12)
    assert stats.interquartile_mean(Y) == pytest.approx(0.575, abs=1e-12)
    assert stats.mean(X) == pytest.approx(0.6453333333333333, abs=1e-12)
    assert stats.probability_of_improvement(X, Y) == pytest.approx(0.6916666666666668, abs=1e-12)


def test_intervals_are_rliables() -> None:
    # rliable 1.2.0: get_interval_estimates(method="percentile"), 50,000 and 4,000 replications;
    # its draws come from numpy's global state, so the limits agree to their own noise
    iqm = stats.interval(X, reps=20000)
    assert (iqm.low, iqm.high) == pytest.approx((0.59555556, 0.66666667), abs=2e-3)
    average = stats.interval(X, stats.mean, reps=20000)
    assert (average.low, average.high) == pytest.approx((0.61866667, 0.672), abs=2e-3)
    won = stats.improvement(X, Y, reps=8000)
    assert (won.low, won.high) == pytest.approx((0.46666667, 0.88333333), abs=0.02)


def test_interquartile_mean_cuts_a_quarter_from_each_end() -> None:
    # eight scores: 1 2 | 3 4 5 6 | 7 100
    assert stats.interquartile_mean(np.array([[100.0, 1, 5, 3], [2, 6, 4, 7]])) == 4.5
    # five scores: one from each end, rounded down; 10 | 20 30 40 | 50
    assert stats.interquartile_mean(np.array([[10.0, 20, 30, 40, 50]])) == 30


def test_probability_of_improvement_counts_ties_as_half() -> None:
    # family 0: 2 > 1, 2 = 2 -> 3/4 of two pairs; family 1: all equal -> 1/2
    ours, theirs = np.array([[2.0, 5.0]]), np.array([[1.0, 5.0], [2.0, 5.0]])
    assert stats.probability_of_improvement(ours, theirs) == pytest.approx((0.75 + 0.5) / 2)


def test_paired_difference_by_hand() -> None:
    # differences per seed 1, 2, 3: mean 2, sd 1, t(2) = 4.303, half = 4.303 / sqrt(3)
    base = np.array([[5.0, 1.0], [0.0, 2.0], [4.0, 4.0]])
    ours = base + np.array([[1.0], [2.0], [3.0]])
    found = stats.paired_difference(ours, base)
    assert found.value == pytest.approx(2.0)
    assert found.high - found.value == pytest.approx(4.303 / np.sqrt(3), abs=1e-9)


def test_resampling_stays_inside_families() -> None:
    drawn = stats.stratified_resamples(X, 200, np.random.default_rng(1))
    for family in range(X.shape[1]):
        assert set(np.unique(drawn[..., family])) == set(X[:, family])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10_000))
def test_interval_holds_its_estimate_and_no_more_than_the_range(
    seeds: int, families: int, seed: int
) -> None:
    scores = np.random.default_rng(seed).random((seeds, families))
    found = stats.interval(scores, stats.mean, reps=200)
    assert scores.min() - 1e-12 <= found.low <= found.high <= scores.max() + 1e-12
    assert found.value == pytest.approx(scores.mean())


def test_refusals_name_the_shape() -> None:
    with pytest.raises(ValueError, match=r"scores: shape \(3,\)"):
        stats.interval(np.ones(3))
    with pytest.raises(ValueError, match="not finite"):
        stats.interval(np.array([[np.nan]]))
    with pytest.raises(ValueError, match="2 families against 3"):
        stats.improvement(X, Y[:, :2])
    with pytest.raises(ValueError, match="at least two seeds"):
        stats.paired_difference(X[:1], X[:1])
