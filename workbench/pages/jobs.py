"""Evaluations that the app was asked for: one child process at a time, watched and cancellable.

The list belongs to the app, not to a browser tab: whoever opens Compare sees what is being
evaluated. Results are in the store; after a restart of the app only the list is forgotten.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.api.workbench import Workbench
from workbench.runs.evaluations import Evaluation
from workbench.runs.queue import Queue

KEPT = 20
POLL_SECONDS = 0.2
PROBLEMS = (ValueError, OSError, LookupError, RuntimeError)
"""What an evaluation may be refused or fail with."""


@dataclass
class Job:
    """One evaluation: what it is about, and how far it is."""

    identity: int
    title: str
    run: str
    options: Mapping[str, Any]
    wb: Workbench = field(repr=False)
    status: str = "waiting"
    message: str = ""
    began: float | None = None
    finished: float | None = None
    evaluation: Evaluation | None = field(default=None, repr=False)

    @property
    def progress(self) -> str:
        """How far it is, in the words of its process."""
        return self.evaluation.progress if self.evaluation and self.status == "running" else ""

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return 0.0 if self.began is None else (self.finished or time.time()) - self.began

    @property
    def live(self) -> bool:
        """Whether it waits or is at work."""
        return self.status in ("waiting", "running")

    def start(self) -> None:
        """Start its process."""
        if not self.live:
            return  # cancelled in the last moment
        self.status, self.began = "running", time.time()
        try:
            self.evaluation = self.wb.evaluate(self.run, **self.options)
        except PROBLEMS as error:
            self._end("failed", str(error))
        if self.evaluation is not None and not self.live:
            self.evaluation.cancel()  # cancelled while it was started

    def ended(self) -> bool:
        """Look at its process; whether it has ended."""
        if self.status == "running" and self.evaluation is not None and self.evaluation.done:
            try:
                self._end("done", "; ".join(self.evaluation.wait()["problems"]))
            except PROBLEMS as error:
                self._end("failed", str(error))
        return not self.live

    def cancel(self) -> None:
        """End its process, or never start it."""
        if self.live:
            self._end("cancelled", "")
            if self.evaluation is not None:
                self.evaluation.cancel()

    def _end(self, status: str, message: str) -> None:
        self.status, self.message, self.finished = status, message, time.time()


class Jobs:
    """Evaluations in the order in which they were asked for."""

    def __init__(self, wb: Workbench) -> None:
        self._wb = wb
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._jobs: list[Job] = []
        self._thread: threading.Thread | None = None

    def add(self, title: str, run: str, **options: Any) -> Job:
        """Ask for an evaluation; one that is waiting or running already is not asked for twice."""
        with self._lock:
            for job in self._jobs:
                if job.live and (job.run, job.options) == (run, options):
                    return job
            job = Job(next(self._numbers), title, run, options, self._wb)
            self._jobs = [*self._jobs[-KEPT:], job]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="evaluations", daemon=True)
                self._thread.start()
        return job

    def list(self) -> list[Job]:
        """Newest first."""
        return self._jobs[::-1]

    @property
    def active(self) -> bool:
        """Whether anything waits or is at work."""
        return any(job.live for job in self._jobs)

    def cancel(self, identity: int) -> None:
        """End a job, or take it off the queue.

        Raises:
            LookupError: there is no such job.
        """
        job = next((j for j in self._jobs if j.identity == identity), None)
        if job is None:
            raise LookupError(f"no evaluation {identity}")
        job.cancel()

    def _next(self) -> Job | None:
        return next((job for job in self._jobs if job.status == "waiting"), None)

    def _work(self) -> None:
        while True:
            Queue(self._next, limit=1).run(POLL_SECONDS)
            with self._lock:
                if self._next() is None:
                    self._thread = None  # the next that is asked for starts another
                    return
