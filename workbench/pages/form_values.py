"""Values of a configuration as the texts of a form's controls, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.config.doc import FieldDoc, describe_fields
from workbench.config.yamlio import write_flow


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
