"""Run configurations out: commented YAML, the equal command line, differences, help text."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping
from typing import Any

from workbench.config.doc import FieldDoc, describe_fields, field_index
from workbench.config.io import PRESETS, load, to_dict
from workbench.config.run import RunConfig
from workbench.config.yamlio import write_flow

WIDTH = 100


def dump(config: RunConfig, comments: bool = True) -> str:
    """The whole configuration as YAML that ``configio.parse_text`` reads back equal.

    With ``comments`` every key carries the documentation of its field.
    """
    lines: list[str] = []
    variant = config.scalarizer.name
    _block(to_dict(config), "", 0, variant, comments, lines)
    return "\n".join(lines) + "\n"


def _block(
    data: Mapping[str, Any], prefix: str, depth: int, variant: str, comments: bool, out: list[str]
) -> None:
    indent = "  " * depth
    for key, value in data.items():
        path = f"{prefix}{key}"
        doc = _doc(path, variant)
        if comments:
            if depth == 0:
                out.append("")
            out.extend(_comment(doc, indent))
        if path == "objectives":
            out.append("objectives:")
            out.extend(f"  - {write_flow(_objective(entry))}" for entry in value)
        elif doc.kind == "section" and value is not None:
            out.append(f"{indent}{key}:")
            _block(value, f"{path}.", depth + 1, variant, comments, out)
        else:
            out.append(f"{indent}{key}: {write_flow(value)}")


def _doc(path: str, variant: str) -> FieldDoc:
    index = field_index()
    return index.get((path, None)) or index[path, variant]


def _comment(doc: FieldDoc, indent: str) -> list[str]:
    text = doc.help
    if doc.path == "scalarizer.name":
        text = f"Allowed: {', '.join(doc.choices)}."
    elif doc.kind == "choice":
        text += f" Allowed: {', '.join(map(str, doc.choices))}."
    return textwrap.wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _changed(entry: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """What differs from the defaults of the documented keys under ``prefix``."""
    changed: dict[str, Any] = {}
    for key, value in entry.items():
        path = f"{prefix}{key}"
        doc = _doc(path, "conductor")  # the only scalarizer with a section of its own, the anchor
        if doc.kind == "section" and isinstance(value, Mapping):
            inside = _changed(value, f"{path}.")
            if inside or doc.nullable:
                changed[key] = inside
        elif write_flow(value) != write_flow(doc.default):
            changed[key] = value
    return changed


def _objective(entry: Mapping[str, Any]) -> Any:
    """One objective as people write it: a bare name, or a mapping of what is not default."""
    changed = {"name": entry["name"]} | _changed(entry, "objectives[].")
    return changed["name"] if len(changed) == 1 else changed


def flatten(config: RunConfig, whole: bool = False) -> dict[str, Any]:
    """Dotted path -> value, one entry for each key that has no keys of its own below it.

    ``objectives`` is one entry: the list of names and mappings, as it would be written. With
    ``whole`` a section that can be off (``policy.lora``) is one entry too.
    """
    flat: dict[str, Any] = {}

    def walk(data: Mapping[str, Any], prefix: str) -> None:
        for key, value in data.items():
            path = f"{prefix}{key}"
            doc = _doc(path, config.scalarizer.name)
            if doc.kind != "section" or value is None:
                flat[path] = value
            elif whole and doc.nullable:
                flat[path] = _changed(value, f"{path}.")
            else:
                walk(value, f"{path}.")

    data = to_dict(config)
    walk(data | {"objectives": [_objective(entry) for entry in data["objectives"]]}, "")
    return flat


def diff(first: RunConfig, second: RunConfig) -> list[tuple[str, Any, Any]]:
    """The keys in which two configurations differ: (path, value of first, value of second).

    A key that only one of them has (another scalarizer's, adapters that are off) reads None on
    the other side.
    """
    a, b = flatten(first), flatten(second)
    paths = [*a, *(p for p in b if p not in a)]
    return [(p, a.get(p), b.get(p)) for p in paths if write_flow(a.get(p)) != write_flow(b.get(p))]


def as_sets(config: RunConfig, base: RunConfig) -> list[str]:
    """The ``key=value`` overrides that turn ``base`` into ``config``, in a working order."""
    start = flatten(base, whole=True)
    name = config.scalarizer.name
    sets: list[str] = []
    if name != base.scalarizer.name:
        sets.append(f"scalarizer.name={name}")
        start |= {f.path: f.default for f in describe_fields() if f.variant == name}
        start |= {"scalarizer.name": name}
    for path, value in flatten(config, whole=True).items():
        required = _doc(path, name).required and name != base.scalarizer.name
        if required or write_flow(start[path]) != write_flow(value):
            sets.append(f"{path}={write_flow(value)}")
    return sets


def command_line(config: RunConfig, preset: str | None = None) -> str:
    """The ``workbench run`` line that starts this configuration.

    Without ``preset`` the one that needs the fewest overrides is taken.
    """
    named = [preset] if preset else list(PRESETS)
    options = [(name, as_sets(config, load(name))) for name in named]
    name, sets = min(options, key=lambda option: len(option[1]))
    parts = ["python", "-m", "workbench", "run", name]
    if config.name is not None:
        sets = [s for s in sets if not s.startswith("name=")]
        parts += ["--name", config.name]
    for item in sets:
        parts += ["--set", item]
    return shlex.join(parts)


def keys_help() -> str:
    """Every key with its default, what it allows and its documentation, for ``run --help``."""
    lines: list[str] = []
    for field in describe_fields():
        if field.kind == "section":
            lines.append(f"\n{field.path}: {field.help}")
            continue
        of = f" [{field.variant}]" if field.variant else ""
        default = "required" if field.required else f"default {write_flow(field.default)}"
        lines.append(f"  {field.path}{of} ({field.allowed}; {default})")
        lines += textwrap.wrap(
            field.help, WIDTH, initial_indent="      ", subsequent_indent="      "
        )
    return "\n".join(lines)
