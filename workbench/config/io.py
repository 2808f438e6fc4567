"""Run configurations in: from a preset, a YAML file, a mapping or ``--set`` to a ``RunConfig``.

Usage::

    config = load("quick", ["steps=40", "scalarizer.name=static"])

Every refusal is a ``ConfigError`` whose text is one line with the key, the bad value and what is
allowed. The way out, to YAML, command line and differences, is ``configtext``.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from workbench.config.doc import FieldDoc, field_index, keys_of
from workbench.config.run import RunConfig
from workbench.config.scalarizers import SCALARIZER_CONFIGS
from workbench.config.yamlio import YamlError, parse

PRESETS = ("quick", "etudes", "paper", "anchored", "chats")
_RUN_CONFIG = TypeAdapter(RunConfig)


@dataclass(frozen=True)
class Problem:
    """One refused key: its dotted path (empty: the whole) and why."""

    path: str
    message: str


class ConfigError(ValueError):
    """A configuration was refused; ``problems`` names each key, the text is one line."""

    def __init__(self, problems: Iterable[Problem], where: str = "") -> None:
        self.problems = tuple(problems)
        self.where = where
        text = "; ".join(
            p.message if not p.path or p.message.startswith(p.path) else f"{p.path}: {p.message}"
            for p in self.problems[:3]
        )
        more = len(self.problems) - 3
        text = f"{where}: {text}" if where else text
        text += f"; and {more} more" if more > 0 else ""
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


def load(source: str | Path | Mapping[str, Any] | RunConfig, sets: Iterable[str] = ()) -> RunConfig:
    """Build a validated configuration.

    Args:
        source: name of a preset, path of a YAML file, a mapping, or a ``RunConfig``.
        sets: overrides of the form ``key.path=value``, applied in order; values are YAML.

    Raises:
        ConfigError: the source does not exist or holds a key or value that is not allowed.
    """
    where = ""
    if isinstance(source, RunConfig):
        data = to_dict(source)
    elif isinstance(source, Mapping):
        data = copy.deepcopy(dict(source))
    else:
        where = str(source)
        data = read_mapping(preset_text(where) if where in PRESETS else _file_text(where), where)
    sets = list(sets)
    for item in sets:
        apply_set(data, item)
    return validate(data, where if not sets else "")


def parse_text(text: str) -> RunConfig:
    """Build a validated configuration from YAML text. Raises ConfigError."""
    return validate(read_mapping(text, ""))


def validate(data: Mapping[str, Any], where: str = "") -> RunConfig:
    """Turn a plain mapping into a ``RunConfig``. Raises ConfigError with every problem found."""
    try:
        config = _RUN_CONFIG.validate_python(copy.deepcopy(dict(data)))
        to_dict(config)  # free mappings may hold what no YAML can
        return config
    except ValidationError as error:
        raise ConfigError(_problems(error), where) from error
    except RecursionError as error:
        raise ConfigError([Problem("", "nested too deeply")], where) from error


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as plain mappings, lists and scalars, complete with defaults."""
    data: dict[str, Any] = _plain(_RUN_CONFIG.dump_python(config), "")
    return data


def _plain(value: Any, path: str) -> Any:
    """Lists for tuples, and nothing that YAML cannot hold. Raises ConfigError."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError([Problem(path, f"the key {_shown(key)} is not text")])
        return {k: _plain(v, f"{path}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{path}.{i}") for i, v in enumerate(value)]
    allowed = "text, number, true, false, null, list or mapping"
    raise ConfigError([Problem(path, f"{_shown(value)} is not allowed; it must be {allowed}")])


@cache
def preset_text(name: str) -> str:
    """The YAML of a preset, with its comments."""
    return resources.files("workbench").joinpath("presets", f"{name}.yaml").read_text("utf-8")


def _file_text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError, OSError) as error:
        near = difflib.get_close_matches(path, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise ConfigError(
            [Problem("", f"{reason}, and no preset: {hint}presets are {', '.join(PRESETS)}")], path
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem("", f"not UTF-8 text (byte {error.start})")], path) from error


def read_mapping(text: str, where: str) -> dict[str, Any]:
    """Parse YAML text that must hold a mapping (an empty text counts as one)."""
    try:
        data = parse(text)
    except YamlError as error:
        raise ConfigError([Problem("", f"not valid YAML: {error}")], where) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        message = f"holds {_shown(data)}; a configuration is a mapping of keys to values"
        raise ConfigError([Problem("", message)], where)
    return data


def apply_set(data: dict[str, Any], item: str) -> None:
    """Apply one ``key.path=value`` to a mapping, in place.

    Entries of ``objectives`` are reached by index or by name (``objectives.format.scaling=rank``).
    Choosing another scalarizer starts from that one's defaults.
    """
    path, equals, text = item.partition("=")
    path, text = path.strip(), text.strip()
    if not equals or not path:
        raise ConfigError([Problem("", f"--set {item!r}: expected key.path=value")])
    try:
        value = parse(text)
    except YamlError as error:
        raise ConfigError([Problem(path, f"{text!r} is not valid YAML: {error}")]) from error
    parts = path.split(".")
    doc = _doc(parts, data)
    if doc is not None and doc.kind == "text" and not (value is None and doc.nullable):
        value = value if isinstance(value, str) else text
    target: Any = data
    for depth, part in enumerate(parts[:-1]):
        target = _enter(target, part, ".".join(parts[: depth + 1]))
    if isinstance(target, list):
        target[_position(target, parts[-1], path)] = value
    elif parts == ["scalarizer", "name"] and target.get("name") != value:
        data["scalarizer"] = {"name": value}
    else:
        target[parts[-1]] = value


def _enter(target: Any, part: str, path: str) -> Any:
    """The container under ``part``, made when missing."""
    if isinstance(target, list):
        index = _position(target, part, path)
        if isinstance(target[index], str):
            target[index] = {"name": target[index]}
        return target[index]
    if target.get(part) is None:
        target[part] = _default_objectives() if path == "objectives" else {}
    if not isinstance(target[part], dict | list):
        raise ConfigError([Problem(path, f"{_shown(target[part])} has no keys below it")])
    return target[part]


def _default_objectives() -> list[dict[str, Any]]:
    return [{"name": name} for name in RunConfig().objective_names]


def _position(entries: list[Any], part: str, path: str) -> int:
    names = [e.get("name") if isinstance(e, dict) else e for e in entries]
    if part in names:
        return names.index(part)
    if part.isdecimal() and int(part) < len(entries):
        return int(part)
    raise ConfigError([Problem(path, f"no entry {part!r}; there are {', '.join(map(str, names))}")])


def _doc(parts: list[str], data: Mapping[str, Any]) -> FieldDoc | None:
    """The documentation of a key, None where the path names none."""
    scalarizer = data.get("scalarizer")
    variant = scalarizer.get("name") if isinstance(scalarizer, dict) else None
    path = ".".join(parts)
    if parts[0] == "objectives" and len(parts) > 2:
        path = ".".join(["objectives[]", *parts[2:]])
    index = field_index()
    return index.get((path, None)) or index.get((path, variant))


def _problems(error: ValidationError) -> list[Problem]:
    """Translate pydantic's errors, dropping those that only follow from another."""
    details = error.errors(include_url=False)
    deep = {tuple(d["loc"][:1]) for d in details if len(d["loc"]) > 1}
    found: dict[str, Problem] = {}
    for detail in details:
        if detail["type"] == "too_short" and detail["loc"] in deep:
            continue
        problem = _problem(detail)
        found.setdefault(problem.path, problem)
    return list(found.values())


def _problem(detail: Any) -> Problem:
    loc = list(detail["loc"])
    variant = None
    if len(loc) > 1 and loc[0] == "scalarizer" and loc[1] in SCALARIZER_CONFIGS:
        variant = loc.pop(1)
    generic = ["objectives[]", *loc[2:]] if loc[0:1] == ["objectives"] and len(loc) > 1 else loc
    doc = _nearest(generic, variant)
    path = ".".join(str(part) for part in loc)
    value = detail["input"]
    match detail["type"]:
        case "value_error":
            return Problem(path, str(detail["ctx"]["error"]))
        case "unexpected_keyword_argument":
            return Problem(path, _unknown(generic, variant))
        case "missing":
            return Problem(path, f"is missing; it must be {doc.allowed if doc else 'given'}")
        case "union_tag_invalid" | "union_tag_not_found":
            tag = detail["ctx"].get("tag")
            return Problem("scalarizer.name", _choice(tag, tuple(SCALARIZER_CONFIGS)))
        case "too_short":
            return Problem(path, "is empty; at least one entry is needed")
        case "dataclass_type" if generic[0] == "objectives[]":
            allowed = "a name or a mapping such as {name: ...}"
            return Problem(path, f"{_shown(value)} is not allowed; it must be {allowed}")
        case "literal_error" if doc is not None:
            return Problem(path, _choice(value, doc.choices))
    if doc is None or doc.kind in ("list", "mapping") and doc.path != ".".join(map(str, generic)):
        return Problem(path, f"{_shown(value)} is not allowed: {detail['msg'].lower()}")
    # what follows the documented key is pydantic's name of a union's branch
    path = path[: path.index(doc.key) + len(doc.key)]
    return Problem(path, f"{_shown(value)} is not allowed; it must be {doc.allowed}")


def _nearest(loc: list[Any], variant: str | None) -> FieldDoc | None:
    """The documentation of the longest documented beginning of ``loc``."""
    index = field_index()
    for length in range(len(loc), 0, -1):
        path = ".".join(str(part) for part in loc[:length])
        doc = index.get((path, variant)) or index.get((path, None))
        if doc is not None:
            return doc
    return None


def _choice(value: Any, choices: tuple[Any, ...]) -> str:
    if value is None:
        return f"is missing; allowed are {', '.join(map(str, choices))}"
    return f"{_shown(value)} is not allowed; {_near(str(value), map(str, choices))}"


def _unknown(loc: list[Any], variant: str | None) -> str:
    section = ".".join(str(part) for part in loc[:-1])
    of = f" (scalarizer {variant})" if variant else ""
    return f"unknown key{of}; {_near(str(loc[-1]), keys_of(section, variant))}"


def _near(value: str, allowed: Iterable[str]) -> str:
    options = list(allowed)
    near = difflib.get_close_matches(value, options, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}allowed are {', '.join(options)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def with_name(config: RunConfig, name: str) -> RunConfig:
    """The same configuration under another name, validated. Raises ConfigError."""
    return validate(to_dict(replace(config)) | {"name": name})
