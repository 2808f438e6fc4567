"""The objectives of a run as rows that can be switched on, off and set, and one's own added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.config.doc import field_index
from workbench.config.yamlio import write_flow
from workbench.objectives import OBJECTIVES
from workbench.pages import form
from workbench.pages.markup import act, attr, button, esc
from workbench.pages.page import ActionError, View
from workbench.plots.figures import objective_colors

SETTINGS = ("sign", "scaling", "condition", "lower", "upper", "params")


def rows(data: Mapping[str, Any], typed: Mapping[str, str], problems: Mapping[str, str]) -> str:
    """One row an objective, the built-in ones first, then a row to add one's own."""
    active = [o if isinstance(o, Mapping) else {"name": o} for o in data.get("objectives") or []]
    names = [str(o.get("name", "")) for o in active]
    shown = list(dict.fromkeys([*OBJECTIVES.usable(), *names]))
    colors = objective_colors(shown)
    body = []
    for name in shown:
        on = name in names
        entry = active[names.index(name)] if on else {"name": name}
        rest = [o for o in active if o.get("name") != name]
        flipped = rest if on else [*active, {"name": name}]
        switch = (
            f'<input type="checkbox" {attr("id", f"o-{name}")} data-set="objectives" '
            f"{attr('data-fixed', flow(flipped))}{' checked' if on else ''}>"
        )
        function = f'<span class="wb-dim wb-mono">{esc(entry.get("function") or "")}</span>'
        settings = _settings(names.index(name), name, entry, typed, problems) if on else ""
        at = names.index(name) if on else -1
        wrong = " ".join(
            text
            for path, text in problems.items()
            if path.startswith(f"objectives.{at}") and path.rpartition(".")[2] not in SETTINGS
        )
        if wrong:
            settings += f'<div class="wb-error" role="alert">{esc(wrong)}</div>'
        body.append(
            f'<div class="wb-objective"><label {attr("for", f"o-{name}")}>{switch}'
            f'<i class="wb-swatch" style="background:{colors[name]}"></i>{esc(name)}</label>'
            f"{function}{settings}</div>"
        )
    general = problems.get("objectives", "")
    error = f'<div class="wb-error" role="alert">{esc(general)}</div>' if general else ""
    return f'<div class="wb-objectives">{"".join(body)}{error}{_own()}</div>'


def flow(objectives: list[Any]) -> str:
    """A list of objectives as YAML; one that is only a name stands as that name."""
    short = [
        o["name"] if {k for k, v in o.items() if v not in (None, {}, 1)} == {"name"} else _lean(o)
        for o in objectives
    ]
    return write_flow(short)


def _lean(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if v is not None and v != {} and (k, v) != ("sign", 1)}


def _settings(
    at: int,
    name: str,
    entry: Mapping[str, Any],
    typed: Mapping[str, str],
    problems: Mapping[str, str],
) -> str:
    index = field_index()
    fields, wrong = "", False
    for key in SETTINGS:
        doc = index[f"objectives[].{key}", None]
        path = f"objectives.{name}.{key}"
        problem = problems.get(path) or problems.get(f"objectives.{at}.{key}", "")
        wrong = wrong or bool(problem)
        value = typed.get(path)
        fields += form.control(
            doc, form.as_typed(doc, entry.get(key)) if value is None else value, problem, path
        )
    state = " open" if wrong else ""
    return (
        f"<details {attr('data-keep', f'objective {name}')}{state}><summary>settings</summary>"
        f'<div class="wb-controls">{fields}</div></details>'
    )


def _own() -> str:
    return (
        '<div class="wb-bar wb-own" data-form><input type="text" name="name" placeholder="name" '
        'aria-label="name of your own objective"><input type="text" name="function" '
        'placeholder="package.module:function" aria-label="function of your own objective">'
        + button("Add own objective", act("objective") + " data-with")
        + "</div>"
    )


def add(wb: Any, view: View, args: dict[str, Any]) -> str:
    """Add one's own objective to the form."""
    from workbench.pages import launch

    values = dict(args.get("values") or {})
    name, function = str(values.get("name", "")).strip(), str(values.get("function", "")).strip()
    if not name or ":" not in function:
        raise ActionError("An own objective needs a name and a function, package.module:function")
    _, data, _ = launch.read(view)
    entries = [*data["objectives"], {"name": name, "function": function}]
    sets = launch.sets_of(view) | {"objectives": flow([_lean(e) for e in entries])}
    view["set"] = "\n".join(f"{k}={v}" for k, v in sets.items())
    return f"Added {name}"
