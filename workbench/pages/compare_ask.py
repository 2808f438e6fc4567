"""Compare asks for what is not there yet: an evaluation of a checkpoint, or one's own prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from workbench.analysis import overview
from workbench.analysis.queries import matrix
from workbench.api.workbench import Workbench
from workbench.pages.jobs import Job, Jobs
from workbench.pages.live_cache import recent_runs
from workbench.pages.page import ActionError, View
from workbench.pages.render import render
from workbench.plots import figures
from workbench.runs import checkpoints
from workbench.runs.rundir import UnknownRunError

RECENT = 6
SAYS = {
    "waiting": "waits for its turn",
    "running": "running",
    "done": "done, stored",
    "failed": "failed",
    "cancelled": "cancelled",
}


def ask_card(wb: Workbench, view: View, sides: Sequence[str]) -> Markup:
    """Evaluate a checkpoint; send a prompt to the chosen sides."""
    runs = recent_runs(wb)["name"].head(200)
    own = view.get("own", "")
    return render("compare_ask.html", runs=list(map(str, runs)), own=own, sides=len(sides))


def jobs_card(jobs: Sequence[Job]) -> Markup | str:
    """What was asked for, newest first; nothing where nothing was."""
    return render("jobs.html", jobs=jobs[:RECENT], says=SAYS) if jobs else ""


def evaluate(wb: Workbench, jobs: Jobs, view: View, args: dict[str, Any]) -> str:
    """Ask for the evaluation of a checkpoint."""
    values = dict(args.get("values") or {})
    run, checkpoint = str(values.get("run", "")), str(values.get("checkpoint", "")).strip()
    split = str(values.get("split", "report"))
    if checkpoint not in ("last", "best", "base") and not checkpoint.isdecimal():
        raise ActionError(f"checkpoint {checkpoint!r}: allowed are last, best, base or a step")
    wb.config(run)
    at = step_of(wb, run, checkpoint)
    stored = overview.stored_phase(wb.store, wb.resolve(run), split, at)
    if stored is not None:
        side = f"{run}@{stored}"
        chosen = [s for s in view.get("sides", "").split(",") if "@" in s and s != side]
        view["sides"] = ",".join([*chosen, side])
        return f"Stored already: {side} stands beside the others"
    jobs.add(f"{run}, {checkpoint}, {split}", run, checkpoint=checkpoint, split=split)
    return f"Evaluating {checkpoint} of {run}"


def step_of(wb: Workbench, run: str, checkpoint: str) -> int | None:
    """The step that a checkpoint's name stands for; None where there is none on disk."""
    if checkpoint.isdecimal():
        return int(checkpoint)
    try:
        found = checkpoints.find(wb.launcher.path(run), checkpoint)
    except (checkpoints.UnknownCheckpointError, UnknownRunError):
        return None
    return 0 if found is None else checkpoints.step_of(found)


def ask(wb: Workbench, jobs: Jobs, view: View, args: dict[str, Any], known: pd.DataFrame) -> str:
    """Send a prompt of one's own to the checkpoint behind each chosen side."""
    prompt = str(dict(args.get("values") or {}).get("prompt", "")).strip()
    if not prompt:
        raise ActionError("Write a prompt first")
    sides = [s for s in view.get("sides", "").split(",") if "@" in s]
    if not sides:
        raise ActionError("Choose the sides to ask above")
    for side in sides:
        run, _, phase = side.rpartition("@")
        here = known[(known["name"] == run) & (known["phase"] == phase)]
        step = int(here["step"].iloc[0]) if len(here) else 0
        checkpoint = "base" if step == 0 else str(step)
        jobs.add(
            f"{side}: own prompt", run, checkpoint=checkpoint, prompt=prompt, num_generations=4,
            phase=f"own-{step}",
        )  # fmt: skip
    view["own"] = prompt
    return f"Asking {len(sides)} sides"


def answers(wb: Workbench, view: View) -> Markup | str:
    """What each checkpoint said to one's own prompt, and how its scalarizer would weigh it."""
    prompt = view.get("own", "")
    if not prompt:
        return ""
    identity = f"own-{hashlib.sha256(prompt.encode()).hexdigest()[:12]}"
    rows = overview.answers(wb.store, identity)
    names = figures.objective_order({k for m in rows["rewards"] for k in dict(m)})
    answered = [
        {
            "name": name,
            "step": int(step),
            "texts": [str(t) for t in part["completion"]],
            "weights": dict(zip(names, matrix(part["weights"], names).mean(axis=0), strict=True)),
            "rewards": matrix(part["rewards"], names).mean(axis=0).tolist(),
        }
        for (name, step), part in rows.groupby(["name", "step"], sort=False)
    ]
    colors = figures.objective_colors(names)
    return render("answers.html", prompt=prompt, answered=answered, names=names, colors=colors)
