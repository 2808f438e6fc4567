"""The sweeps on Compare: configurations with their means, trials as lines, a Pareto front."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workbench.api.workbench import Workbench
from workbench.pages.page import View
from workbench.pages.render import render
from workbench.plots import figures
from workbench.runs.sweep_plan import SweepError

BEST = 10


def show(wb: Workbench, view: View) -> list[Any]:
    """A card, the parallel coordinates and the front of the chosen sweep; empty without any."""
    names = wb.sweeps()
    if not names:
        return ["", None, None]
    name = view["sweep"] if view.get("sweep") in names else names[-1]
    try:
        found = wb.sweep(name)
        trials = found.trials
    except (SweepError, OSError, ValueError) as error:
        return [render("sweep.html", names=names, name=name, error=str(error)), None, None]
    ended = trials["value"].notna().any()
    objectives = [c.removeprefix("reward/") for c in trials.columns if c.startswith("reward/")]
    best = found.best.head(BEST) if len(trials) else pd.DataFrame()
    parallel = figures.plain(found.figure("parallel")) if ended else None
    front, x, y = None, "", ""
    if ended and len(objectives) > 1 and len(found.best):
        x = view["sx"] if view.get("sx") in objectives else objectives[0]
        y = view["sy"] if view.get("sy") in objectives and view.get("sy") != x else ""
        y = y or next(n for n in reversed(objectives) if n != x)
        front = figures.plain(found.figure("pareto", x, y))
    card = render(
        "sweep.html",
        names=names,
        name=name,
        error="",
        axes=(x, y) if front else (),
        objectives=objectives,
        counts=list(trials["status"].value_counts().items()),
        trials=len(trials),
        keys=found.keys,
        best=best.to_dict("records"),
        judged="judge" in best and bool(best["judge"].notna().any()),
    )
    return [card, parallel, front]
