"""What-ifs and comparisons of logged runs: the rows fetched, the pure functions asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis.comparison import Comparison, compare
from workbench.analysis.display import LEFT, RIGHT, TEXT, cells, html_table
from workbench.analysis.logged_rows import rows_from_frame
from workbench.analysis.queries import config_of, evaluations, rollouts
from workbench.analysis.whatif import WhatIf, whatif
from workbench.config import RunConfig
from workbench.config.io import load, to_dict
from workbench.config.text import flatten
from workbench.formatting import esc, num, percent
from workbench.objectives import OBJECTIVES
from workbench.runs.checkpoints import CONDUCTOR, UnknownCheckpointError, find
from workbench.store.reader import Store


@dataclass(frozen=True)
class LoggedWhatIf(WhatIf):
    """A what-if that knows which completions its rows are."""

    logged: pd.DataFrame

    def top(self, count: int = 20) -> pd.DataFrame:
        """The completions that change most: where they stand, their text, before, after."""
        rows = super().top(count)
        where = self.logged[["step", "kind", "group_id", "sample", "completion"]].iloc[rows["row"]]
        return pd.concat([where.reset_index(drop=True), rows.drop(columns="row")], axis=1)

    def frame(self) -> pd.DataFrame:
        """Every completion with its advantage as used and as it would be.

        Columns step, kind, prompt_id, prompt, group_id, sample, completion, before, after, change,
        flipped.
        """
        kept = ["step", "kind", "prompt_id", "prompt", "group_id", "sample", "completion"]
        return self.logged[kept].assign(
            before=self.rows.advantages,
            after=self.advantages,
            change=self.advantages - self.rows.advantages,
            flipped=self.flipped,
        )

    def __repr__(self) -> str:
        known = {name: round(value, 3) for name, value in self.summary().items()}
        return f"LoggedWhatIf({known})"

    def _repr_html_(self) -> str:
        return whatif_html(self)


def whatif_html(found: LoggedWhatIf, count: int = 5) -> str:
    """How much would change, and the completions that change most."""
    rows = found.top(count)
    lines = [
        f'<tr>{cells([esc(r["kind"]), str(r["step"])], LEFT)}<td style="{TEXT}" dir="auto">'
        f"{esc(r['completion'])}</td>"
        f"{cells([num(r['before'], signed=True), num(r['after'], signed=True)])}"
        f"{cells(['⇅' if r['flipped'] else ''])}</tr>"
        for r in rows.to_dict("records")
    ]
    head = [("kind", LEFT), ("step", LEFT), ("completion", LEFT), ("used", RIGHT)]
    head += [("what if", RIGHT), ("sign", RIGHT)]
    return (
        f"<div>{percent(found.sign_flips)} of {len(found.advantages):,} signs flip · rank "
        f"correlation {num(found.rank_correlation)} · the {len(rows)} rows that change most:</div>"
        + html_table(head, lines)
    )


def whatif_run(
    store: Store,
    run_id: str,
    config: RunConfig,
    scalarizer: str | Mapping[str, Any] | None = None,
    weights: Mapping[str, float] | None = None,
    conductor: Mapping[str, np.ndarray] | None = None,
    split: str = "train",
    aggregation: str | None = None,
) -> LoggedWhatIf:
    """Advantages of a run's logged rows under another weighting; see ``Workbench.whatif``.

    ``conductor`` is the state of a Conductor, as ``latest_conductor`` reads it.
    """
    frame = rollouts(store, run_id, split=split, tokens=False)
    if frame.empty:
        raise ValueError(f"there are no {split} completions yet")
    if conductor is not None:
        contexts = store.contexts(run_id, split)
        frame = frame.merge(contexts, on=["step", "group_id", "sample"], how="left")
        frame = frame[frame["context"].notna()]
    lower, upper = bounds(config)
    found = whatif(
        rows_from_frame(frame, config.objective_names, config.grpo.kl_in_reward),
        None if scalarizer is None else _settings(config, scalarizer),
        weights,
        conductor,
        aggregation or config.aggregation,
        config.grpo.scale_rewards,
        lower,
        upper,
    )
    return LoggedWhatIf(
        found.rows, found.weights, found.scalars, found.advantages, frame.reset_index(drop=True)
    )


def _settings(config: RunConfig, scalarizer: str | Mapping[str, Any]) -> Any:
    """A scalarizer's settings, checked against the run's objectives."""
    chosen = {"name": scalarizer} if isinstance(scalarizer, str) else dict(scalarizer)
    return load(to_dict(config) | {"scalarizer": chosen}).scalarizer


def bounds(config: RunConfig) -> tuple[np.ndarray, np.ndarray]:
    """Declared (lower, upper) of each objective after its sign; infinite where none is declared.

    Nothing is imported for it: an objective of one's own declares its bounds in the configuration.
    """
    low, high = [], []
    for objective in config.objectives:
        known = None if objective.function else OBJECTIVES.get(objective.name)
        first = objective.lower if known is None or objective.lower is not None else known.lower
        last = objective.upper if known is None or objective.upper is not None else known.upper
        ends = (-np.inf if first is None else first, np.inf if last is None else last)
        low.append(ends[0] if objective.sign == 1 else -ends[1])
        high.append(ends[1] if objective.sign == 1 else -ends[0])
    return np.array(low), np.array(high)


def latest_conductor(run_dir: Path) -> dict[str, np.ndarray]:
    """State of a run's Conductor at its newest checkpoint.

    Raises:
        ValueError: it has no checkpoint with a Conductor.
    """
    from safetensors.numpy import load_file

    try:
        found = find(run_dir, "last")
    except UnknownCheckpointError as error:
        raise ValueError(f"run {run_dir.name!r} has no checkpoint with a Conductor") from error
    if found is None or not (found / CONDUCTOR).is_file():
        raise ValueError(f"run {run_dir.name!r} has no checkpoint with a Conductor")
    return dict(load_file(found / CONDUCTOR))


def compare_runs(
    store: Store,
    sides: Mapping[str, str],
    phase: str | None = None,
    reference: Mapping[str, float] | str | None = None,
) -> Comparison:
    """Compare evaluations of runs; see ``Workbench.compare``.

    Args:
        store: where to ask.
        sides: each side as it was asked for (``RUN``, ``RUN@STEP``, ``RUN@PHASE``) and its run's
            id.
        phase: which evaluation of those without ``@``; None: the newest.
        reference: of the hypervolume.
    """
    rows: dict[str, pd.DataFrame] = {}
    configs: dict[str, RunConfig] = {}
    signs: dict[str, int] = {}
    for side, run_id in sides.items():
        found = evaluations(store, run_id)
        found = found[found["split"] != "own"]  # prompts that a person typed are no sample
        rows[side] = _chosen(found, side.partition("@")[2] or phase)
        if config := config_of(store, run_id):
            configs[side] = config
            signs |= {o.name: o.sign for o in config.objectives}
    if reference in (None, "bounds"):
        reference = declared(configs.values()) or (None if reference is None else {})
    elif reference == "worst":
        reference = None
    return compare(rows, signs, reference, _differences(configs))


def declared(configs: Iterable[RunConfig]) -> dict[str, float]:
    """Lower bound of each objective after its sign, where all runs declare the same finite ones.

    Empty where one does not: then there is no such reference point.
    """
    found: dict[str, float] = {}
    for config in configs:
        for name, low in zip(config.objective_names, bounds(config)[0], strict=True):
            if not np.isfinite(low) or found.setdefault(name, float(low)) != low:
                return {}
    return found


def _chosen(rows: pd.DataFrame, at: str | None) -> pd.DataFrame:
    """One evaluation out of a run's: a step's, a phase's, or the newest."""
    if at is None:
        newest = rows["step"].max()
        rows = rows[rows["step"] == newest]
        return rows[rows["phase"] == rows["phase"].iloc[-1]] if len(rows) else rows
    found = rows[rows["step"] == int(at)] if at.isdecimal() else rows[rows["phase"] == at]
    if found.empty:
        have = sorted({f"{p} (step {s})" for p, s in zip(rows["phase"], rows["step"], strict=True)})
        raise ValueError(f"no evaluation {at!r}; there are {', '.join(have) or 'none'}")
    return found


def _differences(configs: Mapping[str, RunConfig]) -> pd.DataFrame:
    """The keys in which configurations differ, one column a side."""
    flat = {side: flatten(config) for side, config in configs.items()}
    keys = list(dict.fromkeys(key for values in flat.values() for key in values))
    table = pd.DataFrame(
        [[flat[side].get(key) for side in flat] for key in keys], index=keys, columns=list(flat)
    )
    differs = [len({repr(v) for v in row}) > 1 for row in table.itertuples(index=False)]
    return table[differs].rename_axis("key").reset_index()
