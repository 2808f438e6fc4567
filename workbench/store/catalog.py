"""The store file: native tables, the views over them and over segments, and who may touch them.

Every view in ``sql/`` is written against two schemas, so that it is the same text everywhere:
``archive`` (native tables) and ``live`` (rows that are still in segments). In the file, ``live``
reads the segments themselves, so that any DuckDB client sees them; in a reader it is a cache.
"""

from __future__ import annotations

import glob
import os
import secrets
from importlib.resources import files
from pathlib import Path

import duckdb

from workbench.store.errors import StoreError, StoreVersionError
from workbench.store.manifest import EMPTY_SEGMENTS
from workbench.store.scan import quoted, scan_pattern
from workbench.store.schema import SCHEMA_VERSION, TABLES, Table, sql_columns
from workbench.store.segments import write_segment
from workbench.store.state import fsync_dir, write_atomically
from workbench.version import __version__

STORE_FILE = "workbench.duckdb"
OWN_FOLDER = ".workbench"
"""Segments that belong to no run: one without rows for every table, and tombstones."""

OWN_SUFFIXES = ("", ".wal", ".wal.checkpoint", ".wal.recovery")
"""The last two exist while, or after, a checkpoint is made."""

WITH_PROMPTS = ("rollouts", "evaluations")
"""Tables whose prompts are kept once, in ``archive.texts``."""

ARCHIVED = tuple(name for name in TABLES if name != "contexts")
"""Tables that have a native form; contexts stay files, so that retention can delete them."""

VIEWS = (
    "deleted_runs",
    "runs",
    "rollouts",
    "rollout_objectives",
    "prompts",
    "conductor_updates",
    "metrics",
    "checkpoints",
    "evaluations",
    "warnings",
    "contexts",
    "annotations",
)
"""The public views, in the order in which they build on each other."""


def store_path(runs_dir: Path | str) -> Path:
    """Where the store file of a runs directory lies."""
    return Path(runs_dir).absolute() / STORE_FILE


def own_files(path: Path) -> list[Path]:
    """The files of DuckDB that make up one store."""
    return [path.with_name(path.name + suffix) for suffix in OWN_SUFFIXES]


def view_sql(name: str) -> str:
    """The text of one view."""
    return files("workbench.store").joinpath("sql", f"{name}.sql").read_text("utf-8")


def native_sql(table: Table) -> str:
    """CREATE TABLE of the native form; prompts become a key into ``archive.texts``."""
    columns = sql_columns(c for c in table.columns if c.name != "prompt")
    key = ", prompt_key UHUGEINT" if table.name in WITH_PROMPTS else ""
    return f"CREATE TABLE IF NOT EXISTS archive.{table.name} ({columns}{key})"


def create_native(con: duckdb.DuckDBPyConnection) -> None:
    """Create whatever native table is missing."""
    con.execute("CREATE SCHEMA IF NOT EXISTS archive")
    con.execute("CREATE SCHEMA IF NOT EXISTS live")
    con.execute("CREATE TABLE IF NOT EXISTS archive.meta (key VARCHAR PRIMARY KEY, value VARCHAR)")
    con.execute(
        "CREATE TABLE IF NOT EXISTS archive.segments (run_id VARCHAR, tab VARCHAR, file VARCHAR)"
    )
    con.execute(
        "CREATE TABLE IF NOT EXISTS archive.runs (run_id VARCHAR, identity JSON, state JSON)"
    )
    con.execute("CREATE TABLE IF NOT EXISTS archive.texts (text_key UHUGEINT, text VARCHAR)")
    for name in ARCHIVED:
        con.execute(native_sql(TABLES[name]))


def create_public_views(con: duckdb.DuckDBPyConnection, over_files: bool) -> None:
    """Create the views of ``sql/`` on whatever ``archive`` and ``live`` are in this database.

    Over tables instead of files nothing can change between two scans of a query, so that nothing
    needs to be materialised, and the comments are not read.
    """
    for name in VIEWS:
        text = view_sql(name)
        if not over_files:
            text = text.replace("AS MATERIALIZED", "AS NOT MATERIALIZED")
        for statement in text.split(";\n"):
            if statement.strip() and (over_files or "COMMENT ON" not in statement):
                con.execute(statement)
    if over_files:
        _comment_columns(con)


def _comment_columns(con: duckdb.DuckDBPyConnection) -> None:
    """Give every column without words of its own those of the column it hands on."""
    meanings = {c.name: c.comment for t in TABLES.values() for c in t.columns}
    bare = con.execute(
        "SELECT table_name, column_name FROM duckdb_columns() "
        "WHERE schema_name = 'main' AND comment IS NULL AND NOT internal"
    ).fetchall()
    for view, column in bare:
        own = {c.name: c.comment for c in TABLES[view].columns} if view in TABLES else {}
        text = (own | {k: v for k, v in meanings.items() if k not in own})[column]
        con.execute(f"COMMENT ON COLUMN {view}.{column} IS {quoted(text)}")


def create_segment_views(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Create ``live.*`` as views over the files below ``root``, for any DuckDB client."""
    for table in TABLES.values():
        names = ", ".join(c.name for c in table.columns if c.name != "run_id")
        parts = {"_first": "[sx]", "_resumed": "r"} if table.supersedes else {"": ""}
        for suffix, letters in parts.items():
            scan = scan_pattern(root, table, letters)
            run = "run_id" if table.name == "deletions" else "split_part(filename, '/', -4)"
            con.execute(
                f"CREATE OR REPLACE VIEW live.{table.name}{suffix} AS "
                f"SELECT {run} AS run_id, {names} FROM {scan} "
                "WHERE (split_part(filename, '/', -4), split_part(filename, '/', -1)) NOT IN "
                f"(SELECT (run_id, file) FROM archive.segments WHERE tab = '{table.name}')"
            )
    con.execute(
        f"""CREATE OR REPLACE VIEW live.runs AS
        SELECT i.run_id, i.identity, coalesce(s.state, '{{}}') AS state
        FROM ({_json_files(root, "run", "identity")}) AS i
        LEFT JOIN ({_json_files(root, "state", "state")}) AS s USING (run_id)
        WHERE i.run_id NOT LIKE '.%'"""
    )


def _json_files(root: Path, stem: str, column: str) -> str:
    """SELECT of small JSON files by run; a damaged one reads as empty instead of failing all."""
    pattern = f"{glob.escape(str(root))}/*/{stem}[.-]json"
    return (
        "SELECT split_part(filename, '/', -2) AS run_id, "
        f"CASE WHEN json_valid(text) THEN text ELSE '{{}}' END::JSON AS {column} "
        "FROM (SELECT filename, TRY(decode(content)) AS text "
        f"FROM read_blob({quoted(pattern)}))"
    )


def ensure_own_folder(root: Path) -> None:
    """Create the segments without rows that keep every pattern from matching nothing.

    Raises:
        OSError: the runs directory cannot be written.
    """
    own = root / OWN_FOLDER
    own.mkdir(parents=True, exist_ok=True)
    for table in TABLES.values():
        for name in EMPTY_SEGMENTS:
            path = own / "segments" / table.name / name
            if not path.exists():
                write_segment(table.arrow.empty_table(), path)
    for stem in ("run-json", "state-json"):
        if not (own / stem).exists():
            write_atomically(own / stem, b"{}")


def create_store(root: Path) -> None:
    """Build the store file beside its place and link it there, unless it exists.

    Runs and readers call it first: any DuckDB client finds a file to open from then on.

    Raises:
        OSError: the runs directory cannot be written.
        StoreError: its name is no UTF-8 text, or the disk is full.
    """
    path = store_path(root)
    check_text(root)
    root.mkdir(parents=True, exist_ok=True)
    ensure_own_folder(root)
    if path.exists():
        return
    temporary = root / f".{STORE_FILE}.{secrets.token_hex(3)}.tmp"
    log = temporary.with_name(temporary.name + ".wal")
    try:
        _build(temporary, root)
        if log.exists():
            raise StoreError(f"{path} cannot be made: its log could not be written into it")
        os.link(temporary, path)
        fsync_dir(root)
    except FileExistsError:
        pass  # another process created the store in the same moment: its file is as good
    except duckdb.Error as error:
        raise StoreError(f"{path} cannot be made: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
        log.unlink(missing_ok=True)


def ensure_store(runs_dir: Path) -> str | None:
    """Make the store file before the first step of a run, so that any client can open it.

    Returns:
        Why it could not be made, which is no reason not to train; None: it is there.
    """
    try:
        create_store(runs_dir.resolve())
    except (OSError, StoreError) as error:
        return f"no store could be made: {error}"
    return None


def _build(path: Path, root: Path) -> None:
    """Make a store file and read it again, so that a full disk is noticed here."""
    with duckdb.connect(str(path)) as con:
        con.execute("BEGIN")
        prepare(con, root)
        con.execute("COMMIT")
        con.execute("CHECKPOINT")
    with duckdb.connect(str(path), read_only=True) as con:
        con.execute("FROM archive.meta")


def check_text(path: Path) -> None:
    """Refuse a directory that DuckDB cannot name.

    Raises:
        StoreError: the path is no UTF-8 text.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise StoreError(
            f"{ascii(str(path))} is no UTF-8 text, and DuckDB opens no other paths: rename it"
        ) from error


def prepare(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Create native tables and views, and write down version and root, inside a transaction."""
    create_native(con)
    con.execute("DELETE FROM archive.meta")
    con.executemany(
        "INSERT INTO archive.meta VALUES (?, ?)",
        [("schema", str(SCHEMA_VERSION)), ("root", str(root)), ("workbench", __version__)],
    )
    create_segment_views(con, root)
    create_public_views(con, over_files=True)


def check_version(found: int, path: Path) -> None:
    """Refuse a store that a newer workbench has written.

    Raises:
        StoreVersionError: with both versions and what to do.
    """
    if found > SCHEMA_VERSION:
        raise StoreVersionError(
            f"{path} has schema {found}, written by a newer workbench; this one reads up to "
            f"schema {SCHEMA_VERSION}. Upgrade the workbench, or use another --runs-dir."
        )
