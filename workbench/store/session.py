"""One process's way into the store: attached for the moment of a question, then let go.

All readers of a process share one session for a runs directory. POSIX file locks belong to the
process, not to the handle: closing one connection would silently drop the lock of another.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from workbench.store.cache import LiveCache, needed_tables
from workbench.store.catalog import (
    ARCHIVED,
    check_text,
    check_version,
    create_public_views,
    create_store,
    own_files,
    store_path,
)
from workbench.store.contexts import context_table, read_contexts
from workbench.store.errors import QueryError, StoreBusyError, StoreError, StoreWarning
from workbench.store.limits import duckdb_config
from workbench.store.migrations import read_meta
from workbench.store.notices import find_notices
from workbench.store.quarantine import quarantined
from workbench.store.sandbox import check_select
from workbench.store.scan import quoted
from workbench.store.schema import SCHEMA_VERSION
from workbench.store.turns import WAY_SECONDS, archive_waits, is_busy, reading_mark

BUSY_SECONDS = 2.0
"""How long a reader waits for an archive that holds the store."""

RENEW_AFTER = 2000
"""How often the store is attached before the database around it is made anew: of each time DuckDB
keeps a few kilobytes until the connection closes, which pages that watch a run add up to."""

_SESSIONS: dict[Path, Session] = {}
_SESSIONS_LOCK = threading.Lock()


def session_for(runs_dir: Path | str) -> Session:
    """The session of this process for a runs directory.

    Raises:
        StoreError: the store cannot be created, opened or understood.
    """
    root = Path(runs_dir).resolve()
    with _SESSIONS_LOCK:
        known = _SESSIONS.get(root)
        if known is None or known.pid != os.getpid():
            try:
                if not store_path(root).exists():
                    create_store(root)
            except (OSError, StoreError, duckdb.IOException) as error:
                why = f"no store in {root} and none can be made: {error}"
                raise StoreError(why) from error
            known = _SESSIONS[root] = Session(root, store_path(root))
        return known


@contextmanager
def foreign_session(runs_dir: Path) -> Iterator[Session]:
    """A session for a runs directory of others, in which nothing is written, made or moved.

    A store file that is missing, or of an older schema, is made or brought up in a folder of its
    own.

    Raises:
        StoreError: the store cannot be opened or understood.
    """
    root = runs_dir.resolve()
    check_text(root)
    with tempfile.TemporaryDirectory() as folder:
        path = store_path(root)
        if path.exists():
            session = Session(root, path, Path(folder))
        else:
            create_store(Path(folder))
            session = Session(root, store_path(folder), Path(folder))
        try:
            yield session
        finally:
            session.close()


class Session:
    """An in-memory database, locked against the outside, that attaches the store to answer.

    Args:
        root: the runs directory, resolved.
        path: its store file.
        copies: where the directory is another's, a folder for a copy of a store of an older schema.
    """

    def __init__(self, root: Path, path: Path, copies: Path | None = None) -> None:
        self.root = root
        self.pid = os.getpid()
        self.path = path
        self.copies = copies
        self.moved_from: str | None = None
        self._mutex = threading.RLock()
        self._users = 0
        self._is_attached = False
        self._set_aside = quarantined(root)
        self._told: set[str] = set()
        self._connect()
        with self.attached():
            pass  # a store that cannot be opened is told now

    def close(self) -> None:
        """Let go of everything; the session is of no use afterwards."""
        self._con.close()

    def notices(self) -> list[str]:
        """What is missing from the answers, and why; see ``notices.find``."""
        return find_notices(self.root, self.cache, self.moved_from)

    def _tell(self) -> None:
        """Warn once of each thing that is missing; costs next to nothing where nothing is."""
        cache = self.cache
        if not (self._set_aside or cache.damaged or cache.unreadable or cache.listing.problems):
            return
        self.tell(self.notices())

    def tell(self, notices: Iterable[str]) -> None:
        """Warn of each notice, once in this process."""
        for text in notices:
            if text not in self._told:
                self._told.add(text)
                warnings.warn(text, StoreWarning, stacklevel=2)

    def _connect(self) -> None:
        """Make the database and its cache, both empty."""
        self._con = duckdb.connect(
            ":memory:",
            config={
                "python_enable_replacements": "false",
                "autoload_known_extensions": "false",
                "autoinstall_known_extensions": "false",
                "temp_directory": "",
                **duckdb_config(),
            },
        )
        allowed = ", ".join(quoted(str(p)) for p in own_files(self.path))
        self._con.execute(f"SET allowed_paths = [{allowed}]")
        self._con.execute("SET enable_external_access = false")
        self._con.execute("SET lock_configuration = true")
        self._con.execute("BEGIN")
        self.cache = LiveCache(self._con, self.root, may_move=self.copies is None)
        self._con.execute("CREATE SCHEMA archive")
        self._con.execute("COMMIT")
        self._times_attached = 0

    def _create_views(self) -> None:
        self._con.execute("BEGIN")
        for name in (*ARCHIVED, "runs", "texts", "segments"):
            self._con.execute(f"CREATE VIEW archive.{name} AS FROM store.archive.{name}")
        create_public_views(self._con, over_files=False)
        self._con.execute("COMMIT")

    def _renew(self) -> None:
        """Start over with a database that has kept nothing but what was found damaged."""
        damaged = self.cache.damaged
        self._con.close()
        self._connect()
        self.cache.damaged = damaged

    @contextmanager
    def attached(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Hold the store open, so that no archive can move anything, and hand out a cursor."""
        with self._mutex:
            if not self._is_attached:
                if self._times_attached >= RENEW_AFTER:
                    self._renew()
                self._attach()
            self._users += 1
        try:
            with self._con.cursor() as cursor:
                yield cursor
        finally:
            with self._mutex:
                self._users -= 1
                if self._users == 0 and not self._opened_elsewhere():
                    self._detach()

    def frame(self, sql: str, params: Any = None) -> pd.DataFrame:
        """Answer a question of the workbench's own as a DataFrame."""
        with self.attached() as cursor:
            self.sync(needed_tables(sql))
            try:
                return cursor.execute(sql, params).df()
            except duckdb.Error as error:
                raise QueryError(str(error).strip()) from error

    def arrow(self, sql: str, params: Any = None) -> pa.Table:
        """The same as an Arrow table: every type and every bit as stored."""
        with self.attached() as cursor:
            self.sync(needed_tables(sql))
            try:
                return cursor.sql(sql, params=params).to_arrow_table()
            except duckdb.Error as error:
                raise QueryError(str(error).strip()) from error

    def context_table(self, run_id: str) -> pa.Table:
        """Every context of one run; see ``contexts.context_table``."""
        with self.attached():
            return context_table(self.cache, run_id)

    def contexts(self, run_id: str, split: str, steps: tuple[int, int] | None) -> pd.DataFrame:
        """Contexts of one run; see ``contexts.read_contexts``."""
        with self.attached():
            return read_contexts(self.cache, run_id, split, steps)

    def user_frame(self, sql: str, params: Any, limit: int | None, seconds: float) -> pd.DataFrame:
        """Answer a user's question: one SELECT, at most ``limit`` rows and ``seconds``.

        Raises:
            QueryError: it is not one allowed SELECT, fails, or takes too long.
        """
        with self.attached() as cursor:
            text = check_select(cursor, sql)
            self.sync(needed_tables(text))
            if limit is not None:
                text = f"SELECT * FROM (\n{text}\n) LIMIT {int(limit)}"
            timer = threading.Timer(seconds, cursor.interrupt)
            timer.start()
            try:
                return cursor.execute(text, params).df()
            except duckdb.InterruptException as error:
                raise QueryError(
                    f"the query took longer than {seconds:g} s and was ended"
                ) from error
            except duckdb.OutOfMemoryException as error:
                raise QueryError("the query needed more memory than it may have") from error
            except duckdb.Error as error:
                raise QueryError(str(error).strip()) from error
            finally:
                timer.cancel()

    def sync(self, tables: set[str]) -> None:
        """Bring the cache of unarchived rows up to the files on disk."""
        with self._mutex:
            self.cache.sync(tables)
            self._tell()

    def _attach(self) -> None:
        self._make_way()
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._con.execute(f"ATTACH {quoted(str(self.path))} AS store (READ_ONLY)")
                break
            except duckdb.Error as error:
                if not is_busy(error):
                    raise StoreError(f"{self.path} cannot be opened: {error}") from error
                if time.monotonic() > deadline:
                    raise StoreBusyError(
                        f"{self.path} is being archived for longer than {BUSY_SECONDS:g} s; "
                        "ask again in a moment"
                    ) from error
                if self.copies is None:
                    with suppress(OSError):  # a directory that cannot be written has no archive
                        reading_mark(self.root).touch()
                time.sleep(0.005)
        self._is_attached = True
        try:
            found = self._check()
            if found == SCHEMA_VERSION:
                if not self._times_attached:
                    self._create_views()
                self._times_attached += 1
            elif self.copies is not None:
                self._copy(self.copies)  # as long as we have it open, nothing can write into it
        except BaseException:
            self._detach()
            raise
        if found < SCHEMA_VERSION:
            self._detach()
            self._upgrade()
            self._attach()

    def _make_way(self) -> None:
        """Let an archive that has been waiting go first: many readers would never leave a gap."""
        until = time.monotonic() + WAY_SECONDS
        while archive_waits(self.root) and time.monotonic() < until:
            time.sleep(0.005)

    def _detach(self) -> None:
        self._con.execute("DETACH store")
        self._is_attached = False

    def _check(self) -> int:
        """Refuse a newer store, notice a moved one, and return the schema version."""
        try:
            found, place = read_meta(self._con, "'store'")
        except StoreError as error:
            raise StoreError(f"{self.path} cannot be used: {error}") from error
        check_version(found, self.path)
        own = self.copies is None and found > 0
        self.moved_from = place if own and place != str(self.root) else None
        return found

    def _copy(self, folder: Path) -> None:
        """Go on with a copy of the store file."""
        for file in own_files(self.path):
            if file.exists():
                shutil.copyfile(file, folder / file.name)
        self.path = folder / self.path.name

    def _upgrade(self) -> None:
        """Let a process of its own bring an older store up: readers never open it for writing."""
        where = str(self.path.parent)
        command = [sys.executable, "-m", "workbench.store.archive", where, "--upgrade"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stdout + done.stderr).strip()
            raise StoreError(f"{self.path} is of an older schema and stays so: {why}")
        if self.copies is not None:
            self._con.close()  # its list of files that may be opened is not the copy's
            self._connect()

    def _opened_elsewhere(self) -> bool:
        """Whether this process has the store open by another connection, e.g. in a notebook.

        Letting go of ours would then drop the process's lock under the other one's feet.
        """
        try:
            handles = os.listdir("/proc/self/fd")
        except OSError:
            return False
        mine = os.stat(self.path)
        count = 0
        for handle in handles:
            try:
                other = os.fstat(int(handle))
            except OSError:
                continue
            count += (other.st_dev, other.st_ino) == (mine.st_dev, mine.st_ino)
        return count > 1
