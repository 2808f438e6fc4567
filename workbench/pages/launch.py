"""Launch: a run's configuration as a form, as YAML and as a command line; one click starts it."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from markupsafe import Markup

from workbench.api.workbench import Workbench
from workbench.config import RunConfig
from workbench.config.io import PRESETS, ConfigError, preset_text
from workbench.config.text import dump
from workbench.pages import form, scale_form, task_preview
from workbench.pages.gradio_patches import gr
from workbench.pages.launch_address import (
    lean,
    objectives_text,
    overrides,
    preset_of,
    read,
    sets_of,
)
from workbench.pages.live_cache import recent_runs
from workbench.pages.page import ActionError, Page, View, html
from workbench.pages.render import render
from workbench.runs.validation import with_absolute_paths


def build(wb: Workbench) -> Page:
    """Make the page's widgets."""
    with gr.Row(elem_classes="wb-launch"):
        with gr.Column():
            fields = html("launch-form")
        with gr.Column(elem_classes="wb-aside"):
            result = html("launch-result")
    actions = {"launch": start, "objective": add_objective, "sweep": sweep}
    return Page("launch", [fields, result], show, actions)


def about(preset: str) -> str:
    """What a preset is for: the comment at the head of its file."""
    lines = takewhile(lambda line: line.startswith("#"), preset_text(preset).splitlines())
    text = " ".join(line.lstrip("# ") for line in lines).removeprefix(f"{preset}: ")
    return text[:1].upper() + text[1:]


def checked(wb: Workbench, view: View) -> tuple[RunConfig | None, dict[str, Any], dict[str, str]]:
    """``read``, and whether what the configuration points at is there and allowed here."""
    config, data, problems = read(view)
    if config is not None:
        try:
            wb.launcher.check(with_absolute_paths(config), call=False)
        except ConfigError as error:
            problems = {p.path: p.message for p in error.problems}
        if not any(path.startswith("task.") for path in problems):
            unread = task_preview.problem_of(config.task)
            problems |= {"task.path": unread} if unread else {}
    return config, data, problems


def show(wb: Workbench, view: View, changed: frozenset[str]) -> list[Any]:
    """The form, and what it amounts to."""
    config, data, problems = checked(wb, view)
    typed = sets_of(view)
    name = typed.get("name", "")
    if name and "name" not in problems and name in set(recent_runs(wb).get("name", ())):
        problems["name"] = f"{name!r} is taken; choose another name"
    fields = render(
        "form.html",
        presets=[(p, about(p)) for p in PRESETS],
        preset=preset_of(view),
        sections=form.sections(data, typed, problems),
    )
    return [fields, _result(wb, view, config, problems)]


def command(wb: Workbench, view: View) -> str:
    """The command line that starts the same run."""
    words = ["workbench", "run", preset_of(view)]
    for item in overrides(view):
        path, _, value = item.partition("=")
        words += ["--name", value.strip('"')] if path == "name" else ["--set", item]
    words += scale_form.words(view)
    if wb.runs_dir.name != "runs" or wb.runs_dir.parent != wb.runs_dir.cwd():
        words += ["--runs-dir", str(wb.runs_dir)]
    return shlex.join(words)


def _result(
    wb: Workbench, view: View, config: RunConfig | None, problems: Mapping[str, str]
) -> Markup:
    readable = config is not None and not any(key.startswith("task.") for key in problems)
    return render(
        "launch.html",
        errors=[f"{p}: {m}" if p and not m.startswith(p) else m for p, m in problems.items()],
        off=bool(problems) or config is None,
        token=secrets.token_hex(8),
        changed=bool(view.get("set")),
        budget=budget(wb, config) if config is not None else None,
        preview=task_preview.preview_card(
            config.task, config.policy.model, config.policy.system_prompt
        )
        if config and readable
        else "",
        scale=scale_form.cards(view),
        command=command(wb, view),
        yaml=dump(config, comments=False) if config is not None else "",
    )


def budget(wb: Workbench, config: RunConfig) -> dict[str, Any]:
    """How much a run samples, or learns from, how long it may take, and whether it will queue."""
    runs = recent_runs(wb)
    pace = runs["steps_per_second"].dropna() if len(runs) else ()
    known = len(pace) > 0 and float(pace.iloc[0]) > 0
    active = int(runs["status"].isin(("starting", "running", "stopping")).sum()) if len(runs) else 0
    limit = wb.launcher.limit
    return {
        "offline": config.offline.method if config.offline is not None else "",
        "steps": config.steps,
        "prompts": config.grpo.prompts_per_step,
        "size": config.grpo.num_generations,
        "seconds": config.steps / float(pace.iloc[0]) if known else None,
        "queued": active if limit is not None and active >= limit else 0,
    }


def start(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Start the run that the form describes and go to its page."""
    config, _, problems = checked(wb, view)
    if config is None or problems:
        raise ActionError("; ".join(problems.values()))
    options = scale_form.launch_options(view)
    try:
        run_id = wb.start(config, token=str(args.get("token", "")), **options)
    except ConfigError as error:
        raise ActionError(str(error)) from error
    name = wb.config(run_id).name or run_id
    view.clear()
    view.update({"tab": "runs", "run": name})
    return f"Started {name}"


def sweep(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Start a sweep around the run that the form describes."""
    config, _, problems = checked(wb, view)
    if config is None or problems:
        raise ActionError("; ".join(problems.values()))
    return scale_form.start_sweep(wb, view, args, config)


def add_objective(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Add an objective of one's own to the form."""
    values = dict(args.get("values") or {})
    name, function = str(values.get("name", "")).strip(), str(values.get("function", "")).strip()
    if not name or ":" not in function:
        raise ActionError("An own objective needs a name and a function, package.module:function")
    _, data, _ = read(view)
    entries = [*data["objectives"], {"name": name, "function": function}]
    sets = sets_of(view) | {"objectives": objectives_text([lean(e) for e in entries])}
    view["set"] = "\n".join(f"{k}={v}" for k, v in sets.items())
    return f"Added {name}"
