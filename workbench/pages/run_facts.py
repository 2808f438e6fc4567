"""What is known of a run beyond its curves: warnings, drift, checkpoints, settings, notes."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from markupsafe import Markup

from workbench.analysis import overview
from workbench.analysis.queries import objectives
from workbench.api.workbench import Workbench
from workbench.core.diagnostics import suggest_token_limit
from workbench.pages.live_cache import config_of, yaml_of
from workbench.pages.render import or_problem, render
from workbench.plots.palette import objective_colors


def cards(wb: Workbench, run_id: str) -> Markup:
    """Every card of this file, in the order of how much it matters."""
    drift = or_problem("Drift by kind", drift_card, wb, run_id)
    checkpoints = or_problem("Checkpoints", checkpoints_card, wb, run_id)
    settings = or_problem("Settings", settings_card, wb, run_id)
    return Markup('<div class="wb-grid wb-wide">{}{}</div>{}').format(drift, checkpoints, settings)


def hero(wb: Workbench, run_id: str) -> dict[str, Any]:
    """What came of a run: the judge on held-out prompts, before and after, and weights by kind.

    The interval of the gain is 1.96 standard errors of the mean over prompts, each compared with
    itself. ``judge`` is None where no held-out prompt was judged both before and after.
    """
    frame = overview.held_out_prompts(wb.store, run_id)
    names = objectives(wb.store, run_id)
    weights = overview.late_weights(wb.store, run_id)
    kinds = []
    for kind in sorted(set(frame["kind"]) | set(weights["kind"])):
        mine = weights[weights["kind"] == kind]
        found = dict(zip(mine["objective"], mine["weight"], strict=True))
        part = frame[frame["kind"] == kind]
        kinds.append(
            {
                "kind": kind,
                "judge": _gain(part) if len(part) else None,
                "weights": {n: float(found[n]) for n in names if n in found},
            }
        )
    return {
        "judge": _gain(frame) if len(frame) else None,
        "kinds": kinds,
        "names": names,
        "colors": objective_colors(names),
    }


def _gain(frame: pd.DataFrame) -> dict[str, float]:
    change = frame["after"] - frame["before"]
    error = float(change.std() / math.sqrt(len(change))) if len(change) > 1 else math.nan
    return {
        "before": float(frame["before"].mean()),
        "after": float(frame["after"].mean()),
        "gain": float(change.mean()),
        "half": 1.96 * error,
        "prompts": len(frame),
    }


def warnings(wb: Workbench, run_id: str) -> list[dict[str, Any]]:
    """The newest warning of each kind, with what to try."""
    found = wb.warnings(run_id)
    if not len(found):
        return []
    newest = found.sort_values("step").drop_duplicates("code", keep="last").iloc[::-1]
    return [{str(k): v for k, v in row.items()} for row in newest.to_dict("records")]


def drift_card(wb: Workbench, run_id: str) -> Markup | str:
    """Length, truncation and KL per kind, first fifth against last; and a better token limit."""
    frame = overview.drift(wb.store, run_id)
    if not len(frame) or int(frame["steps"].max()) < 2:
        return ""
    rows = overview.lengths(wb.store, run_id)
    now = config_of(wb, run_id).grpo.max_completion_length
    better = now  # rows of elsewhere may not tell their lengths
    if len(rows):
        better = suggest_token_limit(
            rows["num_tokens"].to_numpy(dtype=int), rows["truncated"].to_numpy(dtype=bool), now
        )
    return render("drift.html", rows=frame.to_dict("records"), now=now, better=better)


def checkpoints_card(wb: Workbench, run_id: str) -> Markup:
    """Checkpoints that are still there; the best one is marked."""
    found = wb.checkpoints(run_id)
    kept = found[~found["removed"].astype(bool)] if len(found) else found
    logging = config_of(wb, run_id).logging
    folder = wb.launcher.path(run_id) / "segments" / "contexts"
    used = sum(file.stat().st_size for file in folder.glob("*.parquet")) / 1e6
    rows = kept.sort_values("step", ascending=False).to_dict("records") if len(kept) else []
    return render(
        "checkpoints.html",
        run=run_id,
        rows=rows,
        best=kept["score"].astype(float).max() if len(kept) else math.nan,
        logging=logging,
        used=used,
    )


def settings_card(wb: Workbench, run_id: str) -> Markup:
    """The run's whole configuration, and the command that makes it again."""
    command = str(wb.reproduce(run_id)["command"])
    return render("settings.html", command=command, yaml=yaml_of(wb, run_id))


def note_of(wb: Workbench, run_id: str) -> str:
    """The note on a run; empty where there is none."""
    marks = wb.annotations(run_id)
    notes = marks[marks["type"] == "note"]
    return str(notes["text"].iloc[-1] or "") if len(notes) else ""


def tag(wb: Workbench, view: dict[str, str], args: dict[str, Any]) -> str:
    """Put a tag on a run."""
    text = str(args.get("value", "")).strip()[:40]
    if not text:
        raise ValueError("A tag needs a text")
    wb.annotate(str(args["run"]), "tag", text=text)
    return f"Tagged {text}"


def export(wb: Workbench, view: dict[str, str], args: dict[str, Any]) -> str:
    """Copy a checkpoint into a model folder with a card."""
    return f"Exported to {wb.export_model(str(args['run']), int(args['step']))}"


def untag(wb: Workbench, view: dict[str, str], args: dict[str, Any]) -> str:
    """Take a tag off a run."""
    wb.retract(str(args["run"]), str(args["tag"]))
    return "Tag removed"


def note(wb: Workbench, view: dict[str, str], args: dict[str, Any]) -> str:
    """Write the note of a run; an empty one removes it."""
    text = str(args.get("value", "")).strip()[:2000]
    wb.annotate(str(args["run"]), "note", annotation_id="note", text=text)
    return "Noted" if text else "Note removed"
