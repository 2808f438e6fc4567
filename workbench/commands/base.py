"""What every command shares: its shape, where runs live, and how results are printed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from workbench.formatting import escaped_json, num, plain, visible


@dataclass(frozen=True)
class Command:
    """One command; ``__main__`` has its name and its line of help.

    Attributes:
        arguments: adds its arguments to a parser.
        run: does it; returns the exit status.
        runs_dir: whether it takes ``--runs-dir`` (every command that works on runs).
    """

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


def emit(text: Any = "", end: str = "\n") -> None:
    """Print text on stdout, with everything spelled out that a terminal would obey or not show."""
    sys.stdout.write(visible(text) + end)


def say(text: str) -> None:
    """A line for the person, on stderr, so that stdout holds results alone."""
    print(visible(text), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print one JSON value on stdout; characters that a terminal would obey are JSON's escapes."""
    print(escaped_json(json.dumps(plain(value), ensure_ascii=False)))


def shown(value: Any) -> str:
    """A cell of a table: numbers to three digits, text on one line."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return num(value).replace("−", "-")  # what people copy into a shell is a number
    if isinstance(value, Mapping):
        return "  ".join(f"{k} {shown(v)}" for k, v in value.items())
    return visible(" ".join(str(value).split()))


def print_table(rows: Iterable[Sequence[Any]], header: Sequence[str], width: int = 60) -> None:
    """Print rows as an aligned table; columns of numbers are right-aligned.

    A text is cut at ``width`` columns of the terminal, of which some letters take two.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, name in enumerate(header):
        kinds = {type(row[i]) for row in rows if row[i] is not None}
        table.add_column(
            Text(visible(name)),
            justify="right" if kinds and kinds <= {int, float, bool} else "left",
            no_wrap=True,
            max_width=max(width, len(name)),
        )
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    wide = (width + 2) * max(1, len(header)) + sum(map(len, header))
    page = Console(file=StringIO(), width=wide, color_system=None)
    page.print(table)
    for line in page.file.getvalue().splitlines():  # type: ignore[attr-defined]
        print(line.rstrip())


def print_frame(frame: Any) -> None:
    """Print a DataFrame as a table."""
    rows = [[plain(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    print_table(rows, [str(c) for c in frame.columns])
