"""Parts of Launch for more than one device and more than one run: processes, and a sweep."""

from __future__ import annotations

import secrets
import shlex
from typing import Any

from markupsafe import Markup

from workbench.api.workbench import Workbench
from workbench.config import RunConfig
from workbench.config.io import ConfigError, to_dict
from workbench.pages.page import ActionError, View
from workbench.pages.render import render
from workbench.runs.rundir import free_name
from workbench.runs.sweep_plan import SweepError

FIELDS = (
    ("sets", "scalarizer.emphasis=0.1,0.3 grpo.learning_rate=1e-4..1e-3:log", "what varies"),
    ("seeds", "0 1", "seeds"),
    ("random", "empty: the whole grid", "configurations to draw"),
    ("jobs", "2", "runs at once"),
)
"""Name, example and label of the sweep's text fields."""


def launch_options(view: View) -> dict[str, Any]:
    """``processes`` and ``accelerate_config`` as the address has them, for ``Workbench.start``.

    Raises:
        ActionError: the number of processes is none.
    """
    options: dict[str, Any] = {}
    if view.get("processes"):
        options["processes"] = _number(view["processes"], "processes")
    if view.get("accelerate"):
        options["accelerate_config"] = view["accelerate"]
    return options


def words(view: View) -> list[str]:
    """The same as words of the command line."""
    found = []
    if view.get("processes", "1") != "1":
        found += ["--processes", view["processes"]]
    if view.get("accelerate"):
        found += ["--accelerate-config", view["accelerate"]]
    return found


def cards(view: View) -> Markup:
    """Both parts, below the budget."""
    return render("scale.html", view=view, fields=FIELDS, token=secrets.token_hex(8))


def _number(text: str, what: str) -> int:
    if not text.strip().isdigit() or int(text) < 1:
        raise ActionError(
            f"{what}: {text!r} is not allowed; it must be a whole number of at least 1"
        )
    return int(text)


def start_sweep(wb: Workbench, view: View, args: dict[str, Any], config: RunConfig) -> str:
    """Start a sweep around the configuration of the form and go to the list of runs.

    Raises:
        ActionError: a field cannot be meant.
    """
    values = {k: str(v).strip() for k, v in dict(args.get("values") or {}).items()}
    try:
        more: dict[str, Any] = {"early_stop": bool(values.get("early"))}
        for key in ("random", "jobs"):
            if values.get(key):
                more[key] = _number(values[key], key)
        seeds = [int(s) for s in values.get("seeds", "").replace(",", " ").split()] or [0]
        name = free_name(config.name or "sweep", set(wb.sweeps()))
        found = wb.start_sweep(
            to_dict(config), shlex.split(values.get("sets", "")), name=name, seeds=seeds, **more
        )
    except (SweepError, ConfigError, ValueError) as error:
        raise ActionError(str(error)) from error
    view.clear()
    view["tab"] = "runs"
    return f"Started sweep {name}: {found.plan.count} runs, {found.plan.jobs} at once"
