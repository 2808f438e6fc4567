"""One run: what it is, how it goes, and the buttons that act on it."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from workbench.analysis import overview
from workbench.api.workbench import Workbench
from workbench.formatting import NOTHING, num
from workbench.pages import run_facts
from workbench.pages.launch_address import duplicate, learn
from workbench.pages.live_cache import LIVE, recent
from workbench.pages.page import View
from workbench.pages.render import duration, render

HERO_SECONDS = 10.0


def detail(wb: Workbench, run: dict[str, Any]) -> Markup:
    """Head of the chosen run: state, numbers, message, warnings, buttons."""
    status = str(run["status"])
    done, steps = int(run["step"] or 0), int(run["steps"] or 0)
    message = run.get("message")
    return render(
        "run.html",
        run=run,
        id=run["run_id"],
        name=str(run["name"]),
        status=status,
        live=status in LIVE,
        again=status in ("stopped", "failed") and done < steps,
        message=message if isinstance(message, str) else "",
        note=run_facts.note_of(wb, run["run_id"]),
        tags=overview.tags(wb.store).get(run["run_id"], []),
        warnings=run_facts.warnings(wb, run["run_id"]),
        hero=recent(
            wb, ("hero", run["run_id"]), lambda: run_facts.hero(wb, run["run_id"]), HERO_SECONDS
        ),
        facts=[
            ("status", status),
            ("step", f"{done} of {steps}"),
            ("left", duration(run["eta_seconds"]) if status == "running" else NOTHING),
            ("pace", f"{num(run['steps_per_second'])} steps/s"),
            ("probe judge", num(run["headline"])),
            ("attempt", str(run.get("attempt") or 1)),
            ("id", str(run["run_id"])),
        ],
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
