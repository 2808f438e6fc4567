"""What every key of a run's configuration means and allows: one list for form, help and errors.

Derived from ``RunConfig`` itself (types, bounds and the docstring under each field), so nothing
here has to be kept in step by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

from workbench.config.registry import Registry
from workbench.config.run import RunConfig
from workbench.config.scalarizers import SCALARIZER_CONFIGS

Kind = Literal[
    "integer", "number", "boolean", "choice", "choices", "text", "list", "mapping", "section"
]

_WORDS: dict[str, str] = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "text": "text",
    "list": "a list",
    "mapping": "a mapping such as {key: value}",
    "section": "a mapping of the keys below it",
}


@dataclass(frozen=True)
class FieldDoc:
    """One key: where it stands, what it means, what it allows.

    ``path`` is dotted; ``objectives[].sign`` stands for each entry of the list. ``variant`` names
    the scalarizer that the key belongs to (None: to all runs). ``nullable`` keys may be ``null``.
    ``choices`` holds the allowed values of a ``choice``, or of each item of ``choices``.
    ``minimum`` and ``maximum`` are inclusive unless ``above`` or ``below`` say otherwise.
    """

    path: str
    kind: Kind
    help: str
    default: Any = None
    required: bool = False
    nullable: bool = False
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    pattern: str | None = None
    variant: str | None = None

    @property
    def key(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def section(self) -> str:
        """The path of the mapping that holds the key; empty at the top."""
        return self.path.rpartition(".")[0]

    @property
    def allowed(self) -> str:
        """What a value may be, in words: "a number above 0 and at most 1"."""
        if self.kind in ("choice", "choices"):
            options = ", ".join(_plain(c) for c in self.choices)
            text = f"one of {options}" if self.kind == "choice" else f"a list of any of {options}"
        else:
            text = _WORDS[self.kind]
        bounds = [
            f"{word} {bound if isinstance(bound, int) else f'{bound:g}'}"
            for word, bound in (
                ("at least", self.minimum),
                ("above", self.above),
                ("at most", self.maximum),
                ("below", self.below),
            )
            if bound is not None
        ]
        if bounds:
            text += " " + " and ".join(bounds)
        if self.pattern:
            text += " of letters, digits, '.', '_' and '-', at most 80, starting with one of the"
            text += " first two"
        return text + (", or null" if self.nullable else "")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


@cache
def describe_fields() -> tuple[FieldDoc, ...]:
    """Every key of ``RunConfig``, in the order of its file; sections stand before their keys."""
    schema = TypeAdapter(RunConfig).json_schema()
    fields = tuple(_walk(schema, "", schema["$defs"], None))
    return tuple(_with_default(field) for field in fields)


@cache
def field_index() -> Mapping[tuple[str, str | None], FieldDoc]:
    """The same, by (path, variant)."""
    return {(field.path, field.variant): field for field in describe_fields()}


def keys_of(section: str, variant: str | None = None) -> list[str]:
    """The keys allowed directly under a section, for a scalarizer's variant where one is named."""
    return [
        field.key
        for field in describe_fields()
        if field.section == section and field.variant in (None, variant)
    ]


def _walk(
    schema: Mapping[str, Any], prefix: str, defs: Mapping[str, Any], variant: str | None
) -> Iterator[FieldDoc]:
    """Yield the fields of one object of the JSON schema, then of the objects inside it."""
    required = set(schema.get("required", ()))
    for key, raw in schema["properties"].items():
        path = f"{prefix}{key}"
        if "discriminator" in raw:
            yield FieldDoc(path, "section", raw["description"])
            yield FieldDoc(
                f"{path}.name",
                "choice",
                "Which one: " + "; ".join(_purposes(defs)),
                choices=tuple(SCALARIZER_CONFIGS),
            )
            for name, target in SCALARIZER_CONFIGS.items():
                inner = dict(defs[target.__name__])
                inner["properties"] = {k: v for k, v in inner["properties"].items() if k != "name"}
                yield from _walk(inner, f"{path}.", defs, name)
            continue
        node, nullable = _resolve(raw, defs)
        field = _field(path, node, raw.get("description") or node.get("description", ""))
        field = replace(
            field,
            required=key in required,
            nullable=nullable,
            variant=variant,
            default=raw.get("default"),
        )
        yield field
        if field.kind == "section":
            yield from _walk(node, f"{path}.", defs, variant)
        elif "$ref" in node.get("items", {}):
            item, _ = _resolve(node["items"], defs)
            yield from _walk(item, f"{path}[].", defs, variant)


def _purposes(defs: Mapping[str, Any]) -> Iterator[str]:
    for name, target in SCALARIZER_CONFIGS.items():
        yield f"{name} ({defs[target.__name__]['properties']['name']['description'].rstrip('.')})"


def _resolve(node: Mapping[str, Any], defs: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Follow a reference and unwrap ``X | None``; a union of text and list counts as text."""
    nullable = False
    if "anyOf" in node:
        options = [o for o in node["anyOf"] if o.get("type") != "null"]
        nullable = len(options) < len(node["anyOf"])
        node = options[0]
    if "$ref" in node:
        node = defs[node["$ref"].rpartition("/")[2]]
    return node, nullable


def _field(path: str, node: Mapping[str, Any], text: str) -> FieldDoc:
    help_text = " ".join(text.split())
    if "enum" in node:
        return FieldDoc(path, "choice", help_text, choices=tuple(node["enum"]))
    kind: str = node.get("type", "text")
    if kind == "array":
        choices = tuple(node["items"].get("enum", ()))
        return FieldDoc(path, "choices" if choices else "list", help_text, choices=choices)
    if kind == "object":
        return FieldDoc(path, "section" if "properties" in node else "mapping", help_text)
    return FieldDoc(
        path,
        "text" if kind == "string" else kind,  # type: ignore[arg-type]
        help_text,
        minimum=node.get("minimum"),
        maximum=node.get("maximum"),
        above=node.get("exclusiveMinimum"),
        below=node.get("exclusiveMaximum"),
        pattern=node.get("pattern"),
    )


def _with_default(field: FieldDoc) -> FieldDoc:
    """Put in what the JSON schema leaves out: the defaults that factories make."""
    if field.kind == "section" or field.required:
        return field
    if field.path == "scalarizer.name":
        return replace(field, default=RunConfig().scalarizer.name)
    if field.path == "objectives":
        known = f"{field.help} Known by name: {', '.join(Registry('objectives'))}."
        return replace(field, help=known, default=list(RunConfig().objective_names))
    if field.default is None and not field.nullable:
        return replace(field, default=[] if field.kind in ("list", "choices") else {})
    return field
