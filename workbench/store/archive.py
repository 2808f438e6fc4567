"""Move segments into native tables: ``python -m workbench.store.archive RUNS_DIR [--run RUN]``.

The one program that opens the store file for writing. It holds the lock for moments only, one
transaction per handful of segments (``moving``); killed at any point, it leaves every row visible
exactly once, and the next run finishes. While another process holds the store open, rows stay
visible as segments.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb

from workbench.store.archive_batch import Batch, Loaded, Report, finish, load, move
from workbench.store.catalog import (
    ARCHIVED,
    OWN_FOLDER,
    create_store,
    ensure_own_folder,
    store_path,
)
from workbench.store.errors import StoreBusyError, StoreError, StoreVersionError
from workbench.store.leftovers import find, remove
from workbench.store.manifest import Listing, run_names
from workbench.store.migrations import bring_up, read_meta
from workbench.store.retention import budgets, prune_checkpoints, prune_contexts
from workbench.store.schema import SCHEMA_VERSION
from workbench.store.state import is_live
from workbench.store.turns import connect, reader_waits

HOLD_SECONDS = 0.5
"""The lock is given back after about this long, so that readers (who wait 2 s) come through."""

BREATH_SECONDS = 0.05
BATCH_FILES = 50
PORTION_FILES = 800
PORTION_ROWS = 51_200
"""What one transaction moves at most, on a fast and idle machine; see ``_Pace``."""

LIVE_SEGMENTS = 64
"""Segments of a table that a live run must have gathered before they are worth moving."""


def archive(runs_dir: Path | str, run_id: str | None = None, patience: float = 10.0) -> Report:
    """Move segments into the store's native tables; all that can be moved, or those of one run.

    Args:
        runs_dir: the runs directory; its store is made, upgraded and told its place as needed.
        run_id: only this run, live or not, to the last segment.
        patience: how long to wait for the lock each time, in seconds.

    Raises:
        StoreVersionError: a newer workbench wrote the store.
        StoreError: the store is damaged, or its disk is full.
        OSError: the runs directory cannot be written.
    """
    root = Path(runs_dir).resolve()
    create_store(root)
    report = Report()
    for left in find(root):
        remove(left)
        report.messages.append(f"removed {left}")
    if run_id is None and _nothing_to_do(root):
        return report  # the lock is not taken at all, so that passing by often costs nothing
    try:
        with connect(store_path(root), patience) as con:
            deleted = _begin(con, root, report)
        pace = _Pace()
        portions = _portions(root, _batches(root, run_id, deleted, report), report, pace)
        for loaded in _read_ahead(portions):
            con = connect(store_path(root), patience)
            started = time.monotonic()
            with con:  # closing it writes what the transaction left in the log
                move(con, root, loaded, report)
            pace.took(time.monotonic() - started)
            _yield_lock(root)
        waiting = iter([run_id] if run_id else run_names(root))
        while _end(waiting, root, report, patience):
            _yield_lock(root)
    except StoreBusyError:
        report.busy = True
    except duckdb.Error as error:  # a full disk, most of all
        raise StoreError(
            f"{store_path(root)} cannot be written ({error}); what was not moved stays readable "
            "as segments, and the next archive goes on"
        ) from error
    return report


def upgrade(runs_dir: Path | str, patience: float = 10.0) -> None:
    """Bring the store up to this workbench's schema and to its place, and move nothing.

    Raises:
        StoreVersionError: a newer workbench wrote the store.
        StoreError: it cannot be opened; StoreBusyError while another process has it open.
    """
    root = Path(runs_dir).resolve()
    ensure_own_folder(root)
    with connect(store_path(root), patience) as con:
        bring_up(con, root, store_path(root))


def _nothing_to_do(root: Path) -> bool:
    listing = Listing(root)
    runs = run_names(root)
    waiting = any(True for table in ARCHIVED for _ in listing.segments(table, [OWN_FOLDER, *runs]))
    if waiting:
        return False
    try:
        with duckdb.connect(str(store_path(root)), read_only=True) as con:
            return read_meta(con) == (SCHEMA_VERSION, str(root))
    except (duckdb.Error, StoreError):
        return False


def _begin(con: duckdb.DuckDBPyConnection, root: Path, report: Report) -> set[str]:
    """Upgrade, finish what a killed archive left, drop deleted runs and return their ids."""
    before = bring_up(con, root, store_path(root))
    if before == 0:
        report.messages.append("the store file was empty and is made anew")
    elif before is not None:
        report.messages.append(f"views rebuilt for {root}, schema {before} -> {SCHEMA_VERSION}")
    finish(con, root, report)
    tombstones = tuple(name for _, name in Listing(root).segments("deletions", [OWN_FOLDER]))
    with duckdb.connect() as reader:
        loaded = load(reader, root, Batch("deletions", OWN_FOLDER, tombstones), report)
    if loaded is not None:
        move(con, root, [loaded], report)
        for name in (*ARCHIVED, "runs"):
            if name != "deletions":
                gone = "run_id IN (SELECT run_id FROM archive.deletions)"
                con.execute(f"DELETE FROM archive.{name} WHERE {gone}")
    return {row[0] for row in con.execute("SELECT run_id FROM archive.deletions").fetchall()}


def _batches(root: Path, run_id: str | None, deleted: set[str], report: Report) -> Iterator[Batch]:
    """Segments to move, run by run, so that native rows lie sorted by run and step."""
    listing = Listing(root)
    for run in [run_id] if run_id else run_names(root):
        if run in deleted or not (root / run / "run.json").exists():
            continue
        if _schema_of(listing, root, run) > SCHEMA_VERSION:
            report.messages.append(f"{run} was written by a newer workbench: left as segments")
            continue
        live = run_id is None and is_live(root / run)
        for table in ARCHIVED:
            files = [name for _, name in listing.segments(table, [run])]
            if live and len(files) < LIVE_SEGMENTS:
                continue
            for start in range(0, len(files), BATCH_FILES):
                yield Batch(table, run, tuple(files[start : start + BATCH_FILES]))


def _yield_lock(root: Path) -> None:
    """Leave the lock alone for a moment, and longer where a reader waits for it."""
    until = time.monotonic() + HOLD_SECONDS
    time.sleep(BREATH_SECONDS)
    while reader_waits(root) and time.monotonic() < until:
        time.sleep(0.01)


@dataclass
class _Pace:
    """How much one transaction moves: less where the disk is slow or others compute."""

    share: float = 0.25

    def took(self, seconds: float) -> None:
        """A transaction held the lock for so long; the next should for ``HOLD_SECONDS``."""
        factor = HOLD_SECONDS / max(seconds, 1e-3)
        self.share = min(self.share * min(max(factor, 0.5), 2.0), 1.0)

    def is_enough(self, portion: list[Loaded]) -> bool:
        """Whether these segments are worth a transaction."""
        rows, files = sum(len(p.rows) for p in portion), sum(len(p.paths) for p in portion)
        return rows >= PORTION_ROWS * self.share or files >= PORTION_FILES * self.share


def _read_ahead(portions: Iterator[list[Loaded]]) -> Iterator[list[Loaded]]:
    """The same portions; each is read while the one before it is moved."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, portions, None)
        while (portion := coming.result()) is not None:
            coming = reader.submit(next, portions, None)
            yield portion


def _portions(
    root: Path, batches: Iterator[Batch], report: Report, pace: _Pace
) -> Iterator[list[Loaded]]:
    """Batches read and gathered to what one transaction should move."""
    portion: list[Loaded] = []
    with duckdb.connect() as reader:
        for batch in batches:
            try:
                loaded = load(reader, root, batch, report)
            except StoreVersionError as error:
                report.messages.append(str(error))
                continue
            if loaded is not None:
                portion.append(loaded)
            if pace.is_enough(portion):
                yield portion
                portion = []
    if portion:
        yield portion


def _schema_of(listing: Listing, root: Path, run: str) -> int:
    found = json.loads(listing.json_text(f"{root}/{run}/run.json")).get("schema")
    return found if isinstance(found, int) else SCHEMA_VERSION


def _end(runs: Iterator[str], root: Path, report: Report, patience: float) -> bool:
    """Keep what runs last said of themselves, and hold their disk budgets; True: more to do."""
    listing = Listing(root)
    with connect(store_path(root), patience) as con:
        until = time.monotonic() + HOLD_SECONDS
        for run in runs:
            run_dir = root / run
            identity = listing.json_text(f"{run_dir}/run.json")
            if identity == "{}":
                continue
            if run not in report.runs and not (run_dir / "segments" / "contexts").is_dir():
                continue
            limits = budgets(run_dir)
            report.freed_bytes += prune_contexts(run_dir, limits.contexts_mb)
            if run in report.runs:
                con.execute("DELETE FROM archive.runs WHERE run_id = ?", [run])
                state = listing.json_text(f"{run_dir}/state.json")
                con.execute("INSERT INTO archive.runs VALUES (?, ?, ?)", [run, identity, state])
                pruned = prune_checkpoints(con, run_dir, limits.keep_checkpoints)
                report.checkpoints_removed += pruned
            if time.monotonic() > until:
                return True
    return False


def main(argv: list[str] | None = None) -> int:
    """Archive from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbench.store.archive", description=__doc__)
    parser.add_argument("runs_dir")
    parser.add_argument("--run", help="archive only the run with this id, to the last segment")
    parser.add_argument("--upgrade", action="store_true", help="only upgrade the store file")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds to wait for the lock")
    chosen = parser.parse_args(argv)
    try:
        if chosen.upgrade:
            upgrade(chosen.runs_dir, chosen.patience)
            return 0
        print(archive(chosen.runs_dir, chosen.run, chosen.patience))
    except (StoreError, OSError) as error:
        print(f"archive failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
