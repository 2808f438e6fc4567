"""What is odd about a logged group, and how far weights follow rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from workbench.analysis.display import Group as Table
from workbench.analysis.display import Prose
from workbench.analysis.logged_rows import rows_from_frame
from workbench.analysis.queries import config_of, group, matrix, objectives, rollouts
from workbench.core.diagnostics import self_favouring
from workbench.core.findings import Finding
from workbench.core.group_findings import Group, findings
from workbench.store.reader import Store
from workbench.types import Floats

By = Literal["kind", "step", "prompt_id"]
KEYS = ("kind", "step", "prompt_id")


def used_rewards(rows: pd.DataFrame, names: Sequence[str]) -> Floats:
    """(N, K) rewards as they were weighted: scaled where scaling changed them, else raw."""
    return matrix(rows["scaled"].where(rows["scaled"].notna(), rows["rewards"]), names)


def group_of(rows: pd.DataFrame, names: Sequence[str], step: pd.DataFrame | None = None) -> Group:
    """The arrays of one group from its rows.

    Args:
        rows: the group's rows of the ``rollouts`` view.
        names: the K objectives.
        step: all rows of its step, for what rewards span there; None: not known.
    """
    span = None
    if step is not None and len(step) > len(rows):
        everything = used_rewards(step, names)
        seen = np.isfinite(everything)
        span = np.where(seen, everything, -np.inf).max(axis=0) - np.where(
            seen, everything, np.inf
        ).min(axis=0)
        span = np.where(seen.any(axis=0), span, 0.0)
    shares = rows["judge_share"].astype(float).fillna(0.0)
    return Group(
        objectives=list(names),
        rewards=used_rewards(rows, names),
        weights=matrix(rows["weights"], names),
        advantages=np.nan_to_num(rows["advantage"].to_numpy(dtype=float, na_value=np.nan)),
        judge=rows["judge"].to_numpy(dtype=float, na_value=np.nan),
        truncated=rows["truncated"].astype("boolean").fillna(False).to_numpy(dtype=bool),
        policy=matrix(rows["policy"], names) if rows["policy"].notna().all() else None,
        mask=rows["mask"].to_numpy(dtype=float) if rows["mask"].notna().all() else None,
        judge_share=shares.to_numpy(dtype=float) if shares.any() else None,
        completions=[str(text) for text in rows["completion"]],
        span=span,
    )


def group_findings(store: Store, rows: pd.DataFrame) -> list[Finding]:
    """What is worth saying about a logged group, worst first.

    Args:
        store: where the rest of its step is.
        rows: all rows of the group, from the ``rollouts`` view.
    """
    first = rows.iloc[0]
    run_id = str(first["run_id"])
    step = rollouts(store, run_id, split=first["split"], step=first["step"], tokens=False)
    made = group_of(rows, objectives(store, run_id), step)
    return findings(made, config_of(store, run_id))


def shown(store: Store, run_id: str, prompt_id: str, *, step: int | None = None) -> Table:
    """The completions of one prompt at one step, the newest one where none is given.

    In a notebook it shows weights, drawn emphasis, rewards and advantage beside each text.

    Raises:
        ValueError: the prompt was not sampled there.
    """
    return Table(group(store, run_id, prompt_id, step=step))


def explained(store: Store, run_id: str, prompt_id: str, *, step: int | None = None) -> Prose:
    """What is worth saying about a group, worst first: level, title, text, advice.

    Raises:
        ValueError: the prompt was not sampled there.
    """
    found = group_findings(store, group(store, run_id, prompt_id, step=step))
    rows = [(f.level, f.message, f.text, f.advice) for f in found]
    return Prose(rows, columns=["level", "title", "text", "advice"])


def favouring(
    store: Store, run_id: str, *, by: By | None = "kind", split: str = "train"
) -> pd.DataFrame:
    """How far weights sit where rewards already are high: columns of ``by``, value, rows.

    The correlation over rows of each weight with its reward, averaged over objectives, in [-1, 1]:
    0 where all rows share their weights, near 1 where every response is judged by what it is good
    at anyway.

    Args:
        store: where to ask.
        run_id: whose rows.
        by: ``"kind"``, ``"step"``, ``"prompt_id"``; None: over all rows.
        split: ``"train"`` or ``"probe"``.

    Raises:
        ValueError: ``by`` or the split is unknown, or there are no rows yet.
    """
    if by is not None and by not in KEYS:
        raise ValueError(f"by: {by!r} not allowed; allowed are {', '.join(KEYS)} and None")
    frame = rollouts(store, run_id, split=split, tokens=False)
    if frame.empty:
        raise ValueError(f"there are no {split} completions yet")
    rows = rows_from_frame(frame, objectives(store, run_id))
    keys = np.zeros(len(frame)) if by is None else frame[by].to_numpy()
    found = []
    for key in dict.fromkeys(keys):
        mine = keys == key
        value = self_favouring(rows.weights[mine], rows.rewards[mine])
        named = {} if by is None else {by: key}
        found.append(named | {"self_favouring": value, "rows": int(mine.sum())})
    return pd.DataFrame(found)
