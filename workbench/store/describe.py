"""The public views in words: what `workbench schema` prints and the README's table is made from."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import pandas as pd

from workbench.store.catalog import VIEWS, ensure_own_folder, prepare


def schema_frame() -> pd.DataFrame:
    """Every column of every public view: view, column, type, comment. Needs no store."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        ensure_own_folder(Path(folder))
        prepare(con, Path(folder))
        return con.execute(
            """SELECT table_name AS view, column_name AS column, data_type AS type, comment
            FROM duckdb_columns() WHERE schema_name = 'main' AND NOT internal
            ORDER BY list_position($1::VARCHAR[], table_name), column_index""",
            [list(VIEWS)],
        ).df()


def schema_markdown() -> str:
    """The same as one Markdown table a view."""
    parts = []
    for view, columns in schema_frame().groupby("view", sort=False):
        rows = [f"| `{c.column}` | {c.type} | {c.comment} |" for c in columns.itertuples()]
        head = [f"**`{view}`**", "", "| column | type | meaning |", "|---|---|---|"]
        parts.append("\n".join(head + rows))
    return "\n\n".join(parts) + "\n"
