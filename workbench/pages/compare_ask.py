"""Compare asks for what is not there yet: an evaluation of a checkpoint, or one's own prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pandas as pd

from workbench.analysis.queries import matrix
from workbench.api.workbench import Workbench
from workbench.pages.jobs import Job, Jobs
from workbench.pages.live_cache import recent_runs
from workbench.pages.markup import (
    act,
    attr,
    button,
    card,
    duration,
    esc,
    legend,
    num,
    stack,
    table,
)  # fmt: skip
from workbench.pages.page import ActionError, View
from workbench.plots import figures

RECENT = 6
SAYS = {
    "waiting": "waits for its turn",
    "running": "at work",
    "done": "done, stored",
    "failed": "failed",
    "cancelled": "cancelled",
}


def ask_card(wb: Workbench, view: View, sides: Sequence[str]) -> str:
    """Evaluate a checkpoint; send a prompt to the chosen sides."""
    runs = recent_runs(wb)
    options = "".join(
        f"<option {attr('value', str(name))}>{esc(name)}</option>"
        for name in runs["name"].head(200)
    )
    evaluate = (
        '<div class="wb-bar" data-form><label class="wb-field named"><span>run</span>'
        f'<select name="run">{options}</select></label>'
        '<label class="wb-field named"><span>checkpoint: last, best, base or a step</span>'
        '<input type="text" name="checkpoint" data-value="last"></label>'
        '<label class="wb-field named"><span>split</span><select name="split">'
        '<option value="report">report (held out)</option>'
        '<option value="calibration">calibration</option></select></label>'
        + button("Evaluate", act("evaluate") + " data-with")
        + "</div>"
    )
    count = f"{len(sides)} chosen side{'s' if len(sides) != 1 else ''}"
    own = (
        '<div class="wb-bar wb-own" data-form><input type="text" name="prompt" '
        f'aria-label="a prompt of your own" placeholder="a prompt of your own" '
        f"{attr('data-value', view.get('own', ''))}>"
        + button(f"Ask the {count}", act("ask") + " data-with", off=not sides)
        + "</div>"
    )
    return card(
        "Evaluate more",
        f'<div class="wb-row2 wb-plain"><div>{evaluate}</div><div>{own}</div></div>',
        "in a process of its own; results are stored with the run",
    )


def jobs_card(jobs: Sequence[Job]) -> str:
    """What was asked for, newest first; nothing where nothing was."""
    if not jobs:
        return ""
    lines = []
    for job in jobs[:RECENT]:
        live = job.status in ("waiting", "running")
        end = button("cancel", act("cancel", job=job.identity)) if live else ""
        took = duration(job.seconds) if job.began else ""
        dot = {"done": "finished", "running": "running", "failed": "failed"}.get(
            job.status, "queued"
        )
        lines.append(
            f'<tr><td><i class="wb-dot {dot}"></i>{esc(job.title)}</td>'
            f"<td>{esc(job.progress or SAYS[job.status])} {esc(job.message)}</td>"
            f'<td class="wb-num">{took}</td><td class="wb-num">{end}</td></tr>'
        )
    head = [("evaluation", ""), ("", ""), ("took", "wb-num"), ("", "")]
    return card("At work and done", table(head, lines, "wb-jobs"))


def evaluate(wb: Workbench, jobs: Jobs, view: View, args: dict[str, Any]) -> str:
    """Ask for the evaluation of a checkpoint."""
    values = dict(args.get("values") or {})
    run, checkpoint = str(values.get("run", "")), str(values.get("checkpoint", "")).strip()
    split = str(values.get("split", "report"))
    if checkpoint not in ("last", "best", "base") and not checkpoint.isdecimal():
        raise ActionError(f"checkpoint {checkpoint!r}: allowed are last, best, base or a step")
    wb.config(run)
    at = step_of(wb, run, checkpoint)
    stored = wb.sql(
        "SELECT phase FROM evaluations WHERE run_id = $run AND split = $split AND step = $step "
        "ORDER BY time DESC LIMIT 1",
        {"run": wb.resolve(run), "split": split, "step": at},
    )
    if at is not None and len(stored):
        side = f"{run}@{stored['phase'].iloc[0]}"
        chosen = [s for s in view.get("sides", "").split(",") if "@" in s and s != side]
        view["sides"] = ",".join([*chosen, side])
        return f"Stored already: {side} stands beside the others"
    jobs.add(f"{run}, {checkpoint}, {split}", run, checkpoint=checkpoint, split=split)
    return f"Evaluating {checkpoint} of {run}"


def step_of(wb: Workbench, run: str, checkpoint: str) -> int | None:
    """The step that a checkpoint's name stands for; None where that is for the child to find."""
    if checkpoint == "base":
        return 0
    if checkpoint.isdecimal():
        return int(checkpoint)
    found = wb.checkpoints(run)
    kept = found[~found["removed"].astype(bool)] if len(found) else found
    if not len(kept):
        return None
    if checkpoint == "last":
        return int(kept["step"].max())
    scored = kept[kept["score"].notna()].astype({"score": float}).sort_values(["score", "step"])
    return int((scored if len(scored) else kept)["step"].iloc[-1])


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


def answers(wb: Workbench, view: View) -> str:
    """What each checkpoint said to one's own prompt, and how its scalarizer would weigh it."""
    prompt = view.get("own", "")
    if not prompt:
        return ""
    identity = f"own-{hashlib.sha256(prompt.encode()).hexdigest()[:12]}"
    rows = wb.sql(
        "SELECT r.name, e.* FROM evaluations e JOIN runs r USING (run_id) "
        "WHERE e.split = 'own' AND e.prompt_id = $prompt ORDER BY r.name, e.step, e.sample",
        {"prompt": identity},
    )
    if not len(rows):
        return card("Your prompt", f'<p class="wb-dim">No answer to “{esc(prompt)}” yet.</p>')
    names = figures.objective_order({k for m in rows["rewards"] for k in dict(m)})
    colors = figures.objective_colors(names)
    lines = []
    for (name, step), part in rows.groupby(["name", "step"], sort=False):
        weights = dict(zip(names, matrix(part["weights"], names).mean(axis=0), strict=True))
        texts = "<br>".join(f'<span class="wb-text">{esc(t)}</span>' for t in part["completion"])
        means = matrix(part["rewards"], names)
        cells = "".join(f'<td class="wb-num">{num(v)}</td>' for v in means.mean(axis=0))
        lines.append(
            f"<tr><td><b>{esc(name)}</b><br><small class='wb-dim'>step {int(step)}</small></td>"
            f'<td class="wb-mono" dir="auto">{texts}</td>'
            f"<td>{stack(weights, colors, 14, 'weights:')}</td>{cells}</tr>"
        )
    head = [
        ("checkpoint", ""), ("completions", ""), ("weights it would give", ""),
        *((n, "wb-num") for n in names),
    ]  # fmt: skip
    return card(f"Your prompt: {prompt}", legend(names, colors) + table(head, lines, "wb-texts"))
