"""The form of Launch: one control per key of ``RunConfig``, made from its own documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.config.doc import FieldDoc, field_index
from workbench.objectives import OBJECTIVES
from workbench.pages.form_values import as_typed, fields_of, value_at
from workbench.pages.launch_address import objectives_text
from workbench.plots.palette import objective_colors

SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("run", "Run", ("name", "steps", "seed")),
    ("task", "Task", ("task",)),
    ("policy", "Policy", ("policy",)),
    (
        "objectives",
        "Objectives",
        ("objectives", "reward_scaling", "center_objectives", "aggregation"),
    ),
    ("scalarizer", "Weighting", ("scalarizer",)),
    ("grpo", "Policy update", ("grpo",)),
    ("probe", "Probes and evaluation", ("probe", "evaluation")),
    ("logging", "Logging", ("logging",)),
    ("offline", "Learn from logged rows instead of sampling", ("offline",)),
)
OPEN = ("run", "objectives", "scalarizer")
META = "scalarizer.meta_reward"
SETTINGS = ("sign", "scaling", "condition", "lower", "upper", "params")
"""Keys of an objective that its row can set."""


def sections(
    data: Mapping[str, Any], typed: Mapping[str, str], problems: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The parts of the form, for its template.

    Args:
        data: the whole configuration.
        typed: what was changed from the preset: path to the text in its control.
        problems: what is wrong, by path.
    """
    variant = str(value_at(data, "scalarizer.name"))
    found = []
    for key, title, prefixes in SECTIONS:
        controls = []
        for prefix in prefixes:
            if prefix == "objectives":
                controls.append({"objectives": objectives(data, typed, problems)})
                continue
            for doc in fields_of(prefix, variant):
                anchor = doc.path.startswith("scalarizer.anchor.")
                controls.append(
                    control(doc, _text(doc, data, typed), problems.get(doc.path, ""))
                    | {"fold": "Anchor" if anchor else ""}
                )
        mine = tuple(prefixes)
        wrong = [p for p in problems if _below(p, mine)]
        found.append(
            {
                "key": key,
                "title": title,
                "controls": controls,
                "wrong": len(wrong),
                "open": key in OPEN or bool(wrong),
                "anchored": value_at(data, META) == "anchor",
                "summary": summary(key, data),
                "changed": sum(_below(p, mine) for p in typed),
                "upload": key == "task",
            }
        )
    return found


def _below(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == p or path.startswith(f"{p}.") for p in prefixes)


def _text(doc: FieldDoc, data: Mapping[str, Any], typed: Mapping[str, str]) -> str:
    """What stands in a control: what was typed, else the value, else what "none" means there."""
    if doc.path in typed:
        return typed[doc.path]
    value = value_at(data, doc.path)
    unset = value is None and doc.kind in ("boolean", "choice")
    return as_typed(doc, doc.default if unset else value)


def control(doc: FieldDoc, typed: str, problem: str = "", path: str = "") -> dict[str, Any]:
    """One key: its name, its control, what it means, and what is wrong with the value."""
    path = path or doc.path
    options = [("", "as the run")] if doc.nullable else []
    options += [(str(c), str(c)) for c in doc.choices]
    return {
        "path": path,
        "title": title(path),
        "kind": doc.kind,
        "typed": typed,
        "options": options,
        "numeric": doc.kind in ("integer", "number"),
        "hint": "none" if doc.nullable else as_typed(doc, doc.default),
        "help": doc.help,
        "problem": problem,
    }


def title(path: str) -> str:
    """What a key is called on the form: the words of its path below the section."""
    if path == "scalarizer.name":
        return "scalarizer"
    parts = path.split(".")
    own = parts[2:] if parts[0] == "objectives" else parts[1:] or parts
    return " · ".join(part.replace("_", " ") for part in own)


def summary(key: str, data: Mapping[str, Any]) -> str:
    """What a section says while it is folded."""

    def at(path: str) -> str:
        value = value_at(data, path)
        return "–" if value is None else str(value)

    says = {
        "run": lambda: f"{at('steps')} steps, seed {at('seed')}",
        "task": lambda: at("task.path") if at("task.name") == "file" else at("task.name"),
        "policy": lambda: at("policy.model"),
        "objectives": lambda: f"{len(data.get('objectives') or ())} objectives",
        "scalarizer": lambda: at("scalarizer.name"),
        "grpo": lambda: (
            f"{at('grpo.prompts_per_step')} prompts × {at('grpo.num_generations')} completions, "
            f"learning rate {at('grpo.learning_rate')}"
        ),
        "probe": lambda: (
            f"{at('probe.prompts')} probe prompts every {at('probe.every')} steps, "
            f"{at('evaluation.prompts')} held out"
        ),
        "logging": lambda: f"a checkpoint every {at('logging.checkpoint_every')} steps",
        "offline": lambda: at("offline.method") if data.get("offline") else "off",
    }
    return says[key]()


def objectives(
    data: Mapping[str, Any], typed: Mapping[str, str], problems: Mapping[str, str]
) -> dict[str, Any]:
    """One row an objective: those that there are, then one's own; each can be switched and set."""
    active = [o if isinstance(o, Mapping) else {"name": o} for o in data.get("objectives") or []]
    names = [str(o.get("name", "")) for o in active]
    known = OBJECTIVES.usable()
    shown = list(dict.fromkeys([*known, *names]))
    rows = []
    for name in shown:
        on = name in names
        at = names.index(name) if on else -1
        entry = active[at] if on else {"name": name}
        rest = [o for o in active if o.get("name") != name]
        rows.append(
            {
                "name": name,
                "on": on,
                "flipped": objectives_text(rest if on else [*active, {"name": name}]),
                "about": known[name].description if name in known else "",
                "function": entry.get("function") or "",
                "controls": _settings(at, name, entry, typed, problems) if on else [],
                "wrong": " ".join(
                    text
                    for path, text in problems.items()
                    if path.startswith(f"objectives.{at}") and _key(path) not in SETTINGS
                ),
            }
        )
    return {
        "rows": rows,
        "colors": objective_colors(shown),
        "wrong": problems.get("objectives", ""),
    }


def _settings(
    at: int,
    name: str,
    entry: Mapping[str, Any],
    typed: Mapping[str, str],
    problems: Mapping[str, str],
) -> list[dict[str, Any]]:
    index = field_index()
    found = []
    for key in SETTINGS:
        doc = index[f"objectives[].{key}", None]
        path = f"objectives.{name}.{key}"
        problem = problems.get(path) or problems.get(f"objectives.{at}.{key}", "")
        value = typed.get(path)
        text = as_typed(doc, entry.get(key)) if value is None else value
        found.append(control(doc, text, problem, path))
    return found


def _key(path: str) -> str:
    return path.rpartition(".")[2]
