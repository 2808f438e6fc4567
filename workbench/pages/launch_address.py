"""The address of Launch and the configuration that it stands for: a preset and what differs."""

from __future__ import annotations

from collections.abc import Mapping
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
from workbench.config.yamlio import write_flow
from workbench.pages import form_values
from workbench.pages.page import View

DEFAULT = "quick"


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
    variant = (
        sets.get("scalarizer.name") or form_values.value_at(base, "scalarizer.name") or "static"
    )
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
            items.append(f"{path}={form_values.as_yaml(doc, typed)}")
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


def open_with(view: View, config: RunConfig) -> None:
    """Turn the address into one that shows this configuration: a preset and what differs."""
    base, wanted = to_dict(load(DEFAULT)), to_dict(config)
    index = field_index()
    lines = []
    variant = config.scalarizer.name
    for doc in (d for d in index.values() if d.kind != "section" and d.variant in (None, variant)):
        if "[]" in doc.path or doc.path == "name":
            continue
        old, new = form_values.value_at(base, doc.path), form_values.value_at(wanted, doc.path)
        if doc.path == "objectives":
            if old != new:
                lines.append(f"objectives={objectives_text(new)}")
        elif old != new:
            lines.append(f"{doc.path}={form_values.as_typed(doc, new)}")
    view.clear()
    view.update({"tab": "launch", "preset": DEFAULT, "set": "\n".join(lines)})


def learn(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Put a run on Launch that learns from logged rows: of a run, or of a run's votes."""
    open_with(view, wb.offline_config(str(args["source"]).split(",")))
    return "A run that learns from these rows is on this form; nothing has started"


def duplicate(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Put the run's settings on Launch."""
    open_with(view, wb.duplicate(str(args["run"])))
    return "Its settings are on this form; nothing has started"


def objectives_text(objectives: list[Any]) -> str:
    """A list of objectives as YAML; one that is only a name stands as that name."""
    short = [
        o["name"] if {k for k, v in o.items() if v not in (None, {}, 1)} == {"name"} else lean(o)
        for o in objectives
    ]
    return write_flow(short)


def lean(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An objective without the keys that say nothing."""
    return {k: v for k, v in entry.items() if v is not None and v != {} and (k, v) != ("sign", 1)}
