"""How an older store file becomes one of today. Each step runs in the transaction of its caller.

A step may use nothing of today's schema: it must still work when the schema has moved on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb

from workbench.store.catalog import ARCHIVED, check_version, prepare
from workbench.store.errors import StoreError
from workbench.store.scan import identifier
from workbench.store.schema import SCHEMA_VERSION


def _one_to_two(con: duckdb.DuckDBPyConnection) -> None:
    """Prompts are keyed by all 128 bits of their MD5, so that no two can share a key."""
    for table in ("rollouts", "evaluations"):
        con.execute(f"ALTER TABLE archive.{table} ADD COLUMN wide_key UHUGEINT")
        con.execute(
            f"UPDATE archive.{table} AS r SET wide_key = md5_number(t.text) "
            "FROM archive.texts AS t WHERE t.text_key = r.prompt_key"
        )
        con.execute(f"ALTER TABLE archive.{table} DROP COLUMN prompt_key")
        con.execute(f"ALTER TABLE archive.{table} RENAME COLUMN wide_key TO prompt_key")
    con.execute(
        "CREATE OR REPLACE TABLE archive.texts AS "
        "SELECT md5_number(text) AS text_key, text FROM archive.texts"
    )


def _two_to_three(con: duckdb.DuckDBPyConnection) -> None:
    """The factor that GD2PO puts on a row's signal is kept; NULL where it is not known."""
    con.execute("ALTER TABLE archive.rollouts ADD COLUMN mask DOUBLE")


def _three_to_four(con: duckdb.DuckDBPyConnection) -> None:
    """What entered the loss is kept: its tokens, the prompt's, the share of the judge's own score.

    NULL where it is not known. Segments carry checksums from here on.
    """
    for column in ("judge_share DOUBLE", "loss_tokens INTEGER", "prompt_token_ids INTEGER[]"):
        con.execute(f"ALTER TABLE archive.rollouts ADD COLUMN {column}")


MIGRATIONS: dict[int, Callable[[duckdb.DuckDBPyConnection], None]] = {
    1: _one_to_two,
    2: _two_to_three,
    3: _three_to_four,
}
"""From which version a step starts; it ends at the next."""


def bring_up(con: duckdb.DuckDBPyConnection, root: Path, path: Path) -> int | None:
    """Bring a store file up to today's schema and to the directory it lies in.

    Returns:
        The version it had, when anything had to change, else None.

    Raises:
        StoreVersionError: a newer workbench wrote it.
        StoreError: it is no store of a workbench.
    """
    found, place = read_meta(con)
    check_version(found, path)
    if found == SCHEMA_VERSION and place == str(root):
        return None
    con.execute("BEGIN")
    for schema, view in con.execute(
        "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal"
    ).fetchall():
        con.execute(f"DROP VIEW IF EXISTS {identifier(schema)}.{identifier(view)}")
    for version in range(found, SCHEMA_VERSION) if found else ():
        MIGRATIONS[version](con)
    prepare(con, root)
    con.execute("COMMIT")
    return found


def read_meta(
    con: duckdb.DuckDBPyConnection, database: str = "current_database()"
) -> tuple[int, str]:
    """Schema version and place of a store; version 0 where the file has no table at all.

    Such a file is what a full disk left of a store that was being made. The file may be another's:
    what should be a table must be one.

    Args:
        con: a connection that has the store open.
        database: SQL of the name that it has there.

    Raises:
        StoreError: it is no store of a workbench.
    """
    tables = con.execute(
        "SELECT schema_name || '.' || table_name, database_name FROM duckdb_tables() "
        f"WHERE database_name = {database}"
    ).fetchall()
    names = {name for name, _ in tables}
    if not names:
        return 0, ""
    try:
        if "archive.meta" not in names:
            raise KeyError("archive.meta is no table")
        at = identifier(tables[0][1])
        meta = dict(con.execute(f"SELECT key, value FROM {at}.archive.meta").fetchall())
        found = int(meta["schema"])
        wanted = {f"archive.{name}" for name in (*ARCHIVED, "runs", "texts", "segments")}
        if found == SCHEMA_VERSION and not wanted <= names:
            raise KeyError(f"{sorted(wanted - names)[0]} is no table")
    except (duckdb.Error, KeyError, ValueError) as error:
        raise StoreError(f"the file is no store of a workbench: {error}") from error
    return found, str(meta.get("root"))
