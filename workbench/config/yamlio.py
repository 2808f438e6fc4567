"""YAML as people read it: the core schema of YAML 1.2, in and out.

PyYAML follows YAML 1.1, where ``5e-5`` is a string, ``no`` is false and ``1:30`` is ninety. The
loader here resolves plain scalars by YAML 1.2 and refuses what a configuration never needs:
duplicate keys, anchors and aliases, tags. The writer quotes every string that either version would
read as something else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

MAX_CHARS = 1_000_000

_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)\Z")
_NULL = re.compile(r"^(?:~|null|Null|NULL|)\Z")
_INT = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_PLAIN = re.compile(r"^[A-Za-z_][A-Za-z0-9_./-]*\Z")
_WORDS_OF_1_1 = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


class YamlError(ValueError):
    """The text is not a YAML document that a configuration may hold."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the resolvers of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases: they are how a small file becomes a huge object."""
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise YamlError(f"line {mark.line + 1}: anchors and aliases are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; a key that stands twice is an error, not a silent winner."""
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise YamlError(f"line {line}: the key {key!r} is not text")
            if key in mapping:
                raise YamlError(f"line {line}: the key {key!r} stands twice")
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping

    def number(self, node: Any) -> int | float:
        """Construct an integer or a float by YAML 1.2."""
        text = self.construct_scalar(node)
        try:
            if _INT.match(text):
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            return float(text.replace(".inf", "inf").replace(".nan", "nan").lower())
        except ValueError as error:
            line = node.start_mark.line + 1
            raise YamlError(f"line {line}: {text[:40]!r}... is no usable number") from error


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", _BOOL, "tTfF"),
    ("tag:yaml.org,2002:null", _NULL, ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", _INT, "-+0123456789"),
    ("tag:yaml.org,2002:float", _FLOAT, "-+.0123456789"),
):
    _Loader.add_implicit_resolver(_tag, _pattern, list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)


def parse(text: str) -> Any:
    """Read one YAML document.

    Raises:
        YamlError: the text is too long, is no YAML, holds two documents, a duplicate key, an
            alias or a tag; the message is one line and names the line where it can.
    """
    if len(text) > MAX_CHARS:
        raise YamlError(f"{len(text)} characters; a configuration has at most {MAX_CHARS}")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise YamlError(f"{where}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise YamlError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise YamlError("nested too deeply") from error


def write_flow(value: Any) -> str:
    """One value as a single line of YAML that ``parse`` reads back equal.

    Raises:
        TypeError: a value that YAML's core schema cannot hold.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{write_flow(k)}: {write_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(write_flow(v) for v in value) + "]"
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be written as YAML")


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    mantissa, e, exponent = repr(value).partition("e")
    # YAML 1.1 reads a number with an exponent only when it also has a point and a signed exponent
    point = "" if "." in mantissa else ".0"
    sign = "+" if e and exponent[0] not in "+-" else ""
    return f"{mantissa}{point}{e}{sign}{exponent}"


def _string(value: str) -> str:
    if _PLAIN.match(value) and value.lower() not in _WORDS_OF_1_1:
        return value
    return '"' + "".join(_escape(c) for c in value) + '"'


def _escape(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char == "\n":
        return "\\n"
    if char.isprintable() and char != "\ufeff":
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
