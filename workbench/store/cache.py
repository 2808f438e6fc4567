"""Rows that are still in segments, kept in memory: each segment is read once by each reader.

Segments never change, so the cache is right as long as it holds exactly those files that lie on
disk and are not archived.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa

from workbench.store.catalog import OWN_FOLDER
from workbench.store.errors import StoreError
from workbench.store.limits import duckdb_config
from workbench.store.manifest import Listing, Segment, run_names
from workbench.store.quarantine import Checked, Damaged, check_rows, check_segments
from workbench.store.scan import scan_segments
from workbench.store.schema import TABLES, Table, sql_columns

FILES_AT_ONCE = 500
READ_TRIES = 5
RETRY_SECONDS = 5.0
"""A segment that could not be read is tried again by the first question after this time."""

MEMORY_BYTES = 300e6
"""So much of contexts (as they lie on disk) a query may bring into memory."""

PARTS = {"rollouts": 4}
"""How many tables share the rows of one: DuckDB scans a table in pieces of 122,880 rows, one thread
each, and a live run has hardly more."""


class LiveCache:
    """The schema ``live`` of a reader's database; ``sync`` brings it up to the files on disk."""

    def __init__(self, con: duckdb.DuckDBPyConnection, root: Path, may_move: bool = True) -> None:
        self._con = con
        self._root = root
        self._may_move = may_move
        self._loader: duckdb.DuckDBPyConnection | None = None
        self.listing = Listing(root)
        self._loaded: dict[str, dict[Segment, int]] = {name: {} for name in TABLES}
        self._next = 0
        self._loads = 0
        self._runs: dict[str, dict[str, str]] = {}
        self.damaged: list[Damaged] = []
        self.unreadable: dict[Path, str] = {}
        self._try_again = 0.0
        self._checked: set[Path] = set()
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

        What has wrong content is set aside (``damaged``), what cannot be read now is left out and
        tried again later (``unreadable``).
        """
        runs = run_names(self._root)
        wanted = set(tables)
        if "runs" in wanted:
            self._sync_runs(runs)
        moved = self._moved()
        for name in wanted & set(TABLES):
            places = [OWN_FOLDER, *runs] if name == "deletions" else runs
            waiting = set(self.listing.segments(name, places)) - moved.get(name, set())
            self._sync_table(TABLES[name], waiting)

    def whole(self, table: str, run: str) -> list[Path]:
        """Segments of one run that were checked, for a table that is read from its files."""
        paths = [self._path(TABLES[table], s) for s in self.listing.segments(table, [run])]
        left_out = self._left_out()
        fresh = [p for p in paths if p not in self._checked and p not in left_out]
        self._checked |= set(self._note(fresh, check_segments(fresh, self._may_move)))
        return [p for p in paths if p in self._checked]

    def sort_out(self, paths: list[Path]) -> None:
        """Set aside those of some checked segments whose rows DuckDB cannot read."""
        whole = self._note(paths, check_rows(paths, self._may_move))
        self._checked -= set(paths) - set(whole)

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
            if loaded:  # made anew: DuckDB never gives the memory of deleted rows back
                left = f"FROM {part} WHERE segment NOT IN ({_ints(gone)})"
                self._con.execute(f"CREATE OR REPLACE TABLE {part} AS {left}")
            else:
                self._con.execute(f"TRUNCATE {part}")
        for path in [p for p in self.unreadable if p.parent.name == table.name]:
            if (path.parts[-4], path.name) not in waiting:
                del self.unreadable[path]
        left_out = self._left_out()
        fresh = [s for s in sorted(waiting - set(loaded)) if self._path(table, s) not in left_out]
        if table.name == "contexts":
            check_memory(self._root, waiting)
        for start in range(0, len(fresh), FILES_AT_ONCE):
            self._load(table, fresh[start : start + FILES_AT_ONCE])

    def _load(self, table: Table, segments: list[Segment]) -> None:
        by_path = {self._path(table, s): s for s in segments}
        paths = self._note(by_path, check_segments(by_path, self._may_move))
        for _ in range(READ_TRIES):
            if not paths:
                return
            numbers = {str(p): self._next + i for i, p in enumerate(paths)}
            try:
                rows = self._read(table, numbers)
            except duckdb.Error:
                # of another shape, or gone since it was listed: sort that out file by file
                self._loader = None  # an error inside DuckDB may have made it useless
                paths = self._note(paths, check_rows(paths, self._may_move))
                continue
            self._con.register("incoming", rows)
            parts = _parts(table)
            part = parts[self._loads % len(parts)]
            self._con.execute(f"INSERT INTO {part} BY NAME FROM incoming")
            self._loads += 1
            self._con.unregister("incoming")
            self._next += len(paths)
            self._loaded[table.name] |= {by_path[p]: numbers[str(p)] for p in paths}
            return
        self._note(paths, Checked(unreadable=dict.fromkeys(paths, "DuckDB cannot read it now")))

    def _left_out(self) -> set[Path]:
        """Segments that are not to be read now."""
        known = {d.path for d in self.damaged if d.moved_to == d.path}
        return known | set(self.unreadable) if time.monotonic() < self._try_again else known

    def _note(self, asked: Iterable[Path], checked: Checked) -> list[Path]:
        """Remember what was found; returns the segments that are whole."""
        for path in asked:
            self.unreadable.pop(path, None)
        self.damaged += checked.damaged
        if checked.unreadable:
            self.unreadable |= checked.unreadable
            self._try_again = time.monotonic() + RETRY_SECONDS
        return checked.whole

    def _read(self, table: Table, numbers: dict[str, int]) -> pa.Table:
        """Rows of segments, read by a database of its own that never sees a user's query."""
        if self._loader is None:  # each segment is read once: remembering files would only add up
            self._loader = duckdb.connect(
                config={"enable_external_file_cache": "false", **duckdb_config()}
            )
        self._loader.register(
            "wanted", pa.table({"place": list(numbers), "segment": list(numbers.values())})
        )
        columns = ", ".join(c.name for c in table.columns if c.name != "run_id")
        run = "run_id" if table.name == "deletions" else "split_part(filename, '/', -4) AS run_id"
        return self._loader.sql(
            f"SELECT {run}, {columns}, segment FROM {scan_segments(table, numbers)} "
            "JOIN wanted ON place = filename"
        ).to_arrow_table()

    def _path(self, table: Table, segment: Segment) -> Path:
        return self._root / segment[0] / "segments" / table.name / segment[1]

    def _sync_runs(self, runs: list[str]) -> None:
        identity = {run: self.listing.json_text(f"{self._root}/{run}/run.json") for run in runs}
        identity = {run: text for run, text in identity.items() if text != "{}"}
        state = {run: self.listing.json_text(f"{self._root}/{run}/state.json") for run in identity}
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


def check_memory(root: Path, segments: set[tuple[str, str]]) -> None:
    """Refuse to bring more contexts into memory than is sensible.

    Raises:
        StoreError: with the size, and what to ask instead.
    """
    sizes = []
    for run, name in segments:
        try:
            sizes.append((root / run / "segments" / "contexts" / name).stat().st_size)
        except FileNotFoundError:
            continue  # deleted since it was listed
    if sum(sizes) > MEMORY_BYTES:
        raise StoreError(
            f"the contexts of all runs are {sum(sizes) / 1e6:,.0f} MB, too much for one query: "
            "ask for one run with Store.contexts(run_id), or open workbench.duckdb with DuckDB"
        )
