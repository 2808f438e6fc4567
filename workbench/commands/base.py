"""What every command shares: its shape, where runs live, and how results are printed."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        help: one line, shown in the list of commands.
        arguments: adds its arguments to a parser.
        run: does it; returns the exit status.
        runs_dir: whether it takes ``--runs-dir`` (every command that works on runs).
    """

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    runs_dir: bool = True


class UsageError(Exception):
    """A command line that cannot be meant; the text says what can."""


def json_flag(parser: argparse.ArgumentParser, what: str = "the result") -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON")


def run_argument(parser: argparse.ArgumentParser, **more: Any) -> None:
    """Add the positional RUN."""
    parser.add_argument("run", metavar="RUN", help="id or name of a run", **more)


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: numpy becomes Python, NaN null, an infinity "inf"."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays, pandas' NaT and NA have no such thing
        return plain(value.tolist())
    return str(value) if (value != value) is False else None  # NA differs from itself by being NA


def print_json(value: Any) -> None:
    """Print one JSON value on stdout."""
    print(json.dumps(plain(value), ensure_ascii=False))


def shown(value: Any) -> str:
    """A cell of a table: numbers to three digits, text on one line."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 100 else f"{value:.3g}"
    if isinstance(value, Mapping):
        return "  ".join(f"{k} {shown(v)}" for k, v in value.items())
    return " ".join(str(value).split())


def print_table(
    rows: Iterable[Sequence[Any]], header: Sequence[str], out: Any = None, width: int = 60
) -> None:
    """Print rows as an aligned table; columns of numbers are right-aligned."""
    rows = [list(row) for row in rows]
    cells = [[_cut(shown(value), width) for value in row] for row in rows]
    sizes = [max([len(h), *(len(row[i]) for row in cells)]) for i, h in enumerate(header)]
    right = [
        any(isinstance(r[i], int | float) for r in rows)
        and not any(isinstance(r[i], str) for r in rows)
        for i in range(len(header))
    ]

    def line(values: Sequence[str]) -> str:
        aligned = [
            v.rjust(s) if r else v.ljust(s) for v, s, r in zip(values, sizes, right, strict=True)
        ]
        return "  ".join(aligned).rstrip()

    print(line(header), file=out)
    for row in cells:
        print(line(row), file=out)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def print_frame(frame: Any, out: Any = None) -> None:
    """Print a DataFrame as a table."""
    rows = [[plain(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    print_table(rows, [str(c) for c in frame.columns], out)


def say(text: str) -> None:
    """A line for the person, on stderr, so that stdout holds results alone."""
    print(text, file=sys.stderr, flush=True)
