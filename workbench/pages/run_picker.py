"""Which run a page is about: the picker at the top right that Inspect and Rate share."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from workbench.api.workbench import Workbench
from workbench.formatting import num
from workbench.pages.live_cache import LIVE, recent_runs
from workbench.pages.page import View
from workbench.pages.render import duration, empty, go, render


def chosen(wb: Workbench, view: View) -> dict[str, Any] | None:
    """The run that the address names, by id or name, else the newest; settles ``run``."""
    runs = recent_runs(wb)
    if not len(runs):
        return None
    wanted = view.get("run", "")
    if wanted:
        found = runs[(runs["run_id"] == wanted) | (runs["name"] == wanted)]
        if not len(found):
            return None
        row = found.iloc[0].to_dict()
    else:
        row = runs.iloc[0].to_dict()
        view["run"] = str(row["name"])
    return {str(k): v for k, v in row.items()}


def no_run(wb: Workbench, view: View) -> Markup:
    """What to show when there is no run to show."""
    if view.get("run"):
        return empty(
            f"No run {view['run']!r} here",
            "It was deleted, or the address belongs to another runs directory.",
            "See all runs",
            go(tab="runs", run=""),
        )
    return empty(
        "No runs yet",
        "Start one on Launch: the quick preset takes about a minute and trains on the built-in "
        "tasks, with nothing to download.",
        "Go to Launch",
        go(tab="launch"),
    )


def picker(wb: Workbench, view: View) -> Markup:
    """The run picker and, while it trains, how far it is."""
    runs = recent_runs(wb)
    current = view.get("run", "")
    row = next((r for r in runs.to_dict("records") if current in (r["name"], r["run_id"])), None)
    return render(
        "run_picker.html",
        names=[str(name) for name in runs["name"]] if len(runs) else [],
        shown=str(row["name"]) if row else current,
        status=row["status"] if row else "",
        text=status(row) if row else "",
    )


def status(run: dict[Any, Any]) -> str:
    """The state of a run in a few words."""
    text = f"{run['status']} {int(run['step'] or 0)}/{int(run['steps'] or 0)}"
    if run["status"] == "running" and run.get("eta_seconds") is not None:
        text += f" · {duration(run['eta_seconds'])} left"
    if run.get("headline") is not None and run["status"] not in LIVE:
        text += f" · probe judge {num(run['headline'])}"
    return text
