"""Whose turn it is: one archive opens the store file for writing, many readers open it to read.

DuckDB's lock on the file excludes the others. Whoever waits for it touches a mark, so that many
readers leave a gap for an archive, and an archive for readers.
"""

from __future__ import annotations

import glob
import time
from pathlib import Path

import duckdb

from workbench.store.catalog import OWN_FOLDER, own_files
from workbench.store.errors import StoreBusyError, StoreError
from workbench.store.scan import quoted

WAY_SECONDS = 0.3
"""How long a reader holds back at most for an archive that waits for the lock."""


def connect(path: Path, patience: float) -> duckdb.DuckDBPyConnection:
    """Open the store for writing, waiting ``patience`` seconds for whoever has it open.

    Raises:
        StoreBusyError: it is still open elsewhere.
        StoreError: it cannot be opened at all.
    """
    deadline = time.monotonic() + patience
    mark = waiting_mark(path.parent)
    try:
        while True:
            try:
                con = duckdb.connect(str(path), config={"temp_directory": ""})
                _lock(con, path)
                return con
            except duckdb.Error as error:
                if not is_busy(error) and "different configuration" not in str(error):
                    raise StoreError(f"{path} cannot be opened: {error}") from error
                if time.monotonic() > deadline:
                    raise StoreBusyError(f"{path} is open elsewhere") from error
                mark.touch()
                time.sleep(0.005)
    finally:
        mark.unlink(missing_ok=True)


def _lock(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Let nothing that is written in the file reach out of its directory."""
    own = ", ".join(quoted(str(p)) for p in own_files(path))
    # the second is how the views that are made over segments spell it
    places = ", ".join(quoted(p) for p in (str(path.parent), glob.escape(str(path.parent))))
    con.execute(f"SET allowed_directories = [{places}]")
    con.execute(f"SET allowed_paths = [{own}]")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")


def waiting_mark(root: Path) -> Path:
    """The file whose presence says that an archive waits for the lock."""
    return root / OWN_FOLDER / "archive-waits"


def reading_mark(root: Path) -> Path:
    """The file that a reader touches for as long as it waits for an archive to let go."""
    return root / OWN_FOLDER / "reader-waits"


def archive_waits(root: Path) -> bool:
    """Whether an archive waits for the lock now; the mark of a killed one is soon out of date."""
    return _is_fresh(waiting_mark(root), 2 * WAY_SECONDS)


def reader_waits(root: Path) -> bool:
    """Whether a reader waits for the lock now, or did until a moment ago."""
    return _is_fresh(reading_mark(root), WAY_SECONDS)


def _is_fresh(mark: Path, seconds: float) -> bool:
    try:
        return time.time() - mark.stat().st_mtime < seconds
    except OSError:
        return False


def is_busy(error: duckdb.Error) -> bool:
    """Whether DuckDB failed because another process holds the file."""
    text = str(error)
    return "lock on file" in text or "Unique file handle conflict" in text
