"""FROM clauses over segments, for every DuckDB connection that reads them."""

from __future__ import annotations

import glob
from collections.abc import Iterable

from workbench.store.schema import Table


def quoted(text: str) -> str:
    """``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """``name`` as the name of a table, a schema or a database in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal_path(path: object) -> str:
    """A path as an SQL string in which no character is taken for a pattern."""
    return quoted(glob.escape(str(path)))


def scan_segments(table: Table, paths: Iterable[object]) -> str:
    """FROM clause over segments, with every column of the table and ``filename``.

    The columns are spelled out, so that segments of older and newer versions stand side by side.
    """
    files = ", ".join(literal_path(p) for p in paths)
    return f"read_parquet([{files}], filename = true, schema = MAP {{{table.read_schema}}})"


def scan_pattern(root: object, table: Table, letters: str = "") -> str:
    """The same over all segments below ``root`` whose names start with one of ``letters``.

    Only the files that a filter on the path leaves are opened at all.
    """
    pattern = f"{glob.escape(str(root))}/*/segments/{table.name}/{letters}*.parquet"
    schema = f"schema = MAP {{{table.read_schema}}}"
    return f"read_parquet({quoted(pattern)}, filename = true, {schema})"
