"""Take chosen runs out of a store: as Parquet, CSV, JSON lines, or one self-contained DuckDB file.

Numbers leave as they are, to the last bit. In CSV, text that a spreadsheet would run as a formula
is neutralised by a leading apostrophe.
"""

from __future__ import annotations

import csv
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.formatting import neutral
from workbench.store.catalog import view_sql
from workbench.store.errors import StoreError
from workbench.store.scan import quoted
from workbench.store.schema import TABLES
from workbench.store.session import Session, session_for
from workbench.store.sums import write_sums

Format = Literal["parquet", "csv", "jsonl", "duckdb"]
EXPORTED = (
    "runs",
    "rollouts",
    "metrics",
    "conductor_updates",
    "checkpoints",
    "evaluations",
    "warnings",
    "annotations",
    "contexts",
)
"""Views that leave; the others follow from them."""

DERIVED = ("rollout_objectives", "prompts")
STORAGE_VERSION = "v1.4.0"
"""DuckDB files are written so that this and every later release reads them."""


def export(
    runs_dir: Path | str, run_ids: Sequence[str], target: Path | str, format: Format
) -> list[Path]:
    """Write runs to ``target``: a folder with one file a view, or one file for ``duckdb``.

    A folder has the checksums of its files beside them, see ``sums``. Nothing is overwritten:
    ``target`` must not exist, and appears whole or not at all.

    Returns:
        The files written.

    Raises:
        StoreError: an unknown run or format, or ``target`` exists.
        OSError: ``target`` cannot be written.
    """
    session, target = session_for(runs_dir), Path(target).absolute()
    if format not in get_args(Format):
        raise StoreError(f"format {format!r} unknown; allowed are {', '.join(get_args(Format))}")
    known = set(session.frame("SELECT run_id FROM runs").run_id)
    unknown = [r for r in run_ids if r not in known]
    if unknown or not run_ids:
        raise StoreError(f"no run {unknown[0]!r} in {session.root}" if unknown else "no run named")
    if target.exists():
        raise StoreError(f"{target} exists; choose another place or remove it")
    made = target.with_name(f".{target.name}.{secrets.token_hex(3)}.tmp")
    try:
        if format == "duckdb":
            made.parent.mkdir(parents=True, exist_ok=True)
            _write_duckdb(session, run_ids, made)
        else:
            made.mkdir(parents=True)
            for view in EXPORTED:
                _WRITERS[format](_pieces(session, view, run_ids), made / f"{view}.{format}")
            write_sums(made)
        os.replace(made, target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True) if made.is_dir() else made.unlink(missing_ok=True)
        raise
    return [target] if format == "duckdb" else sorted(target.iterdir())


def _pieces(session: Session, view: str, run_ids: Sequence[str]) -> Iterator[pa.Table]:
    """Rows of a view, run by run, so that memory holds one run at a time."""
    order = [
        c
        for c in ("step", "split", "group_id", "sample")
        if view in TABLES and c in TABLES[view].names
    ]
    by = f"ORDER BY {', '.join(order)}" if order else ""
    for run_id in run_ids:
        if view == "contexts":  # straight from their files: too large for the reader's memory
            yield session.context_table(run_id)
            continue
        rows = session.arrow(f"SELECT * FROM {view} WHERE run_id = $1 {by}", [run_id])
        if view == "runs":
            config = session.root / run_id / "config.yaml"
            text = config.read_text("utf-8", "replace") if config.exists() else None
            rows = rows.append_column("config", pa.array([text] * len(rows), pa.string()))
        yield rows


def _write_parquet(pieces: Iterator[pa.Table], path: Path) -> None:
    writer: pq.ParquetWriter | None = None
    for rows in pieces:
        writer = writer or pq.ParquetWriter(path, rows.schema, compression="zstd")
        writer.write_table(rows.cast(writer.schema))
    if writer is not None:
        writer.close()


def _write_jsonl(pieces: Iterator[pa.Table], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for rows in pieces:
            for row in rows.to_pylist(maps_as_pydicts="strict"):
                file.write(json.dumps(_jsonable(row), ensure_ascii=False, allow_nan=False) + "\n")


def _jsonable(value: Any) -> Any:
    """JSON has no NaN and no infinities: they travel as text that ``float`` reads back."""
    if isinstance(value, dict):
        return {k: _jsonable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_jsonable(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _write_csv(pieces: Iterator[pa.Table], path: Path) -> None:
    """Maps become one column an objective, ``rewards.format``; lists become JSON text.

    Nothing is an empty cell, a text without characters an apostrophe, a number that is none "nan".
    """
    names: dict[str, None] = {}
    rows: list[dict[str, Any]] = []
    for piece in pieces:
        names |= dict.fromkeys(piece.column_names)
        rows += [_flat(row) for row in piece.to_pylist()]
    flat = {n for row in rows for n in row}
    maps = {n.partition(".")[0] for n in flat if n not in names}
    columns = [
        c for name in names for c in ([name] if name not in maps else _keys(rows, f"{name}."))
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(map(neutral, columns))
        for row in rows:
            writer.writerow([_cell(row.get(name)) for name in columns])


def _keys(rows: Sequence[Mapping[str, Any]], start: str) -> list[str]:
    """The columns of one map, in the order of first appearance."""
    return list(dict.fromkeys(n for row in rows for n in row if n.startswith(start)))


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return neutral(value) or "'"
    return value


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name in TABLES["rollouts"].names and isinstance(value, list) and _is_map(value):
            flat |= {f"{name}.{k}": v for k, v in value}
        else:
            flat[name] = json.dumps(_jsonable(value)) if isinstance(value, list) else value
    return flat


def _is_map(value: list[Any]) -> bool:
    return bool(value) and isinstance(value[0], tuple)


def _write_duckdb(session: Session, run_ids: Sequence[str], path: Path) -> None:
    with duckdb.connect() as con:
        con.execute(f"ATTACH {quoted(str(path))} AS out (STORAGE_VERSION '{STORAGE_VERSION}')")
        con.execute("USE out")
        for view in EXPORTED:
            for i, rows in enumerate(_pieces(session, view, run_ids)):
                con.register("piece", rows)
                create = f"CREATE TABLE {view} AS" if i == 0 else f"INSERT INTO {view} BY NAME"
                con.execute(f"{create} FROM piece")
                con.unregister("piece")
        for view in DERIVED:
            for statement in view_sql(view).split(";\n"):
                if statement.strip():
                    con.execute(statement)
        _hand_on_comments(session, con)
        con.execute("USE memory")
        con.execute("DETACH out")


def _hand_on_comments(session: Session, con: duckdb.DuckDBPyConnection) -> None:
    """Columns of the exported tables say the same as those of the store's views."""
    comments = session.frame(
        "SELECT table_name, column_name, comment FROM duckdb_columns() "
        "WHERE database_name = 'store' AND schema_name = 'main' AND comment IS NOT NULL"
    )
    for view, column, text in comments.values.tolist():
        if view in EXPORTED:
            con.execute(f"COMMENT ON COLUMN {view}.{column} IS {quoted(text)}")


_WRITERS = {"parquet": _write_parquet, "jsonl": _write_jsonl, "csv": _write_csv}
