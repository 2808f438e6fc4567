"""Rows that are still in segments, kept in memory: each segment is read once by each reader.

Segments never change, so the cache is right as long as it holds exactly those files that lie on
disk and are not archived. A segment that cannot be read is quarantined and named.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import duckdb
import pyarrow as pa

from workbench.store.catalog import OWN_FOLDER
from workbench.store.contexts import check_memory
from workbench.store.errors import StoreError
from workbench.store.manifest import Listing, Segment, run_names
from workbench.store.quarantine import Damaged, quarantine_damaged
from workbench.store.scan import scan_segments
from workbench.store.schema import TABLES, Table, sql_columns

FILES_AT_ONCE = 500
READ_TRIES = 5
PARTS = {"rollouts": 4}
"""How many tables share the rows of one: DuckDB scans a table in pieces of 122,880 rows, one thread
each, and a live run has hardly more."""


class LiveCache:
    """The schema ``live`` of a reader's database; ``sync`` brings it up to the files on disk."""

    def __init__(self, con: duckdb.DuckDBPyConnection, root: Path) -> None:
        self._con = con
        self._root = root
        self._listing = Listing(root)
        self._loaded: dict[str, dict[Segment, int]] = {name: {} for name in TABLES}
        self._next = 0
        self._loads = 0
        self._runs: dict[str, dict[str, str]] = {}
        self.damaged: list[Damaged] = []
        con.execute("CREATE SCHEMA live")
        for column in ("identity", "state"):
            self._replace_runs(column, {})
        con.execute(
            "CREATE VIEW live.runs AS FROM live.runs_identity JOIN live.runs_state USING (run_id)"
        )
        for table in TABLES.values():
            columns = f"{sql_columns(table.columns)}, segment INTEGER"
            parts = _parts(table)
            for part in parts:
                con.execute(f"CREATE TABLE {part} ({columns})")
            if len(parts) > 1:
                union = " UNION ALL ".join(f"FROM {part}" for part in parts)
                con.execute(f"CREATE VIEW live.{table.name} AS {union}")
            if table.supersedes:
                for suffix, which in (("_first", "= 1"), ("_resumed", "> 1")):
                    con.execute(
                        f"CREATE VIEW live.{table.name}{suffix} AS "
                        f"FROM live.{table.name} WHERE attempt {which}"
                    )

    def sync(self, tables: Iterable[str]) -> None:
        """Bring ``live`` up to date. The store must be attached: only then does nothing move.

        Raises:
            StoreError: a segment can neither be read nor moved to quarantine.
        """
        runs = run_names(self._root)
        wanted = set(tables)
        if "runs" in wanted:
            self._sync_runs(runs)
        moved = self._moved()
        for name in wanted & set(TABLES):
            places = [OWN_FOLDER, *runs] if name == "deletions" else runs
            waiting = set(self._listing.segments(name, places)) - moved.get(name, set())
            self._sync_table(TABLES[name], waiting)

    def held(self, table: str) -> int:
        """How many segments of a table are in memory."""
        return len(self._loaded[table])

    def _moved(self) -> dict[str, set[Segment]]:
        """Segments that a crashed archive has moved but not yet deleted."""
        rows = self._con.execute("SELECT tab, run_id, file FROM store.archive.segments").fetchall()
        moved: dict[str, set[Segment]] = {}
        for table, run, file in rows:
            moved.setdefault(table, set()).add((run, file))
        return moved

    def _sync_table(self, table: Table, waiting: set[Segment]) -> None:
        loaded = self._loaded[table.name]
        gone = [loaded.pop(s) for s in set(loaded) - waiting]
        for part in _parts(table) if gone else ():
            if loaded:  # made anew: DuckDB gives the memory of deleted rows back to nobody
                left = f"FROM {part} WHERE segment NOT IN ({_ints(gone)})"
                self._con.execute(f"CREATE OR REPLACE TABLE {part} AS {left}")
            else:
                self._con.execute(f"TRUNCATE {part}")
        fresh = sorted(waiting - set(loaded))
        if table.name == "contexts":
            check_memory(self._root, waiting)
        for start in range(0, len(fresh), FILES_AT_ONCE):
            self._load(table, fresh[start : start + FILES_AT_ONCE])

    def _load(self, table: Table, segments: list[Segment]) -> None:
        last: duckdb.Error | None = None
        for _ in range(READ_TRIES):
            paths = {self._path(table.name, s): s for s in segments}
            numbers = {p: self._next + i for i, p in enumerate(paths)}
            try:
                rows = self._read(table, numbers) if paths else None
            except duckdb.Error as error:
                last = error
                # damaged, or gone since it was listed: sort that out file by file, then go on
                self.damaged += quarantine_damaged(Path(p) for p in paths)
                segments = [s for p, s in paths.items() if Path(p).exists()]
                continue
            if rows is not None:
                self._con.register("incoming", rows)
                parts = _parts(table)
                part = parts[self._loads % len(parts)]
                self._con.execute(f"INSERT INTO {part} BY NAME FROM incoming")
                self._loads += 1
                self._con.unregister("incoming")
            self._next += len(paths)
            self._loaded[table.name] |= {s: numbers[p] for p, s in paths.items()}
            return
        raise StoreError(f"segments of {table.name} cannot be read: {last}") from last

    def _read(self, table: Table, numbers: dict[str, int]) -> pa.Table:
        self._loader.register(
            "wanted", pa.table({"place": list(numbers), "segment": list(numbers.values())})
        )
        columns = ", ".join(c.name for c in table.columns if c.name != "run_id")
        run = "run_id" if table.name == "deletions" else "split_part(filename, '/', -4) AS run_id"
        return self._loader.sql(
            f"SELECT {run}, {columns}, segment FROM {scan_segments(table, numbers)} "
            "JOIN wanted ON place = filename"
        ).to_arrow_table()

    @cached_property
    def _loader(self) -> duckdb.DuckDBPyConnection:
        """A database of its own that may read files; it never sees a user's query.

        Every segment is read once: remembering files for a second time would only add up.
        """
        return duckdb.connect(config={"enable_external_file_cache": "false"})

    def _path(self, table: str, segment: Segment) -> str:
        return f"{self._root}/{segment[0]}/segments/{table}/{segment[1]}"

    def _sync_runs(self, runs: list[str]) -> None:
        identity = {run: self._listing.json_text(f"{self._root}/{run}/run.json") for run in runs}
        identity = {run: text for run, text in identity.items() if text != "{}"}
        state = {run: self._listing.json_text(f"{self._root}/{run}/state.json") for run in identity}
        for column, now in (("identity", identity), ("state", state)):
            if now != self._runs[column]:
                self._replace_runs(column, now)

    def _replace_runs(self, column: str, now: dict[str, str]) -> None:
        """Make one column's table anew: a state changes with every step, see ``_sync_table``."""
        names, texts = (pa.array(part, pa.string()) for part in (now.keys(), now.values()))
        self._con.register("incoming", pa.table({"run_id": names, column: texts}))
        self._con.execute(
            f"CREATE OR REPLACE TABLE live.runs_{column} AS "
            f"SELECT run_id, {column}::JSON AS {column} FROM incoming"
        )
        self._con.unregister("incoming")
        self._runs[column] = now


def needed_tables(sql: str) -> set[str]:
    """The tables whose segments a query can need: those it names, or names a view of."""
    text = sql.lower()
    needed = {name for name in TABLES if name in text} | {"deletions"}
    if "rollout" in text or "prompts" in text:
        needed.add("rollouts")
    if "runs" in text:
        needed.add("runs")
    return needed


def _parts(table: Table) -> list[str]:
    """The tables that hold the rows of one table."""
    count = PARTS.get(table.name, 1)
    return [f"live.{table.name}" + (f"_part{i}" if count > 1 else "") for i in range(count)]


def _ints(values: Iterable[int]) -> str:
    return ", ".join(str(v) for v in values)
