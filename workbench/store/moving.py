"""One step of an archive: a handful of segments of one table of one run becomes native rows.

Rows in, the segments' names into ``archive.segments``, commit, delete the files, forget their
names. Killed at any point, this leaves every row visible exactly once, because a view shows a
segment only while its name is not in that list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from workbench.store.catalog import OWN_FOLDER, WITH_PROMPTS
from workbench.store.damage import Damaged, quarantine_damaged
from workbench.store.scan import quoted, scan_segments
from workbench.store.schema import TABLES


@dataclass
class Report:
    """What an archive run did. ``busy``: somebody held the store, so some or all of it waits."""

    segments: int = 0
    rows: int = 0
    runs: set[str] = field(default_factory=set)
    busy: bool = False
    damaged: list[Damaged] = field(default_factory=list)
    freed_bytes: int = 0
    checkpoints_removed: list[Path] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

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


def move(con: duckdb.DuckDBPyConnection, root: Path, batch: Batch, report: Report) -> None:
    """One transaction: rows in, names noted; then the files go, then their names."""
    table = TABLES[batch.table]
    paths = batch.paths(root)
    run = "run_id" if table.name == "deletions" else quoted(batch.run)
    columns = ", ".join(f"{run} AS run_id" if c == "run_id" else c for c in table.names)
    con.execute("BEGIN")
    while paths:
        scan = scan_segments(table, paths)
        try:
            con.execute(f"CREATE OR REPLACE TEMP TABLE incoming AS SELECT {columns} FROM {scan}")
            break
        except duckdb.Error:
            con.execute("ROLLBACK")
            found = quarantine_damaged(paths)
            if not found and all(p.exists() for p in paths):
                raise
            report.damaged += found
            paths = [p for p in paths if p.exists()]
            con.execute("BEGIN")
    if not paths:
        con.execute("ROLLBACK")
        return
    report.rows += _insert(con, batch)
    con.executemany(
        "INSERT INTO archive.segments VALUES (?, ?, ?)",
        [(batch.run, batch.table, p.name) for p in paths],
    )
    con.execute("COMMIT")
    for path in paths:
        path.unlink(missing_ok=True)
    con.execute("DELETE FROM archive.segments")
    con.execute("DROP TABLE incoming")
    report.segments += len(paths)
    if batch.run != OWN_FOLDER:
        report.runs.add(batch.run)


def _insert(con: duckdb.DuckDBPyConnection, batch: Batch) -> int:
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
    if table.supersedes:
        keys = ", ".join(table.supersedes)
        same = " AND ".join(f"r.{k} = n.{k}" for k in table.supersedes)
        con.execute(
            f"DELETE FROM archive.{table.name} AS r USING ("
            f"SELECT {keys}, max(attempt) AS newest FROM archive.{table.name} "
            f"WHERE run_id = $1 GROUP BY {keys} HAVING max(attempt) > min(attempt)) AS n "
            f"WHERE r.run_id = $1 AND {same} AND r.attempt < n.newest",
            [batch.run],
        )
    return int(con.execute("SELECT count(*) FROM incoming").fetchall()[0][0])
