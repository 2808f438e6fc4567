"""Which columns of a completion table of TRL are rewards, and which the user logged beside them.

TRL writes ``step, prompt, completion``, one column a reward function, then whatever ``log_extra``
was given, then ``advantage``. Nothing marks where the rewards end, but the advantage tells: within
a group it is the weighted sum of the rewards, centred and perhaps divided.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.types import Floats

FIXED = ("step", "prompt", "completion", "advantage", "advantages", "image", "images")
SMALL = 1e-6
TOLERANCE = 1e-3
"""Relative error of a fit: TRL adds 1e-4 to deviations and keeps float32."""


def reward_columns(
    rows: Sequence[Mapping[str, Any]], groups: Sequence[Any], path: Path
) -> list[str]:
    """The names of the reward columns, in their order.

    They are those that a trainer's log beside the tables names; else the first columns, as few as
    explain the advantages; else those that speak of a reward; else all numeric ones.

    Args:
        rows: rows of the tables; columns in the order in which they were written.
        groups: which rows belong together.
        path: where the tables lie.
    """
    numeric = [
        name for name in dict.fromkeys(n for row in rows for n in row) if _numeric(rows, name)
    ]
    logged = [name for name in _logged(path) if name in numeric]
    if logged:
        return logged
    spoken = [name for name in numeric if "reward" in name.lower()]
    if numeric[:1] == ["reward"] and len(numeric) > 1 and _is_sum(rows, numeric):
        return [name for name in numeric[1:] if name in spoken] or numeric[1:]
    found = _explaining(rows, groups, numeric)
    if found:
        last = max((numeric.index(name) for name in spoken), default=-1)
        return numeric[: max(found, last + 1)]
    return spoken or numeric


def _numeric(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether every value of a column is a number or missing, and one is there."""
    values = [row.get(name) for row in rows]
    known = [v for v in values if v is not None]
    return (
        name not in FIXED
        and bool(known)
        and all(isinstance(v, float | int) and not isinstance(v, bool) for v in known)
        and any(isinstance(v, float) for v in known)
    )


def _logged(path: Path) -> list[str]:
    """Reward functions that a ``trainer_state.json`` near the tables has logged."""
    folder = path if path.is_dir() else path.parent
    for place in (folder, folder.parent):
        states = [*place.glob("trainer_state.json"), *place.glob("checkpoint-*/trainer_state.json")]
        for state in states[:1]:
            try:
                history = json.loads(state.read_bytes())["log_history"]
                keys = dict.fromkeys(key for entry in history for key in entry)
            except (ValueError, KeyError, TypeError, OSError):
                continue  # damaged or of another program: the advantages tell as well
            return [
                key.removeprefix("rewards/").removesuffix("/mean")
                for key in keys
                if key.startswith("rewards/") and key.endswith("/mean")
            ]
    return []


def _is_sum(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bool:
    """Whether the first column is the sum of the others: old tables have such a ``reward``."""
    values = _matrix(rows, names)
    return bool(np.allclose(values[:, 0], values[:, 1:].sum(axis=1), rtol=1e-4, atol=1e-6))


def _matrix(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Floats:
    """(N, K) values; what is missing or not finite counts as 0, as in TRL's sum."""
    cells = [[row.get(name) for name in names] for row in rows]
    values = np.array([[math.nan if v is None else float(v) for v in row] for row in cells])
    return np.nan_to_num(values.reshape(len(rows), len(names)), posinf=0.0, neginf=0.0)


def _explaining(
    rows: Sequence[Mapping[str, Any]], groups: Sequence[Any], names: Sequence[str]
) -> int:
    """The smallest m so that the first m columns explain the advantages; 0 where none does.

    With a_g the advantages of a group and R_g its centred rewards, a_g = c_g R_g w for one w and
    some c_g > 0. The unknown c_g drop out of a_i (R_j w) - a_j (R_i w) = 0, linear in w: its null
    space holds the weights.
    """
    advantage = _matrix(rows, ["advantage"])[:, 0]
    if not np.any(advantage) or not names:
        return 0
    values = _matrix(rows, names)
    members: dict[Any, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    parts = [
        (advantage[i], values[i] - values[i].mean(axis=0))
        for i in map(np.array, members.values())
        if len(i) > 1
    ]
    for m in range(1, len(names) + 1):
        if _fits([(a, r[:, :m]) for a, r in parts]):
            return m
    return 0


def _fits(parts: Sequence[tuple[Floats, Floats]]) -> bool:
    """Whether one weighting of the columns gives all advantages; see ``_explaining``."""
    moving = [(a, r) for a, r in parts if np.abs(a).max() > SMALL]
    if not moving:
        return False
    rows = [r for a, r in parts if np.abs(a).max() <= SMALL]  # flat groups: R_g w = 0
    for a, r in moving:
        top = int(np.argmax(np.abs(a)))
        rows.append(a[:, None] * r[top] - a[top] * r)
    system = np.concatenate(rows)
    size = max(float(np.abs(system).max()), 1e-12)
    _, singular, basis = np.linalg.svd(system / size, full_matrices=True)
    rank = int(np.sum(singular > TOLERANCE * math.sqrt(len(system))))
    null = basis[rank:]  # (d, m)
    if not len(null):
        return False
    # of all weightings that fit, one that moves every group the right way: c_g about 1
    pushed = np.array([(a @ r) @ null.T / (a @ a) for a, r in moving])
    weights = np.linalg.lstsq(pushed, np.ones(len(moving)), rcond=None)[0] @ null
    for a, r in moving:
        scalar, wanted = r @ weights, float(np.abs(a).max())
        moved = float(np.abs(scalar).max())
        if moved <= SMALL or a @ scalar <= 0:
            return False
        if not np.allclose(a / wanted, scalar / moved, atol=20 * TOLERANCE):
            return False
    return all(np.abs(r @ weights).max() <= 1e-3 for a, r in parts if np.abs(a).max() <= SMALL)
