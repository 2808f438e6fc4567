"""Limits of memory and time that hold for a whole process, whatever the libraries in it do."""

from __future__ import annotations

import os
import resource
import signal
import sys

MEMORY = 4_000_000_000
"""Address space of a process that answers a user's query; libraries take about a quarter of it."""

_DUCKDB = {"memory_limit": "2GB", "threads": "4"}
_held = [False]

QUERY_SECONDS = 20.0
"""How long a user's query may take."""

TOO_MUCH = f"the query needed more than {MEMORY / 1e9:g} GB of memory and was ended"


def too_long(seconds: float) -> str:
    """What is said of a query that was ended after its time."""
    return f"the query took longer than {seconds:g} s and was ended"


def hold_memory() -> None:
    """Give this process no more memory than ``MEMORY`` from here on."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
    _held[0] = True


def duckdb_config() -> dict[str, str]:
    """What a database of this process gets: its own limits where ``hold_memory`` was called.

    Few threads, since the stack and the heap of each count as address space, used or not.
    """
    return dict(_DUCKDB) if _held[0] else {}


def end_after(seconds: float) -> None:
    """Let the system end this process after so many seconds; 0: no longer."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def go_on_in_a_child(seconds: float) -> None:
    """Return in a child with limits; this process waits for it, says why it died, ends as it did.

    For a command that is here for one query, before it has loaded anything large or started a
    thread: a fork is then a hundred times cheaper than another interpreter.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        hold_memory()
        end_after(seconds)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child hears it too, and ends
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        print(too_long(seconds) if code == -signal.SIGALRM else TOO_MUCH, file=sys.stderr)
    os._exit(code if code >= 0 else 1)
