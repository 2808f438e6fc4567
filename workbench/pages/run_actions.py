"""One run: what it is, how it goes, and the buttons that act on it."""

from __future__ import annotations

from typing import Any

from workbench.api.workbench import Workbench
from workbench.pages import run_facts
from workbench.pages.live_cache import LIVE
from workbench.pages.markup import act, button, card, duration, esc, go, num
from workbench.pages.page import View


def detail(wb: Workbench, run: dict[str, Any]) -> str:
    """Head of the chosen run: state, numbers, message, buttons."""
    name, status = str(run["name"]), str(run["status"])
    live = status in LIVE
    note = run_facts.note_of(wb, run["run_id"])
    tags = run_facts.tags_of(wb).get(run["run_id"], [])
    again = status in ("stopped", "failed") and int(run["step"] or 0) < int(run["steps"] or 0)
    buttons = [
        button("Inspect", go(tab="inspect", run=name), "primary"),
        button("Stop", act("stop", run=run["run_id"]), off=not live or status == "stopping",
               title="stop after the current step, with a checkpoint"),
        button("Resume", act("resume", run=run["run_id"]), off=not again),
        button("Duplicate", act("duplicate", run=run["run_id"]), title="its settings on Launch"),
        button("Learn from it", act("learn", source=run["run_id"]), off=not run["step"],
               title="on Launch: a run that learns from the rollouts of this one"),
        button("Tag", act("tag", run=run["run_id"], ask="Tag:", value="")),
        button("Note", act("note", run=run["run_id"], ask="Note on this run:", value=note)),
        button("Rename", act("rename", run=run["run_id"], ask="New name of the run:", value=name)),
        button(
            "Delete", act("delete", run=run["run_id"],
                          confirm=f"Delete {name}, its rows and its checkpoints for good?"),
            "danger", off=live,
        ),
    ]  # fmt: skip
    facts = [
        ("status", status),
        ("step", f"{int(run['step'] or 0)} of {int(run['steps'] or 0)}"),
        ("left", duration(run["eta_seconds"]) if status == "running" else "–"),
        ("pace", f"{num(run['steps_per_second'])} steps/s"),
        ("judge", num(run["headline"])),
        ("attempt", str(run.get("attempt") or 1)),
        ("id", str(run["run_id"])),
    ]
    shown = "".join(f"<span><small>{esc(k)}</small>{esc(v)}</span>" for k, v in facts)
    message = run.get("message")
    level = "bad" if status == "failed" else "note"
    said = (
        f'<div class="wb-note {level}" role="status">{esc(message)}</div>'
        if isinstance(message, str) and message
        else ""
    )
    about = f'<p class="wb-text wb-note-text">{esc(note)}</p>' if note else ""
    chips = run_facts.tag_chips(run["run_id"], tags, removable=True)
    return card(
        name,
        f'<div class="wb-facts">{shown}{chips}</div>{about}{said}'
        f"{run_facts.warnings(wb, run['run_id'])}",
        "".join(buttons),
    )


def stop(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Ask the run to stop after its current step."""
    wb.stop(str(args["run"]))
    return "Stopping after the current step"


def resume(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Continue a run that was stopped or failed."""
    wb.resume(str(args["run"]))
    return "Resumed"


def rename(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Give the run another name."""
    name = str(args.get("value", "")).strip()
    wb.rename(str(args["run"]), name)
    view["run"] = name
    return f"Renamed to {name}"


def delete(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Delete the run for good."""
    wb.delete(str(args["run"]))
    view.pop("run", None)
    return "Deleted"


def duplicate(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Put the run's settings on Launch."""
    from workbench.pages import launch

    launch.open_with(view, wb.duplicate(str(args["run"])))
    return "Its settings are on this form; nothing has started"


def learn(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Put a run on Launch that learns from logged rows: of a run, or of a run's votes."""
    from workbench.pages import launch

    launch.open_with(view, wb.offline_config(str(args["source"]).split(",")))
    return "A run that learns from these rows is on this form; nothing has started"


ACTIONS = {
    "stop": stop,
    "resume": resume,
    "rename": rename,
    "delete": delete,
    "duplicate": duplicate,
    "learn": learn,
    "tag": run_facts.tag,
    "untag": run_facts.untag,
    "note": run_facts.note,
    "export": run_facts.export,
}
