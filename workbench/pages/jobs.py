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

KEPT = 20


@dataclass
class Job:
    """One evaluation: what it is about, and how far it is."""

    identity: int
    title: str
    run: str
    options: Mapping[str, Any]
    status: str = "waiting"
    message: str = ""
    began: float | None = None
    ended: float | None = None
    evaluation: Evaluation | None = field(default=None, repr=False)

    @property
    def progress(self) -> str:
        """How far it is, in the words of its process."""
        return self.evaluation.progress if self.evaluation and self.status == "running" else ""

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return 0.0 if self.began is None else (self.ended or time.time()) - self.began


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
                same = (job.run, job.options) == (run, options)
                if same and job.status in ("waiting", "running"):
                    return job
            job = Job(next(self._numbers), title, run, options)
            self._jobs = [*self._jobs[-KEPT:], job]
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="evaluations", daemon=True)
                self._thread.start()
        return job

    def list(self) -> list[Job]:
        """Newest first."""
        return self._jobs[::-1]

    @property
    def active(self) -> bool:
        """Whether anything waits or is at work."""
        return any(j.status in ("waiting", "running") for j in self._jobs)

    def cancel(self, identity: int) -> None:
        """End a job, or take it off the queue.

        Raises:
            LookupError: there is no such job.
        """
        job = next((j for j in self._jobs if j.identity == identity), None)
        if job is None:
            raise LookupError(f"no evaluation {identity}")
        job.status = "cancelled" if job.status in ("waiting", "running") else job.status
        if job.evaluation is not None:
            job.evaluation.cancel()

    def _next(self) -> Job | None:
        with self._lock:
            job = next((j for j in self._jobs if j.status == "waiting"), None)
            if job is None:
                self._thread = None
            else:
                job.status, job.began = "running", time.time()
            return job

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job.evaluation = self._wb.evaluate(job.run, **job.options)
                job.evaluation.wait()
                job.status = "done"
            except (ValueError, OSError, LookupError) as error:
                if job.status != "cancelled":
                    job.status, job.message = "failed", str(error)
            finally:
                job.ended = time.time()
