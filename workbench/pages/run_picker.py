"""Which run a page is about: the strip at the top right that Runs, Inspect and Rate share."""

from __future__ import annotations

from typing import Any

from workbench.api.workbench import Workbench
from workbench.pages.live_cache import LIVE, recent_runs
from workbench.pages.markup import button, duration, empty, esc, go, num, select
from workbench.pages.page import View


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


def no_run(wb: Workbench, view: View) -> str:
    """What to show when there is no run to show."""
    if view.get("run"):
        return empty(
            f"No run {view['run']!r} here",
            "It was deleted, or the address belongs to another runs directory.",
            button("See all runs", go(tab="runs", run="")),
        )
    return empty(
        "No runs yet",
        "Start one on Launch: the quick preset takes about a minute and trains on the built-in "
        "tasks, with nothing to download.",
        button("Go to Launch", go(tab="launch"), "primary"),
    )


def strip(wb: Workbench, view: View) -> str:
    """The run picker and, while it trains, how far it is."""
    runs = recent_runs(wb)
    if not len(runs):
        return ""
    options = [
        (str(r.name_), str(r.name_)) for r in runs.rename(columns={"name": "name_"}).itertuples()
    ]
    current = view.get("run", "")
    by_id = runs[runs["run_id"] == current]
    shown = str(by_id["name"].iloc[0]) if len(by_id) else current
    row = runs[runs["name"] == shown]
    live = status(row.iloc[0].to_dict()) if len(row) else ""
    picker = select("run", "run", [(v, f"run: {t}") for v, t in options], shown)
    return f'<div class="wb-strip">{picker}{live}</div>'


def status(run: dict[str, Any]) -> str:
    """A pill with the state of a run."""
    step, steps = int(run["step"] or 0), int(run["steps"] or 0)
    text = f"{run['status']} {step}/{steps}"
    if run["status"] == "running" and run.get("eta_seconds") is not None:
        text += f" · {duration(run['eta_seconds'])} left"
    if run.get("headline") is not None and run["status"] not in LIVE:
        text += f" · judge {num(run['headline'])}"
    return f'<span class="wb-pill"><i class="wb-dot {esc(run["status"])}"></i>{esc(text)}</span>'
