"""Pareto front and hypervolume of points in objective space; larger is better throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.arrays import as_floats
from workbench.types import Floats


def _points(points: Any, name: str = "points") -> Floats:
    array = as_floats(points, name)
    if array.ndim != 2:
        raise ValueError(f"{name}: shape {array.shape} is not (M, K)")
    if np.isnan(array).any():
        raise ValueError(f"{name}: contain NaN; leave out points that were not measured")
    return array


def pareto_front(points: Any) -> NDArray[np.bool_]:
    """Which points no other point dominates, (M, K) to (M,) bool.

    A point is dominated when another is at least as good in every objective and better in one, so
    equal points stay on the front together.

    Raises:
        ValueError: When the points are not (M, K) or contain NaN or infinity.
    """
    array = _points(points)
    dominated = np.zeros(len(array), dtype=np.bool_)
    for i, point in enumerate(array):
        at_least = (array >= point).all(axis=1)
        dominated[i] = bool((at_least & (array > point).any(axis=1)).any())
    return ~dominated


def hypervolume(points: Any, reference: Any) -> float:
    """Volume that is dominated by the points and dominates the reference, exact for any K.

    The WFG recursion (While, Bradstreet, Barone 2012): the volume of a front is the sum over its
    points of the box of the point minus the volume of what the later points share with that box.
    A point that does not exceed the reference in every objective contributes nothing.

    Args:
        points: (M, K); M may be 0.
        reference: (K,), the same for all fronts that are to be compared.

    Raises:
        ValueError: On shapes that do not fit, NaN or infinity.
    """
    origin = as_floats(reference, "reference")
    array = as_floats(points, "points")
    array = _points(array.reshape(0, len(origin)) if array.size == 0 else array)
    if origin.ndim != 1 or array.shape[1] != len(origin) or np.isnan(origin).any():
        raise ValueError(
            f"reference: {origin.tolist()} does not fit points of K = {array.shape[1]}"
        )
    above = array[(array > origin).all(axis=1)] - origin
    return _volume(above)


def _volume(boxes: Floats) -> float:
    """Volume of the union of boxes [0, p], (M, K)."""
    if len(boxes) == 0:
        return 0.0
    boxes = np.unique(boxes[pareto_front(boxes)], axis=0)[::-1]  # first objective descending
    if boxes.shape[1] == 1:
        return float(boxes.max())
    if boxes.shape[1] == 2:
        steps = np.diff(boxes[:, 1], prepend=0.0)  # second objective ascends along the front
        return float((boxes[:, 0] * steps).sum())
    total = 0.0
    for i, box in enumerate(boxes):
        total += float(box.prod()) - _volume(np.minimum(boxes[i + 1 :], box))
    return total


def hypervolume_interval(
    samples: Sequence[Any],
    reference: Any,
    rng: np.random.Generator,
    draws: int = 1000,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Hypervolume of the points' means with a bootstrap interval over their rows.

    Args:
        samples: one (n, K) array per point (policy): the rows whose mean is the point.
        reference: (K,).
        rng: draws the resamples.
        draws: bootstrap resamples.
        level: of the percentile interval.

    Returns:
        (hypervolume of the means, lower end, upper end).

    Raises:
        ValueError: On shapes that do not fit, NaN or infinity.
    """
    arrays = [_points(rows, "samples") for rows in samples]
    values = np.empty(draws)
    for d in range(draws):
        resampled = [a[rng.integers(0, len(a), len(a))].mean(axis=0) for a in arrays]
        values[d] = hypervolume(np.array(resampled), reference)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return hypervolume([a.mean(axis=0) for a in arrays], reference), float(low), float(high)
