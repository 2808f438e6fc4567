"""Rows that a run has logged, as arrays: what a what-if or an audit starts from.

Light (no torch). Rows come from any runs, in any order; groups and policy steps are told by their
ids and may differ in size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis.queries import matrix
from workbench.types import Floats, Ints


@dataclass(frozen=True)
class LoggedRows:
    """Logged completions, N rows of K objectives.

    ``rewards`` is what was weighted (after sign, condition and scaling), ``raw`` what batch
    statistics such as SAW's are about; None where scaling changed nothing. ``groups`` and
    ``batches`` are indices from 0: completions of one prompt at one step, and policy steps, which
    must ascend in time. ``penalty`` is what KL took from the scalar, where it did; ``judge`` and
    ``judge_share`` the scores that trained rows themselves, and how far.
    """

    objectives: tuple[str, ...]
    rewards: Floats
    weights: Floats
    advantages: Floats
    groups: Ints
    batches: Ints
    kinds: Sequence[str] | None = None
    raw: Floats | None = None
    contexts: Floats | None = None
    penalty: Floats | None = None
    mask: Floats | None = None
    judge: Floats | None = None
    judge_share: Floats | None = None

    def __post_init__(self) -> None:
        n, k = len(self.rewards), len(self.objectives)
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            "rewards": (self.rewards, (n, k)),
            "weights": (self.weights, (n, k)),
            "raw": (self.raw, (n, k)),
            "advantages": (self.advantages, (n,)),
            "groups": (self.groups, (n,)),
            "batches": (self.batches, (n,)),
            "penalty": (self.penalty, (n,)),
            "mask": (self.mask, (n,)),
            "judge": (self.judge, (n,)),
            "judge_share": (self.judge_share, (n,)),
        }
        for name, (array, shape) in shapes.items():
            if array is not None and np.shape(array) != shape:
                raise ValueError(f"{name}: shape {np.shape(array)} is not {shape}")
        if n == 0:
            raise ValueError("rows: there are none; nothing was logged for this selection")
        for name, length in (("kinds", self.kinds), ("contexts", self.contexts)):
            if length is not None and len(length) != n:
                raise ValueError(f"{name}: {len(length)} for {n} rows")


def rows_from_frame(
    frame: pd.DataFrame,
    objectives: Sequence[str],
    kl_in_reward: bool = False,
) -> LoggedRows:
    """Rows from a DataFrame of the ``rollouts`` view (``context`` joined where there are any).

    Reads ``rewards``, ``weights``, ``advantage``, ``group_id``, ``step`` and, where present,
    ``run_id``, ``split``, ``kind``, ``scaled``, ``scalar``, ``mask``,
    ``judge``, ``judge_share``, ``context``.

    Args:
        frame: one row a completion; reward columns hold mappings by objective.
        objectives: names of the K objectives, in order.
        kl_in_reward: find what KL subtracted: the weighted sum less the logged ``scalar``.

    Raises:
        ValueError: When a column is missing.
    """
    needed = ["rewards", "weights", "advantage", "group_id", "step"]
    missing = [name for name in needed if name not in frame]
    if missing:
        raise ValueError(f"columns {missing} missing; a what-if needs {needed}")
    names = tuple(objectives)
    raw = matrix(frame["rewards"], names)
    scaled = raw
    if "scaled" in frame and frame["scaled"].notna().any():
        scaled = matrix(frame["scaled"].where(frame["scaled"].notna(), frame["rewards"]), names)
    weights = np.nan_to_num(matrix(frame["weights"], names))  # what is not weighted has weight 0
    batch = [name for name in ("run_id", "split", "step") if name in frame]
    kept = frame.reset_index(drop=True)
    groups = kept.groupby([*batch, "group_id"], sort=False).ngroup().to_numpy()
    batches = kept.groupby(batch, sort=True).ngroup().to_numpy()
    penalty = None
    if kl_in_reward:
        scalar = kept["scalar"].to_numpy(np.float64)
        penalty = np.where(np.isnan(scaled), 0.0, scaled * weights).sum(axis=1) - scalar
    return LoggedRows(
        objectives=names,
        rewards=scaled,
        weights=weights,
        advantages=kept["advantage"].to_numpy(np.float64),
        groups=np.asarray(groups, dtype=np.int64),
        batches=np.asarray(batches, dtype=np.int64),
        kinds=kept["kind"].tolist() if "kind" in kept else None,
        raw=raw,
        contexts=_contexts(kept),
        penalty=penalty,
        mask=_mask(kept),
        judge=_known(kept, "judge"),
        judge_share=_known(kept, "judge_share"),
    )


def _contexts(frame: pd.DataFrame) -> Floats | None:
    if "context" not in frame or frame["context"].isna().any():
        return None
    return np.stack(frame["context"].to_list()).astype(np.float64)


def _known(frame: pd.DataFrame, name: str) -> Floats | None:
    """A column with NaN where nothing is known; None when it has nothing at all."""
    if name not in frame or frame[name].isna().all():
        return None
    return frame[name].to_numpy(np.float64, na_value=np.nan)


def _mask(frame: pd.DataFrame) -> Floats | None:
    """Factors on rows; a row without one counts in full."""
    if "mask" not in frame or frame["mask"].isna().all():
        return None
    return frame["mask"].fillna(1.0).to_numpy(np.float64)
