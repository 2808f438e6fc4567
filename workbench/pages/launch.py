"""Launch: a run's configuration as a form, as YAML and as a command line; one click starts it."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from workbench.api.workbench import Workbench
from workbench.config import RunConfig
from workbench.config.doc import field_index
from workbench.config.io import (
    PRESETS,
    ConfigError,
    apply_set,
    load,
    preset_text,
    read_mapping,
    to_dict,
)
from workbench.config.text import dump
from workbench.pages import form, objectives_form, scale_form, task_preview
from workbench.pages.live_cache import recent_runs
from workbench.pages.markup import act, attr, button, duration, esc, go
from workbench.pages.page import ActionError, Page, View, html
from workbench.pages.quick_gradio import gr
from workbench.runs.validation import with_absolute_paths

DEFAULT = "quick"


def build(wb: Workbench) -> Page:
    """Make the page's widgets."""
    with gr.Row(elem_classes="wb-launch"):
        with gr.Column():
            fields = html("launch-form")
        with gr.Column(elem_classes="wb-aside"):
            result = html("launch-result")
    actions = {"launch": start, "objective": objectives_form.add, "sweep": sweep}
    return Page("launch", [fields, result], show, actions)


def about(preset: str) -> str:
    """What a preset is for: the comment at the head of its file."""
    lines = takewhile(lambda line: line.startswith("#"), preset_text(preset).splitlines())
    text = " ".join(line.lstrip("# ") for line in lines).removeprefix(f"{preset}: ")
    return text[:1].upper() + text[1:]


def preset_of(view: View) -> str:
    """The preset that an address starts from."""
    return view["preset"] if view.get("preset") in PRESETS else DEFAULT


def sets_of(view: View) -> dict[str, str]:
    """What was changed from the preset: path to the text in its control."""
    pairs = (line.partition("=") for line in view.get("set", "").split("\n") if "=" in line)
    return {path: typed for path, _, typed in pairs}


def overrides(view: View) -> list[str]:
    """The same as ``--set`` arguments; keys that the chosen scalarizer does not have are left out.

    The scalarizer's own choice comes first, because choosing one starts from its defaults.
    """
    sets = sets_of(view)
    index = field_index()
    base = read_mapping(preset_text(preset_of(view)), "")
    variant = sets.get("scalarizer.name") or form.value_at(base, "scalarizer.name") or "static"
    items = []
    for path, typed in sorted(
        sets.items(), key=lambda i: i[0] not in ("scalarizer.name", "objectives")
    ):
        parts = path.split(".")
        if parts[0] == "objectives" and len(parts) == 3:
            doc = index.get((f"objectives[].{parts[2]}", None))
        else:
            doc = index.get((path, None)) or index.get((path, variant))
        if doc is not None:
            items.append(f"{path}={form.as_yaml(doc, typed)}")
    return items


def read(view: View) -> tuple[RunConfig | None, dict[str, Any], dict[str, str]]:
    """The configuration that an address describes, its values, and what is wrong by path.

    The configuration is None while something is wrong; the values are complete in any case.
    """
    items = overrides(view)
    try:
        config = load(preset_of(view), items)
    except ConfigError as error:
        problems: dict[str, str] = {p.path: p.message for p in error.problems}
        data = to_dict(load(preset_of(view)))
        for item in items:
            try:
                apply_set(data, item)
            except ConfigError as refused:
                problems |= {p.path: p.message for p in refused.problems}
        return None, data, problems
    return config, to_dict(config), {}


def checked(wb: Workbench, view: View) -> tuple[RunConfig | None, dict[str, Any], dict[str, str]]:
    """``read``, and whether what the configuration points at is there and allowed here."""
    config, data, problems = read(view)
    if config is not None:
        try:
            wb.launcher.check(with_absolute_paths(config), call=False)
        except ConfigError as error:
            problems = {p.path: p.message for p in error.problems}
    return config, data, problems


def show(wb: Workbench, view: View, changed: frozenset[str]) -> list[Any]:
    """The form, and what it amounts to."""
    config, data, problems = checked(wb, view)
    name = sets_of(view).get("name", "")
    if name and "name" not in problems and name in set(recent_runs(wb).get("name", ())):
        problems["name"] = f"{name!r} is taken; choose another name"
    return [_form(view, data, problems), _result(wb, view, config, problems)]


def _form(view: View, data: dict[str, Any], problems: Mapping[str, str]) -> str:
    variant = str(form.value_at(data, "scalarizer.name"))
    typed = sets_of(view)
    chosen = preset_of(view)
    cards = "".join(
        f'<button type="button" class="wb-preset{" sel" if p == chosen else ""}" '
        f'{go(preset=p, set="")} aria-pressed="{str(p == chosen).lower()}"><b>{esc(p)}</b>'
        f"<span>{form.with_code(about(p))}</span></button>"
        for p in PRESETS
    )
    parts = [f'<div class="wb-presets" role="group" aria-label="preset">{cards}</div>']
    for key, title, prefixes in form.SECTIONS:
        body, wrong, changes = "", 0, 0
        for prefix in prefixes:
            if prefix == "objectives":
                body += objectives_form.rows(data, typed, problems)
                wrong += sum(p.split(".")[0] == "objectives" for p in problems)
                changes += sum(p.split(".")[0] == "objectives" for p in typed)
                continue
            if prefix == "task":
                body += form.UPLOAD
            anchor = False
            for doc in form.fields_of(prefix, variant):
                if doc.path.startswith("scalarizer.anchor.") and not anchor:
                    anchor = True
                    body += form.folded("Anchor", form.value_at(data, form.META) == "anchor")
                shown = typed.get(doc.path)
                if shown is None:
                    value = form.value_at(data, doc.path)
                    unset = value is None and doc.kind in ("boolean", "choice")
                    shown = form.as_typed(doc, doc.default if unset else value)
                problem = problems.get(doc.path, "")
                wrong += bool(problem)
                changes += doc.path in typed
                body += form.control(doc, shown, problem)
            body += form.FOLD_END if anchor else ""
        summary = form.summary(key, data) + (f" · {changes} changed" if changes else "")
        parts.append(form.section(key, title, body, key in form.OPEN, wrong, summary))
    return "".join(parts)


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
) -> str:
    loose = [f"{p}: {m}" if p and not m.startswith(p) else m for p, m in problems.items()]
    errors = "".join(f"<li>{esc(m)}</li>" for m in loose)
    off = bool(problems) or config is None
    start_button = button(
        "Launch run", act("launch", token=secrets.token_hex(8)), "primary big", off=off
    )
    reset = button("Reset to preset", go(set=""), off=not view.get("set"))
    budget = _budget(wb, config) if config is not None else ""
    line = command(wb, view)
    refused = (
        f'<div class="wb-note bad" role="alert"><b>Not ready to start.</b><ul>{errors}</ul></div>'
        if errors
        else ""
    )
    refused_task = any(key.startswith("task.") for key in problems)
    preview = task_preview.preview_card(config.task) if config and not refused_task else ""
    yaml = dump(config, comments=False) if config is not None else "# mend the fields marked above"
    return (
        f'<section class="wb-card"><div class="wb-bar">{start_button}{reset}</div>'
        f'<p class="wb-dim wb-foot">{budget}</p>{refused}</section>'
        f"{preview}"
        f"{scale_form.cards(view)}"
        '<section class="wb-card"><header><h3>Command line</h3><span class="wb-right">'
        f"{button('copy', attr('data-copy', line))}</span></header>"
        f'<pre class="wb-log" id="launch-command">{esc(line)}</pre></section>'
        '<section class="wb-card"><header><h3>YAML</h3><span class="wb-right">'
        f"{button('copy', attr('data-copy', yaml))}</span></header>"
        f'<pre class="wb-log wb-yaml" id="launch-yaml">{esc(yaml)}</pre></section>'
    )


def _budget(wb: Workbench, config: RunConfig) -> str:
    each = config.grpo.prompts_per_step * config.grpo.num_generations
    text = (
        f"{config.steps:,} steps × {config.grpo.prompts_per_step} prompts × "
        f"{config.grpo.num_generations} completions = <b>{config.steps * each:,}</b> completions"
    )
    runs = recent_runs(wb)
    pace = runs["steps_per_second"].dropna() if len(runs) else ()
    if len(pace) and float(pace.iloc[0]) > 0:
        seconds = config.steps / float(pace.iloc[0])
        text += f", about {duration(seconds)} at the pace of the last run"
    active = int(runs["status"].isin(("starting", "running", "stopping")).sum()) if len(runs) else 0
    if wb.launcher.limit is not None and active >= wb.launcher.limit:
        text += f". {active} runs are active, as many as may be at once: this one will queue"
    return text + "."


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


def open_with(view: View, config: RunConfig) -> None:
    """Turn the address into one that shows this configuration: a preset and what differs."""
    base, wanted = to_dict(load(DEFAULT)), to_dict(config)
    index = field_index()
    lines = []
    variant = config.scalarizer.name
    for doc in (d for d in index.values() if d.kind != "section" and d.variant in (None, variant)):
        if "[]" in doc.path or doc.path == "name":
            continue
        old, new = form.value_at(base, doc.path), form.value_at(wanted, doc.path)
        if doc.path == "objectives":
            if old != new:
                lines.append(f"objectives={objectives_form.flow(new)}")
        elif old != new:
            lines.append(f"{doc.path}={form.as_typed(doc, new)}")
    view.clear()
    view.update({"tab": "launch", "preset": DEFAULT, "set": "\n".join(lines)})
