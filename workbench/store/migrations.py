"""How an older store file becomes one of today. Each step runs in the transaction of its caller.

A step may use nothing of today's schema: it must still work when the schema has moved on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb

from workbench.store.catalog import check_version, prepare
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
    """The factor that GD2PO puts on a row's signal is kept; NULL where nobody knows it."""
    con.execute("ALTER TABLE archive.rollouts ADD COLUMN mask DOUBLE")


def _three_to_four(con: duckdb.DuckDBPyConnection) -> None:
    """What entered the loss, and the tokens that were sampled from; NULL where nothing says it."""
    con.execute("ALTER TABLE archive.rollouts ADD COLUMN loss_tokens INTEGER")
    con.execute("ALTER TABLE archive.rollouts ADD COLUMN prompt_token_ids INTEGER[]")


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
    """
    meta = dict(con.execute("SELECT key, value FROM archive.meta").fetchall())
    found = int(meta["schema"])
    check_version(found, path)
    if found == SCHEMA_VERSION and meta["root"] == str(root):
        return None
    con.execute("BEGIN")
    for name in con.execute(
        "SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE NOT internal"
    ).fetchall():
        con.execute(f"DROP VIEW IF EXISTS {name[0]}")
    for version in range(found, SCHEMA_VERSION):
        MIGRATIONS[version](con)
    prepare(con, root)
    con.execute("COMMIT")
    return found
