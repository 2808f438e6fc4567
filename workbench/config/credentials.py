"""Secrets stay in the environment: a configuration says ``env:NAME``, never the secret itself.

A configuration is written into the run's directory, shown on pages, printed by commands and handed
on by exports. So what looks like a secret is refused before a run starts, and the child that needs
it reads the variable at the moment of use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

PREFIX = "env:"

KNOWN_SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|github_pat_\w{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|AKIA[A-Z0-9]{16}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
"""Keys and tokens as the services that hand them out write them."""

USER_INFO = re.compile(r"://[^/\s@:]*:[^/\s@]+@")
"""``scheme://user:password@host``."""

SECRET_NAME = re.compile(
    r"(?i)(?:^|_)(?:token|(?:api|access|secret|private)_?key|secret|password|passwd|authorization)$"
)
"""Names of settings that can only hold a secret."""

_LONG_WORD = re.compile(r"(?=[\w-]*\d)[\w-]{16,}")


def resolve(value: Any) -> Any:
    """``value`` with every ``env:NAME`` in it replaced by that variable of the environment.

    Raises:
        ValueError: a variable is not set; the text names it.
    """
    if isinstance(value, str) and value.startswith(PREFIX):
        name = value.removeprefix(PREFIX)
        if name not in os.environ:
            raise ValueError(f"{value!r} is named, but the environment has no {name}")
        return os.environ[name]
    if isinstance(value, Mapping):
        return {k: resolve(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(v) for v in value]
    return value


def looks_secret(name: str, value: str) -> bool:
    """Whether a setting of this name and value holds a secret rather than names it."""
    if not value or value.startswith(PREFIX):
        return False
    if KNOWN_SHAPES.search(value) or USER_INFO.search(value) or SECRET_NAME.search(name):
        return True
    # the address of a webhook is all it takes to use it
    after_host = value.partition("://")[2].partition("/")[2]
    return name == "webhook" and bool("?" in value or _LONG_WORD.search(after_host))


def named(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every ``env:NAME`` in plain data (mappings, lists, scalars), with its path."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from named(value, f"{path}.{key}".lstrip("."))
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from named(value, f"{path}.{index}")
    elif isinstance(data, str) and data.startswith(PREFIX):
        yield path, data


def holds_secret(path: str) -> bool:
    """Whether what is set under this path can be a secret: only there a variable is read.

    Anything else may be shown, logged or sent on as it is.
    """
    parent, _, name = path.rpartition(".")
    return name == "webhook" or "headers" in parent.split(".") or bool(SECRET_NAME.search(name))


def found(data: Any, path: str = "") -> Iterator[str]:
    """Paths of every text in plain data (mappings, lists, scalars) that looks like a secret."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from found(value, f"{path}.{key}".lstrip("."))
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from found(value, f"{path}.{index}")
    elif isinstance(data, str) and looks_secret(path.rpartition(".")[2], data):
        yield path
