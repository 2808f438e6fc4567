"""A folder that ``export`` wrote, as the tables that it was written from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.formatting import from_cell
from workbench.store.errors import StoreError
from workbench.store.export import EXPORTED
from workbench.store.schema import PER_OBJECTIVE, TABLES
from workbench.store.sums import check_sums
from workbench.tasks.formats import Row, file_rows

NUMBERS = {"created": float, "heartbeat": float, "headline": float, "step": int, "steps": int,
           "attempt": int, "seed": int}  # fmt: skip
"""Columns of ``runs`` that are no text."""
_MAP_COLUMNS = {
    c.name for view in ("rollouts", "evaluations") for c in TABLES[view].columns
    if c.type == PER_OBJECTIVE
}  # fmt: skip


def export_tables(folder: Path) -> tuple[dict[str, pa.Table], dict[str, str | None]]:
    """Every view of an exported folder, and each run's configuration by id.

    Raises:
        StoreError: a file of it is damaged, or was changed since it was written.
    """
    check_sums(folder)
    tables: dict[str, pa.Table] = {}
    for view in EXPORTED:
        file = next(
            (p for s in ("parquet", "jsonl", "csv") if (p := folder / f"{view}.{s}").is_file()),
            None,
        )
        if file is None:
            continue  # an export of an older version, or one that was thinned out
        try:
            if file.suffix == ".parquet":
                tables[view] = pq.read_table(file)
            else:
                rows = [_typed_row(view, row, file.suffix == ".csv") for row in _rows(file)]
                tables[view] = _table(view, rows)
        except (ValueError, TypeError, KeyError, OSError, pa.ArrowException) as error:
            raise StoreError(f"{file}: cannot be read as an export: {error}") from error
    runs = tables["runs"].to_pylist()
    configs = {run["run_id"]: run.get("config") for run in runs}
    tables["runs"] = tables["runs"].drop_columns(
        [c for c in ("config",) if c in tables["runs"].column_names]
    )
    return tables, configs


def _rows(file: Path) -> list[Row]:
    return list(file_rows(file)) if file.stat().st_size else []


def _typed_row(view: str, row: Row, is_csv: bool) -> Row:
    if is_csv:
        row = {name: from_cell(value) for name, value in row.items()}
    if view == "runs":
        made = dict(row)
        for name, kind in NUMBERS.items():
            if made.get(name) is not None:
                made[name] = kind(made[name])
        if isinstance(made.get("objectives"), str):
            made["objectives"] = json.loads(made["objectives"])
        return made
    return unflattened(row)


def _table(view: str, rows: list[Row]) -> pa.Table:
    if view == "runs":
        return pa.Table.from_pylist(rows)
    schema = TABLES[view].arrow
    arrays = [pa.array([_typed(row.get(f.name), f.type) for row in rows], f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _typed(value: Any, kind: pa.DataType) -> Any:
    """A value of JSON or CSV as its column holds it; numbers that JSON lacks travel as text."""
    if value is None:
        return None
    if kind == PER_OBJECTIVE:
        pairs = value.items() if isinstance(value, dict) else value
        return [(str(k), None if v is None else float(v)) for k, v in pairs]
    if pa.types.is_list(kind):
        return [_typed(v, kind.value_type) for v in value]
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_integer(kind):
        return int(value)
    if pa.types.is_boolean(kind):
        return value if isinstance(value, bool) else {"True": True, "False": False}[value]
    return str(value)


def unflattened(row: Row) -> Row:
    """Columns ``rewards.NAME`` of a CSV as one mapping, lists in JSON as lists."""
    made: Row = {}
    for name, value in row.items():
        column, dot, key = name.partition(".")
        if dot and column in _MAP_COLUMNS:
            if value is not None:
                made.setdefault(column, {})[key] = value
        elif name in ("token_ids", "token_entropies", "context", "other", "policy", "rewards",
                      "weights", "scaled") and isinstance(value, str):  # fmt: skip
            made[name] = json.loads(value) if value[:1] in "[{" else value
        else:
            made[name] = value
    return made
