"""RunWriter: a run publishes what it does without ever waiting for the disk or for a lock.

Every publish call puts a reference into a queue and returns. A background thread turns everything
queued within ``flush_seconds`` into one segment a table: temporary name, fsync, rename. What cannot
be written (disk full, directory read-only) is kept, retried, and told in ``problems``; it never
raises into training.
"""

from __future__ import annotations

import atexit
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from workbench.store.encode import encode_rollouts, objective_maps, split_values, table_of
from workbench.store.schema import PER_OBJECTIVE, TABLES
from workbench.store.segments import FIRST, RESUMED, claim_attempt, latest_attempt, write_segment
from workbench.store.state import plain, write_state
from workbench.types import RolloutBatch

Rows = list[tuple[str, pa.Table]]

RETRY_SECONDS = 1.0
CLOSING_TRIES = 4
KEPT_PROBLEMS = 50


class RunWriter:
    """Publishes one attempt of a run. Arrays that are handed over must not be changed afterwards.

    Attributes:
        attempt: 1 for the first start of the run, one more for each further start.
        problems: what could not be written, in words, oldest first; each stands once.
    """

    def __init__(self, run_dir: Path | str, flush_seconds: float = 0.4) -> None:
        self.run_dir = Path(run_dir).absolute()
        self.run_id = self.run_dir.name
        self.problems: list[str] = []
        try:
            self.attempt = claim_attempt(self.run_dir)
        except OSError as error:
            self.attempt = latest_attempt(self.run_dir) + 1
            self._problem(f"attempt {self.attempt} is not on record: {error}")
        self._token = secrets.token_hex(2)
        self._sequence = 0
        self._flush_seconds = flush_seconds
        self._queue: queue.SimpleQueue[Callable[[], Rows] | None] = queue.SimpleQueue()
        self._tables: dict[str, list[pa.Table]] = {}
        self._state: dict[str, Any] = {}
        self._given = 0
        self._taken = 0
        self._durable = 0
        self._tried = 0
        self._progress = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="run-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what a trainer calls: each returns at once --------------------------------------------

    def rollouts(self, batch: RolloutBatch | Callable[[], RolloutBatch]) -> None:
        """Publish the N completions of one step, and their contexts where there are any.

        A function is called in the writer's thread: making the batch costs the caller nothing.
        """
        now = time.time()

        def encode() -> Rows:
            made = batch() if callable(batch) else batch
            rows, contexts = encode_rollouts(made, self.run_id, self.attempt, now)
            return [("rollouts", rows)] + ([("contexts", contexts)] if contexts else [])

        self._put(encode)

    def metrics(self, step: int, values: Mapping[str, float], split: str = "train") -> None:
        """Publish named numbers of one step."""
        now = time.time()
        given = {k: v for k, v in values.items() if v is not None}

        def encode() -> Rows:
            columns = self._row_keys(now) | {"step": step, "split": split, "name": list(given)}
            columns["value"] = [float(v) for v in given.values()]
            return [("metrics", table_of("metrics", len(given), columns))]

        self._put(encode)

    def conductor_update(self, step: int, values: Mapping[str, Any]) -> None:
        """Publish one update of the Conductor; ``policy`` may map objectives to probabilities."""
        self._values("conductor_updates", step, values)

    def checkpoint(self, step: int, path: Path, values: Mapping[str, Any]) -> None:
        """Publish a saved checkpoint; ``score`` among the values decides which one is best."""
        path = Path(path).absolute()
        relative = path.relative_to(self.run_dir) if path.is_relative_to(self.run_dir) else path
        self._values("checkpoints", step, {**values, "path": str(relative)})

    def evaluation(self, rows: Mapping[str, Sequence[Any]]) -> None:
        """Publish completions of an evaluation, one row each.

        ``rewards`` and ``weights`` are sequences of mappings objective -> number, or pairs
        ``(names, (N, K) array)``.

        Raises:
            KeyError: a column that ``evaluations`` does not have.
        """
        unknown = sorted(set(rows) - set(TABLES["evaluations"].names))
        if unknown:
            raise KeyError(f"evaluations have no column {unknown}")
        size = len(rows["completion"])
        maps = {k: _maps(rows[k], size) for k in ("rewards", "weights") if k in rows}
        columns = {**rows, **maps}
        self._rows("evaluations", size, columns)

    def warning(self, step: int, code: str, message: str, advice: str) -> None:
        """Publish a finding of the diagnostics."""
        words = {"code": code, "message": message, "advice": advice}
        self._rows("warnings", 1, {"step": step, **words})

    def state(self, **changes: Any) -> None:
        """Merge into state.json, after everything published before is durable."""

        def merge() -> Rows:
            self._state |= {"attempt": self.attempt} | plain(changes)
            return []

        self._put(merge)

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until everything so far is durable; False when it could not be written."""
        target = self._given
        self._queue.put(None)
        with self._progress:
            self._progress.wait_for(lambda: self._tried >= target, timeout)
            return self._durable >= target

    def close(self) -> None:
        """Write what is left and end the thread. Rows that cannot be written are told as lost."""
        atexit.unregister(self.close)
        if self._closing.is_set():
            return
        self._closing.set()
        self._queue.put(None)
        self._thread.join()

    # -- the background thread -----------------------------------------------------------------

    def _put(self, item: Callable[[], Rows]) -> None:
        self._given += 1
        self._queue.put(item)

    def _row_keys(self, now: float) -> dict[str, Any]:
        return {"run_id": self.run_id, "attempt": self.attempt, "time": now}

    def _rows(self, table: str, size: int, columns: Mapping[str, Any]) -> None:
        given = {**self._row_keys(time.time()), **columns}
        self._put(lambda: [(table, table_of(table, size, given))])

    def _values(self, table: str, step: int, values: Mapping[str, Any]) -> None:
        where = self._row_keys(time.time()) | {"step": step}
        given = dict(values)
        self._put(lambda: [(table, table_of(table, 1, split_values(table, given) | where))])

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                item = self._queue.get(timeout=RETRY_SECONDS if self._unwritten() else None)
                self._take(item)
                self._gather(self._flush_seconds if item is not None else 0)
            except queue.Empty:
                pass  # nothing new came, but something is still waiting for the disk
            self._write_all()
        for _ in range(CLOSING_TRIES):
            self._gather(0)
            self._write_all()
            if not self._unwritten():
                return
            time.sleep(RETRY_SECONDS / CLOSING_TRIES)
        lost = sum(t.num_rows for tables in self._tables.values() for t in tables)
        self._problem(f"{lost} rows could not be written before the run ended")

    def _gather(self, seconds: float) -> None:
        """Take what comes within ``seconds``; a None (flush, close) ends the wait."""
        until = time.monotonic() + seconds
        while True:
            try:
                item = self._queue.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                return
            self._take(item)
            if item is None:
                until = 0

    def _take(self, item: Callable[[], Rows] | None) -> None:
        if item is None:
            return
        self._taken += 1
        try:
            for name, table in item():
                self._tables.setdefault(name, []).append(table)
        except Exception as error:  # a row that cannot be encoded must not stop the rows after it
            self._problem(f"one publish call was refused: {type(error).__name__}: {error}")

    def _write_all(self) -> None:
        try:
            for name in [n for n, tables in self._tables.items() if tables]:
                rows = pa.concat_tables(self._tables[name])
                if rows.num_rows:
                    write_segment(rows, self._segment_path(name))
                    self._sequence += 1
                self._tables[name] = []
            if self._state:
                write_state(self.run_dir, **self._state)
                self._state = {}
        except OSError as error:
            self._problem(f"{type(error).__name__}: {error}")
        with self._progress:
            self._tried = self._taken
            if not self._unwritten():
                self._durable = self._taken
            self._progress.notify_all()

    def _unwritten(self) -> bool:
        return bool(self._state) or any(self._tables.values())

    def _segment_path(self, table: str) -> Path:
        letter = FIRST if self.attempt == 1 else RESUMED
        name = f"{letter}{self.attempt:04d}-{self._sequence:06d}-{self._token}.parquet"
        return self.run_dir / "segments" / table / name

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems = [*self.problems, text][-KEPT_PROBLEMS:]


def _maps(value: Any, size: int) -> pa.Array:
    """Mappings, or (names, (N, K) array), as N maps."""
    if isinstance(value, tuple):
        names, array = value
        return objective_maps(array, names, size)
    return pa.array([None if v is None else list(v.items()) for v in value], PER_OBJECTIVE)
