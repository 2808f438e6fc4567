"""One step of an archive: a handful of segments becomes native rows.

Segments are read before the lock is taken, since they never change. Under the lock: rows in, the
segments' names into ``archive.segments``, commit, delete the files, forget their names. Killed at
any point, this leaves every row visible exactly once, because a view shows a segment only while
its name is not in that list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from workbench.store.catalog import OWN_FOLDER, WITH_PROMPTS
from workbench.store.manifest import is_segment, segment_folder
from workbench.store.quarantine import Checked, Damaged, check_rows, check_segments
from workbench.store.scan import quoted, scan_segments
from workbench.store.schema import TABLES
from workbench.store.segments import latest_attempt

READ_TRIES = 5


@dataclass
class Report:
    """What an archive run did. ``busy``: another process held the store, so some of it waits."""

    segments: int = 0
    rows: int = 0
    runs: set[str] = field(default_factory=set)
    busy: bool = False
    damaged: list[Damaged] = field(default_factory=list)
    freed_bytes: int = 0
    checkpoints_removed: list[Path] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def note(self, checked: Checked) -> list[Path]:
        """Tell what was found; returns the segments that are whole."""
        self.damaged += checked.damaged
        for path, reason in checked.unreadable.items():
            self.messages.append(f"{path} cannot be read now ({reason}): it stays as it is")
        return checked.whole

    def __str__(self) -> str:
        lines = [f"archived {self.segments} segments ({self.rows} rows) of {len(self.runs)} runs"]
        if self.busy:
            lines.append("the store is open elsewhere: the rest stays visible as segments")
        lines += [str(d) for d in self.damaged] + self.messages
        lines += [f"removed checkpoint {p}" for p in self.checkpoints_removed]
        if self.freed_bytes:
            lines.append(f"freed {self.freed_bytes / 1e6:.1f} MB of contexts")
        return "\n".join(lines)


@dataclass(frozen=True)
class Batch:
    """Some segments of one table of one run, in order of publication."""

    table: str
    run: str
    files: tuple[str, ...]

    def paths(self, root: Path) -> list[Path]:
        """Where the segments lie."""
        return [root / self.run / "segments" / self.table / f for f in self.files]


@dataclass(frozen=True)
class Loaded:
    """Segments of a batch that could be read, and their rows."""

    batch: Batch
    paths: list[Path]
    rows: pa.Table


def load(
    reader: duckdb.DuckDBPyConnection, root: Path, batch: Batch, report: Report
) -> Loaded | None:
    """Read a batch without any lock; what cannot be read is quarantined. None: nothing is left.

    Raises:
        StoreVersionError: a newer workbench wrote one that cannot be read.
    """
    table = TABLES[batch.table]
    run = "run_id" if table.name == "deletions" else quoted(batch.run)
    columns = ", ".join(f"{run} AS run_id" if c == "run_id" else c for c in table.names)
    paths = report.note(check_segments(batch.paths(root)))
    for _ in range(READ_TRIES):
        if not paths:
            break
        try:
            scan = scan_segments(table, paths)
            rows = reader.sql(f"SELECT {columns} FROM {scan}").to_arrow_table()
            return Loaded(batch, paths, rows)
        except duckdb.Error:
            paths = report.note(check_rows(paths))
    return None


def finish(con: duckdb.DuckDBPyConnection, root: Path, report: Report) -> None:
    """Delete the files of segments that are native rows already, and forget their names.

    The names come out of the store file, which may be another's: only a segment is ever deleted.
    """
    moved = con.execute("SELECT tab, run_id, file FROM archive.segments").fetchall()
    folders = {names: segment_folder(root, *names) for names in {(t, r) for t, r, _ in moved}}
    for table, run, file in moved:
        folder = folders[table, run]
        if folder is not None and is_segment(file):
            (folder / file).unlink(missing_ok=True)
        else:
            report.messages.append(f"no segment, left alone: {run!r} {table!r} {file!r}")
    if moved:
        con.execute("DELETE FROM archive.segments")


def move(
    con: duckdb.DuckDBPyConnection, root: Path, loaded: Iterable[Loaded], report: Report
) -> None:
    """Make loaded segments native in one transaction, then delete their files."""
    finish(con, root, report)
    con.execute("BEGIN")
    for part in loaded:
        if not all(p.exists() for p in part.paths):
            continue  # another archive has moved some of them since they were read
        con.register("incoming", part.rows)
        _insert(con, part.batch, _has_attempts(root, part))
        con.unregister("incoming")
        names = {"file": [p.name for p in part.paths]}
        con.register("names", pa.table(names))
        con.execute(
            "INSERT INTO archive.segments SELECT $1, $2, file FROM names",
            [part.batch.run, part.batch.table],
        )
        con.unregister("names")
        report.segments += len(part.paths)
        report.rows += len(part.rows)
        if part.batch.run != OWN_FOLDER:
            report.runs.add(part.batch.run)
    con.execute("COMMIT")
    finish(con, root, report)


def _has_attempts(root: Path, part: Loaded) -> bool:
    """Whether a run was started more than once, so that some rows may replace others."""
    if "attempt" not in part.rows.column_names:
        return False
    newest = pc.max(part.rows["attempt"]).as_py() or 0
    return newest > 1 or latest_attempt(root / part.batch.run) > 1


def _insert(con: duckdb.DuckDBPyConnection, batch: Batch, has_attempts: bool) -> None:
    table = TABLES[batch.table]
    rows = "incoming"
    if table.name in WITH_PROMPTS:
        con.execute(
            "INSERT INTO archive.texts SELECT DISTINCT md5_number(prompt), prompt FROM incoming "
            "WHERE prompt IS NOT NULL "
            "AND md5_number(prompt) NOT IN (SELECT text_key FROM archive.texts)"
        )
        rows = "(SELECT * EXCLUDE (prompt), md5_number(prompt) AS prompt_key FROM incoming)"
    order = [c for c in ("step", "split", "group_id", "sample") if c in table.names]
    by = f"ORDER BY {', '.join(order)}" if order else ""
    con.execute(f"INSERT INTO archive.{table.name} BY NAME SELECT * FROM {rows} {by}")
    if table.supersedes and has_attempts:
        keys = ", ".join(table.supersedes)
        same = " AND ".join(f"r.{k} = n.{k}" for k in table.supersedes)
        con.execute(
            f"DELETE FROM archive.{table.name} AS r USING ("
            f"SELECT {keys}, max(attempt) AS newest FROM archive.{table.name} "
            f"WHERE run_id = $1 GROUP BY {keys} HAVING max(attempt) > min(attempt)) AS n "
            f"WHERE r.run_id = $1 AND {same} AND r.attempt < n.newest",
            [batch.run],
        )
