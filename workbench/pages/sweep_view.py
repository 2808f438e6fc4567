"""The sweeps on Compare: configurations with their means, trials as lines, a Pareto front."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workbench.analysis.sweeps import SweepResult
from workbench.api.workbench import Workbench
from workbench.pages.markup import card, esc, num, percent, select, table
from workbench.pages.page import View
from workbench.plots import figures
from workbench.runs.sweep_plan import SweepError

BEST = 10


def show(wb: Workbench, view: View) -> list[Any]:
    """A card, the parallel coordinates and the front of the chosen sweep; empty without any."""
    names = wb.sweeps()
    if not names:
        return ["", None, None]
    name = view["sweep"] if view.get("sweep") in names else names[-1]
    chooser = select("sweep", "sweep", [(n, n) for n in names], name)
    try:
        found = wb.sweep(name)
        trials = found.trials
    except (SweepError, OSError, ValueError) as error:
        return [card("Sweep", f'<p class="wb-error">{esc(error)}</p>', chooser), None, None]
    ended = trials["value"].notna().any()
    objectives = [c.removeprefix("reward/") for c in trials.columns if c.startswith("reward/")]
    parallel = figures.plain(found.figure("parallel")) if ended else None
    front = None
    if ended and len(objectives) > 1 and len(found.best):
        x = view["sx"] if view.get("sx") in objectives else objectives[0]
        y = view["sy"] if view.get("sy") in objectives and view.get("sy") != x else ""
        y = y or next(n for n in reversed(objectives) if n != x)
        options = [(n, n) for n in objectives]
        chooser += select("sx", "horizontal objective", options, x)
        chooser += select("sy", "vertical objective", options, y)
        front = figures.plain(found.figure("pareto", x, y))
    return [card(f"Sweep {name}", _best(found, trials), chooser), parallel, front]


def _best(found: SweepResult, trials: pd.DataFrame) -> str:
    """The configurations, best first, with their means over seeds."""
    counts = ", ".join(f"{n} {status}" for status, n in trials["status"].value_counts().items())
    said = f'<p class="wb-dim">{len(trials)} trials: {esc(counts) or "none yet"}</p>'
    best = found.best.head(BEST) if len(trials) else pd.DataFrame()
    if not len(best):
        return said
    head = [(k.rpartition(".")[2], "") for k in found.keys]
    judged = "judge" in best and best["judge"].notna().any()
    head += [("metric", "wb-num"), *([("judge", "wb-num")] if judged else []), ("seeds", "wb-num")]
    lines = []
    for row in best.to_dict("records"):
        cells = "".join(f"<td><b>{esc(row[k])}</b></td>" for k in found.keys)
        cells += f'<td class="wb-num">{num(row["value"])}</td>'
        cells += f'<td class="wb-num">{percent(row["judge"])}</td>' if judged else ""
        lines.append(f'<tr>{cells}<td class="wb-num">{int(row["seeds"])}</td></tr>')
    return said + table(head, lines)
