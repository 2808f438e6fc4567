"""The one queue: work stands in line, so much of it goes on at once, in the order in which it came.

Trials of a sweep, cells of a benchmark and evaluations wait in the memory of the process that asked
for them (``Queue``). Queued runs wait in their directories, because who asked may be gone by then:
``whose_turn`` tells whoever looks which of them may start now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from workbench.runs.rundir import ACTIVE


class Work(Protocol):
    """Something that can be started, looked at and ended."""

    def start(self) -> None:
        """Begin it."""

    def ended(self) -> bool:
        """Look at it; whether it has ended."""

    def cancel(self) -> None:
        """End it now."""


W = TypeVar("W", bound=Work)


class Queue(Generic[W]):
    """Work in line.

    Args:
        take: hands out what is next in line, None when there is nothing now. It is asked when there
            is a free slot, so that its answer may depend on what the ones before came to.
        limit: how many go on at once.

    Attributes:
        active: what is at work.
    """

    def __init__(self, take: Callable[[], W | None], limit: int) -> None:
        self.take = take
        self.limit = limit
        self.active: list[W] = []

    def step(self) -> bool:
        """Take out what has ended, start what may start; whether anything is at work."""
        self.active = [work for work in self.active if not work.ended()]
        while len(self.active) < self.limit:
            if (work := self.take()) is None:
                break
            work.start()
            self.active.append(work)
        return bool(self.active)

    def run(self, seconds: float, wants_stop: Callable[[], bool] = lambda: False) -> None:
        """Work until nothing is left, with so many seconds between two looks.

        When it is to stop, or fails, what is at work is cancelled.
        """
        try:
            while not wants_stop() and self.step():
                time.sleep(seconds)
        finally:
            for work in self.active:
                work.cancel()
            self.active = []


def whose_turn(states: Mapping[Path, Mapping[str, Any]], limit: int | None) -> Iterator[Path]:
    """Queued runs that may start now, oldest first.

    Args:
        states: every run's state, as ``status.Look`` sees it.
        limit: runs at once; None: the limit under which each was queued.
    """
    active = sum(state.get("status") in ACTIVE for state in states.values())
    queued = [path for path, state in states.items() if state.get("status") == "queued"]
    for path in sorted(queued, key=lambda path: states[path].get("heartbeat", 0.0)):
        most = limit or states[path].get("limit")
        if isinstance(most, int) and active >= most:
            return
        yield path
        active += 1
