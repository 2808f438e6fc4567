"""A user's query in a process of its own, so that its limits hold whatever it does.

DuckDB can be interrupted between rows, but not while it parses, nor inside one call on a long text,
and some of its functions ask for memory outside its own limit. So the text goes to a child that may
have ``limits.MEMORY`` bytes of address space and is killed when its time is over. The child stays
for the next question; it ends when its parent does, or when it was not asked for a while.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd

from workbench.store.errors import QueryError, StoreError
from workbench.store.limits import TOO_MUCH, end_after, hold_memory, too_long
from workbench.store.session import Session, session_for

ANSWER_BYTES = 200_000_000
GRACE_SECONDS = 1.0
"""How long after its time a query may take to notice that it was interrupted."""

START_SECONDS = 60.0
IDLE_SECONDS = 300.0

_LENGTH = struct.Struct("<q")
_PROCESSES: dict[Path, QueryProcess] = {}
_LOCK = threading.Lock()


def process_for(root: Path) -> QueryProcess:
    """The process that answers queries about a runs directory, for all threads of this one."""
    with _LOCK:
        known = _PROCESSES.get(root)
        if known is None or known.owner != os.getpid():
            known = _PROCESSES[root] = QueryProcess(root)
        return known


class QueryProcess:
    """One child that answers one query after another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.owner = os.getpid()
        self._mutex = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def ask(self, sql: str, limit: int, seconds: float) -> pd.DataFrame:
        """Answer one SELECT with at most ``limit`` rows.

        Raises:
            QueryError: it is not one allowed SELECT, fails, or needs too much time or memory.
            StoreError: the store cannot be opened.
        """
        with self._mutex:
            request = pickle.dumps((sql, limit, seconds))
            try:
                child = self._sent(request)
            except BrokenPipeError:  # it has just ended, having had nothing to do for a while
                self.close()
                child = self._sent(request)
            assert child.stdout is not None
            try:
                data = _receive(child.stdout.fileno(), seconds + GRACE_SECONDS)
            except TimeoutError:
                self.close()
                raise QueryError(too_long(seconds)) from None
            if data is None:
                code = child.wait()
                self.close()
                raise QueryError(too_long(seconds) if code == -signal.SIGALRM else TOO_MUCH)
            found, notices, fit = pickle.loads(data)  # our own child's, which runs our code only
            if not fit:
                self.close()
        session_for(self.root).tell(notices)
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, pd.DataFrame)
        return found

    def close(self) -> None:
        """End the child; the next query starts another."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()

    def _sent(self, request: bytes) -> subprocess.Popen[bytes]:
        child = self._started()
        assert child.stdin is not None
        _send(child.stdin.fileno(), request)
        return child

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self.close()
        command = [sys.executable, "-m", "workbench.store.query_process", str(self.root)]
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=os.environ | {"MALLOC_ARENA_MAX": "2"},  # each arena reserves address space
        )
        assert self._child.stdout is not None
        if _receive(self._child.stdout.fileno(), START_SECONDS) is None:
            raise StoreError(f"no process for queries about {self.root} could be started")
        return self._child


def _send(handle: int, data: bytes) -> None:
    view = memoryview(_LENGTH.pack(len(data)) + data)
    while view:
        view = view[os.write(handle, view) :]


def _receive(handle: int, seconds: float) -> bytes | None:
    """One message; None: the other side is gone. Raises TimeoutError."""
    until = time.monotonic() + seconds

    def read(size: int) -> bytes | None:
        parts: list[bytes] = []
        while size:
            left = until - time.monotonic()
            if left <= 0 or not select.select([handle], [], [], left)[0]:
                raise TimeoutError
            part = os.read(handle, min(size, 1 << 20))
            if not part:
                return None
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    head = read(_LENGTH.size)
    return None if head is None else read(_LENGTH.unpack(head)[0])


def _answer(session: Session, sql: str, limit: int, seconds: float) -> bytes:
    """The answer or what went wrong, the store's notices, and whether to go on with this process.

    A process that has met its limit is replaced: it may never get enough memory again.
    """
    fit = True
    found: pd.DataFrame | StoreError
    try:
        found = session.user_frame(sql, None, limit, seconds)
    except StoreError as error:
        found, fit = error, "memory" not in str(error)
    except (MemoryError, RuntimeError, OSError):  # no memory, or none for a thread
        found, fit = QueryError(TOO_MUCH), False
    data = pickle.dumps((found, session.notices(), fit), protocol=5)
    if len(data) > ANSWER_BYTES:
        text = f"the answer has {len(data) / 1e6:,.0f} MB: ask for fewer rows or columns"
        data = pickle.dumps((QueryError(text), [], False))
    return data


def main() -> None:
    """Answer queries from stdin on stdout, until nothing comes any more."""
    out, root = os.dup(1), Path(sys.argv[1])
    os.dup2(2, 1)  # whatever prints must not come between the answers
    hold_memory()
    session = session_for(root)
    _send(out, b"ready")
    while True:
        try:
            request = _receive(0, IDLE_SECONDS)
        except TimeoutError:
            return
        if request is None:
            return
        sql, limit, seconds = pickle.loads(request)
        end_after(seconds + 2 * GRACE_SECONDS)
        answer = _answer(session, sql, limit, seconds)
        end_after(0)
        _send(out, answer)


if __name__ == "__main__":
    main()
