"""Numpy and torch in, the same out: the core computes in numpy float64 and never imports torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.types import Floats


def is_tensor(values: object) -> bool:
    """Whether ``values`` is a torch tensor, told from its type's module so torch stays unloaded."""
    return type(values).__module__.split(".", 1)[0] == "torch"


def as_floats(values: Any, name: str) -> Floats:
    """Convert a numpy array, torch tensor or nested list to a float64 array.

    Args:
        values: The numbers; a tensor is detached and copied to the CPU.
        name: What the numbers are, for the error.

    Raises:
        ValueError: When they are no rectangular array of numbers, or contain an infinity.
    """
    if is_tensor(values):
        values = values.detach().double().cpu().numpy()
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: not a rectangular array of numbers ({error})") from error
    if np.isinf(array).any():
        where = tuple(int(i) for i in np.argwhere(np.isinf(array))[0])
        raise ValueError(f"{name}{list(where)} is {array[where]}; it must be finite or NaN")
    return array


def to_like(result: Floats, like: Any) -> Any:
    """Return ``result`` as a tensor on the device of ``like`` when that is one, else unchanged.

    A float32 or float64 tensor keeps its number format; integers and half precision get float64.
    """
    if not is_tensor(like):
        return result
    keeps = like.is_floating_point() and like.element_size() >= 4
    return like.new_tensor(result, dtype=like.dtype if keeps else like.double().dtype)


def check_matrix(rewards: Floats, name: str = "rewards") -> None:
    """Raise ValueError unless the array is (N, K) with at least one row and one objective."""
    if rewards.ndim != 2 or 0 in rewards.shape:
        raise ValueError(f"{name}: shape {rewards.shape} is not (N, K) with N, K >= 1")


def check_groups(rows: int, num_generations: int) -> None:
    """Raise ValueError unless the rows divide into groups of ``num_generations``."""
    if num_generations < 1 or rows % num_generations:
        raise ValueError(
            f"num_generations: {rows} rows do not divide into groups of {num_generations}"
        )
