"""The public views in words: what `workbench schema` prints and the README's table is made from."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import pandas as pd

from workbench.store.catalog import VIEWS, ensure_own_folder, prepare


def schema_frame() -> pd.DataFrame:
    """Every column of every public view: view, column, type, comment. Needs no store."""
    return _ask(
        """SELECT table_name AS view, column_name AS column, data_type AS type, comment
        FROM duckdb_columns() WHERE schema_name = 'main' AND NOT internal
        ORDER BY list_position($1::VARCHAR[], table_name), column_index"""
    )


def views_markdown() -> str:
    """Every public view and what one of its rows is, as a Markdown table."""
    views = _ask(
        """SELECT view_name AS view, comment FROM duckdb_views()
        WHERE schema_name = 'main' AND NOT internal
        ORDER BY list_position($1::VARCHAR[], view_name)"""
    )
    rows = [f"| `{v.view}` | {v.comment} |" for v in views.itertuples()]
    return "\n".join(["| view | what it shows |", "|---|---|", *rows]) + "\n"


def schema_markdown() -> str:
    """Every column of every public view, as one Markdown table a view."""
    parts = []
    for view, columns in schema_frame().groupby("view", sort=False):
        rows = [f"| `{c.column}` | {c.type} | {c.comment} |" for c in columns.itertuples()]
        head = [f"**`{view}`**", "", "| column | type | meaning |", "|---|---|---|"]
        parts.append("\n".join(head + rows))
    return "\n\n".join(parts) + "\n"


def _ask(sql: str) -> pd.DataFrame:
    """The answer of a database that has the store's views and nothing in them."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        ensure_own_folder(Path(folder))
        prepare(con, Path(folder))
        return con.execute(sql, [list(VIEWS)]).df()
