"""The form of Launch: one control per key of ``RunConfig``, made from its own documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from workbench.config.doc import FieldDoc, describe_fields
from workbench.config.yamlio import write_flow
from workbench.pages.markup import attr, esc

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
ALWAYS = frozenset({"name", "steps", "seed", "scalarizer.name"})


def fields_of(prefix: str, variant: str) -> list[FieldDoc]:
    """The keys at or below a path that a run with this scalarizer has, in order."""
    return [
        f
        for f in describe_fields()
        if (f.path == prefix or f.path.startswith(prefix + "."))
        and f.kind != "section"
        and "[]" not in f.path
        and f.variant in (None, variant)
    ]


def value_at(data: Any, path: str) -> Any:
    """The value under a dotted path; None where a mapping on the way is missing."""
    for part in path.split("."):
        if isinstance(data, list):
            data = next((e for e in data if e.get("name") == part), None)
        else:
            data = data.get(part) if isinstance(data, Mapping) else None
    return data


def as_typed(doc: FieldDoc, value: Any) -> str:
    """A value as the text that stands in its control."""
    if value is None:
        return ""
    if doc.kind in ("list", "choices"):
        return ", ".join(v if isinstance(v, str) else write_flow(v) for v in value)
    if doc.kind == "mapping":
        return write_flow(value) if value else ""
    return str(value) if isinstance(value, str) else write_flow(value)


def as_yaml(doc: FieldDoc, typed: str) -> str:
    """The text of a control as the YAML value that ``--set`` takes."""
    typed = typed.strip()
    if not typed:
        return write_flow(doc.default) if not doc.nullable else "null"
    if doc.kind == "text" or (doc.kind == "choice" and not typed.lstrip("-").isdecimal()):
        return write_flow(typed)
    if doc.kind in ("list", "choices") and not typed.startswith("["):
        return "[" + ", ".join(write_flow(t.strip()) for t in typed.split(",") if t.strip()) + "]"
    if doc.kind == "mapping" and not typed.startswith("{"):
        return "{" + typed + "}"
    return typed


def control(doc: FieldDoc, typed: str, problem: str = "", path: str = "") -> str:
    """One key: its name, its control, what it means, and what is wrong with the value."""
    path = path or doc.path
    name = f"f-{path}"
    common = f"{attr('id', name)} {attr('data-set', path)}"
    if problem:
        common += f' aria-invalid="true" {attr("aria-describedby", name + "-error")}'
    if doc.kind == "boolean":
        widget = f'<input type="checkbox" {common}{" checked" if typed == "true" else ""}>'
    elif doc.kind == "choice":
        options = [("", "as the run")] if doc.nullable else []
        options += [(str(c), str(c)) for c in doc.choices]
        widget = f"<select {common}>" + _options(options, typed) + "</select>"
    else:
        mode = ' inputmode="decimal"' if doc.kind in ("integer", "number") else ""
        hint = "none" if doc.nullable else as_typed(doc, doc.default)
        widget = (
            f'<input type="text" autocomplete="off" spellcheck="false"{mode} {common} '
            f"{attr('data-value', typed)} {attr('placeholder', hint)}>"
        )
    error = f'<div class="wb-error" {attr("id", name + "-error")} role="alert">{esc(problem)}</div>'
    inline = " check" if doc.kind == "boolean" else ""
    return (
        f'<div class="wb-control{inline}{" wrong" if problem else ""}">'
        f"<label {attr('for', name)}>{esc(title(path))}</label>{widget}"
        f"{error if problem else ''}<small>{with_code(doc.help)}</small></div>"
    )


def title(path: str) -> str:
    """What a key is called on the form: the words of its path below the section."""
    if path == "scalarizer.name":
        return "scalarizer"
    parts = path.split(".")
    own = parts[2:] if parts[0] == "objectives" else parts[1:] or parts
    return " · ".join(part.replace("_", " ") for part in own)


def _options(options: Iterable[tuple[str, str]], chosen: str) -> str:
    return "".join(
        f"<option {attr('value', v)}{' selected' if v == chosen else ''}>{esc(t)}</option>"
        for v, t in options
    )


def with_code(text: str) -> str:
    """Documentation as markup: what stands between backticks is code."""
    parts = text.split("`")
    return "".join(f"<code>{esc(p)}</code>" if i % 2 else esc(p) for i, p in enumerate(parts))


UPLOAD = (
    '<div class="wb-control wb-upload"><label for="task-upload">your own prompts</label>'
    '<input type="file" id="task-upload" data-upload '
    'accept=".jsonl,.ndjson,.json,.csv,.tsv,.parquet,.gz,.zst">'
    "<small>JSONL, Parquet or CSV with a <code>prompt</code> column; <code>reference</code> and "
    "<code>kind</code> if there are any. It is kept beside the runs.</small></div>"
)
META = "scalarizer.meta_reward"
FOLD_END = "</div></details>"


def folded(title: str, opened: bool) -> str:
    """The start of a part of a section that folds by itself; ``FOLD_END`` ends it."""
    state = " open" if opened else ""
    return (
        f'<details class="wb-fold" {attr("data-keep", title)}{state}>'
        f'<summary>{esc(title)}</summary><div class="wb-controls">'
    )


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


def section(key: str, title: str, body: str, opened: bool, wrong: int, summary: str = "") -> str:
    """A part of the form that folds; one with a refused value is open."""
    mark = f'<span class="wb-error">{wrong} to mend</span>' if wrong else ""
    state = " open" if opened or wrong else ""
    return (
        f'<details class="wb-card wb-section" {attr("data-section", key)}{state}>'
        f"<summary><h3>{esc(title)}</h3>"
        f'<span class="wb-dim">{esc(summary)}</span>{mark}</summary><div class="wb-controls">'
        f"{body}</div></details>"
    )
