"""What other weights would have done with the same rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from pydantic import TypeAdapter, ValidationError

from workbench.analysis.counterfactual import bounds, latest_conductor
from workbench.analysis.logged_rows import LoggedRows, rows_from_frame
from workbench.analysis.whatif import WhatIf, whatif
from workbench.api.workbench import Workbench
from workbench.config.scalarizers import SCALARIZER_CONFIGS, by_name_alone
from workbench.pages.live_cache import config_of, recent_runs
from workbench.pages.page import View
from workbench.pages.render import render
from workbench.types import Floats

MOST_CONDUCTORS = 40


@dataclass(frozen=True)
class Alternative:
    """Another weighting of one step: what it gives, and the weights that the sliders show (K,)."""

    result: WhatIf
    sliders: Floats
    says: str
    problem: str = ""

    @property
    def advantages(self) -> Floats:
        """(N,) advantages under the other weights, one per row of the step."""
        return self.result.advantages


def alternative(
    wb: Workbench, view: View, run_id: str, names: Sequence[str], step: pd.DataFrame
) -> Alternative:
    """Advantages of a whole step under the weights or the scalarizer that the address asks for.

    Without any, every row gets the mean weights of the chosen group: one yardstick for all rows.
    """
    config = config_of(wb, run_id)
    rows = rows_from_frame(step, names, config.grpo.kl_in_reward)
    lower, upper = bounds(config)
    how = {
        "aggregation": config.aggregation, "scale_rewards": config.grpo.scale_rewards,
        "lower": lower, "upper": upper,
    }  # fmt: skip
    mine = (step["prompt_id"] == view.get("prompt")).to_numpy()
    sliders = rows.weights[mine].mean(axis=0)
    says, problem = "the group's mean weights for every row", ""
    if view.get("alt"):
        try:
            result, asked = _ask(wb, view["alt"], run_id, names, step, rows, how)
            return Alternative(result, result.weights[mine].mean(axis=0), asked)
        except (ValueError, LookupError) as error:
            problem = str(error)
    elif view.get("w"):
        try:
            sliders, says = _typed(view["w"], rows), "these weights for every row"
        except ValueError as error:
            problem = str(error)
    return Alternative(whatif(rows, weights=sliders, **how), sliders, says, problem)


def _ask(
    wb: Workbench,
    alt: str,
    run_id: str,
    names: Sequence[str],
    step: pd.DataFrame,
    rows: LoggedRows,
    how: Mapping[str, Any],
) -> tuple[WhatIf, str]:
    """What a scalarizer, or the newest Conductor of a run (``conductor:RUN``), would have chosen.

    Raises:
        ValueError: it cannot be asked; the text says why.
    """
    kind, _, other = alt.partition(":")
    if kind != "conductor":
        return whatif(rows, scalarizer=_config(alt, names), **how), f"{alt} weights"
    theirs = config_of(wb, wb.resolve(other)).objective_names
    if tuple(theirs) != tuple(names):
        raise ValueError(f"run {other!r} weighs other objectives: {', '.join(theirs)}")
    at = int(step["step"].iloc[0])
    contexts = wb.store.contexts(run_id, str(step["split"].iloc[0]), (at, at))
    joined = step.merge(contexts, on=["step", "group_id", "sample"], how="left")
    with_contexts = rows_from_frame(joined, names)
    result = whatif(
        replace(rows, contexts=with_contexts.contexts),
        conductor=latest_conductor(wb.launcher.path(other)),
        **how,
    )
    return result, f"the weights of {other}'s newest Conductor"


def conductors(wb: Workbench, names: Sequence[str]) -> list[str]:
    """Names of the runs, newest first, whose Conductor weighs the same objectives."""
    runs = recent_runs(wb)
    if "scalarizer" not in runs or "objectives" not in runs:
        return []
    here = [
        str(row["name"])
        for row in runs.to_dict("records")
        if row["scalarizer"] == "conductor" and list(row["objectives"] or ()) == list(names)
    ]
    return here[:MOST_CONDUCTORS]


def _typed(text: str, rows: LoggedRows) -> Floats:
    """K weights as sliders send them, normalised; below 0 where the run's own weights are signed.

    Raises:
        ValueError: they are no K finite numbers, or all 0.
    """
    count, signed = len(rows.objectives), bool((rows.weights < 0).any())
    try:
        asked = np.array([float(part) for part in text.split(",")])
    except ValueError as error:
        raise ValueError(f"weights {text!r} are no numbers") from error
    whole = np.abs(asked).sum()
    if asked.shape != (count,) or not (signed or (asked >= 0).all()) or not 0 < whole < np.inf:
        raise ValueError(f"weights {text!r}: {count} numbers from 0, not all 0")
    return np.asarray(asked / whole)


def _config(name: str, names: Sequence[str]):  # noqa: ANN202 - one of ScalarizerConfig
    """The settings of a scalarizer by name; ``single:NAME`` names its objective.

    Raises:
        ValueError: no scalarizer has that name, or it needs more than its name.
    """
    kind, _, objective = name.partition(":")
    allowed = by_name_alone()
    if kind == "single" and objective in names:
        return SCALARIZER_CONFIGS["single"](objective=objective)
    if kind not in allowed:
        raise ValueError(f"no scalarizer {name!r} to ask; there are {', '.join(allowed)}")
    try:
        return TypeAdapter(SCALARIZER_CONFIGS[kind]).validate_python({"name": kind})
    except ValidationError as error:
        raise ValueError(f"{kind} needs settings of its own") from error


def panel(
    view: View,
    names: Sequence[str],
    colors: Mapping[str, str],
    rows: pd.DataFrame,
    other: Alternative,
    inside: np.ndarray,
    others: Sequence[str],
) -> Markup:
    """The sliders, the other scalarizers, and how much would change."""
    used = rows["advantage"].to_numpy(dtype=float)
    new = other.advantages[inside]
    options = [("", "or another scalarizer …"), *((f"single:{n}", f"single: {n}") for n in names)]
    options += [(k, k) for k in by_name_alone() if k != "static"]
    options += [(f"conductor:{run}", f"Conductor of {run}") for run in others]
    return render(
        "whatif.html",
        sliders=list(zip(names, other.sliders.tolist(), strict=True)),
        colors=colors,
        options=options,
        chosen=view.get("alt", ""),
        other=other,
        lowest=-1 if (other.result.rows.weights < 0).any() else 0,
        equal=",".join(["1"] * len(names)),
        flips=int(((used * new) < 0).sum()),
        size=len(used),
        rank=pd.Series(used).rank().corr(pd.Series(new).rank()) if len(used) > 1 else np.nan,
    )
