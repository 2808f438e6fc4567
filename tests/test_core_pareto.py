"""Pareto front and hypervolume against literals, inclusion-exclusion and a grid of cells."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.core.pareto import hypervolume, hypervolume_interval, pareto_front


def test_front_literal():
    points = [[1, 5], [3, 3], [2, 2], [3, 3], [5, 1], [5, 0]]
    # (2,2) is beaten by (3,3), (5,0) by (5,1); equal points stay together
    assert pareto_front(points).tolist() == [True, True, False, True, True, False]


def test_front_of_one_objective_is_its_maximum():
    assert pareto_front([[1.0], [3.0], [3.0]]).tolist() == [False, True, True]


def test_area_literal():
    # staircase over (0, 0): 1*3 + 1*2 + 1*1
    assert hypervolume([[1, 3], [2, 2], [3, 1]], [0, 0]) == 6.0


def test_volume_literal_in_three_dimensions():
    # two unit-height bars 1x2x3 and 3x2x1 share 1x2x1
    assert hypervolume([[1, 2, 3], [3, 2, 1]], [0, 0, 0]) == 6 + 6 - 2


def test_points_below_the_reference_contribute_nothing():
    assert hypervolume([[2, 2], [5, -1], [-1, 5]], [0, 0]) == 4.0
    assert hypervolume([[0, 5]], [0, 0]) == 0.0
    assert hypervolume([], [0, 0]) == 0.0
    assert hypervolume(np.zeros((0, 3)), [0, 0, 0]) == 0.0


def test_one_dimension():
    assert hypervolume([[2.0], [7.0], [5.0]], [1.5]) == 5.5


POINTS = st.integers(1, 4).flatmap(
    lambda k: arrays(
        np.float64, st.tuples(st.integers(1, 6), st.just(k)), elements=st.integers(-1, 4).map(float)
    )
)


@given(POINTS)
@settings(deadline=None, max_examples=60)
def test_volume_equals_the_number_of_unit_cells_covered(points):
    k = points.shape[1]
    cells = sum(
        any((np.array(cell) + 1 <= point).all() for point in points if (point > 0).all())
        for cell in itertools.product(range(4), repeat=k)
    )
    assert hypervolume(points, np.zeros(k)) == pytest.approx(cells, abs=1e-9)


@given(POINTS, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_volume_knows_the_front_alone_and_no_order(points, random):
    reference = np.full(points.shape[1], -2.0)
    volume = hypervolume(points, reference)
    front = pareto_front(points)
    assert hypervolume(points[front], reference) == pytest.approx(volume)
    rows = random.sample(range(len(points)), len(points))
    columns = random.sample(range(points.shape[1]), points.shape[1])
    assert hypervolume(points[rows][:, columns], reference) == pytest.approx(volume)
    assert pareto_front(points[rows][:, columns]).tolist() == front[rows].tolist()
    # every point that is not on the front has one on it that is at least as good throughout
    for point in points[~front]:
        assert (points[front] >= point).all(axis=1).any()


def test_five_objectives_against_inclusion_and_exclusion():
    points = np.random.default_rng(0).random((7, 5))
    union = 0.0
    for size in range(1, 8):
        for subset in itertools.combinations(points, size):
            union -= (-1) ** size * np.min(subset, axis=0).prod()
    assert hypervolume(points, np.zeros(5)) == pytest.approx(union, rel=1e-9)


def test_interval_holds_the_volume_and_shrinks_with_rows():
    rng = np.random.default_rng(0)
    widths = []
    for n in (20, 500):
        samples = [rng.normal([1, 2], 0.3, (n, 2)), rng.normal([2, 1], 0.3, (n, 2))]
        value, low, high = hypervolume_interval(samples, [0, 0], np.random.default_rng(1), 300)
        assert low < value < high and low < 3.0 < high  # 2 + 2 - 1
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hypervolume([[1, 2]], [0, 0, 0]), "does not fit points of K = 2"),
        (lambda: pareto_front([1, 2]), r"shape \(2,\) is not \(M, K\)"),
        (lambda: pareto_front([[np.nan, 1]]), "contain NaN"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
