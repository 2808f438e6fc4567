"""Runs cells in child processes, several at once, and never one that is done.

Each cell is a run like any other: the launcher starts it, and it can be watched in the app and
asked in SQL. Children are forked from a server that has imported the heavy libraries, so a cell
starts in milliseconds instead of ten seconds, and a crash loses its own cell only. What an
interrupt cuts off is thrown away and run again at the next call.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workbench.bench.cells import Cell
from workbench.runs import rundir
from workbench.runs.forkserver import preloaded
from workbench.runs.launcher import Launcher
from workbench.runs.locks import held
from workbench.runs.queue import Queue
from workbench.runs.rundir import ENDED

Bodies = Mapping[str, Sequence[str]]

BODIES: Bodies = {
    "grpo": ("workbench.train.child",),
    "sft": ("workbench.bench.sft",),
    "none": ("workbench.bench.sft", "--measure"),
    "rows": ("workbench.bench.offline_rows",),
    "judged-sft": ("workbench.bench.judged_rows", "--learner", "sft"),
    "judged-pg": ("workbench.bench.judged_rows", "--learner", "pg"),
    "judged-dpo": ("workbench.bench.judged_rows", "--learner", "dpo"),
    "judged-rpo": ("workbench.bench.judged_rows", "--learner", "rpo"),
    "judged-dro": ("workbench.bench.judged_rows", "--learner", "dro"),
}
"""Module and options of a cell's child, by the cell's trainer; its run directory comes last."""
PRELOAD = "workbench.bench.warm"
"""What the server process imports before it forks the first child."""
LOCK = ".bench.lock"
POLL_SECONDS = 0.2
CALM = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Environment of the children: one thread each, no network."""


@dataclass(frozen=True)
class Event:
    """What happened: a cell ``started``, is ``running`` (with its share done), or ended."""

    what: str
    cell: Cell
    share: float = 0.0
    seconds: float = 0.0
    message: str = ""


Watch = Callable[[Event], None]


def finished(runs_dir: Path) -> dict[str, Path]:
    """Directories of the cells that are done, by the cell's name."""
    found = {}
    for path in rundir.run_dirs(runs_dir):
        name = rundir.read_identity(path)["name"]
        if name.startswith("bench-") and rundir.last_words(path).get("status") == "finished":
            found[name] = path
    return found


def run_cells(
    cells: Sequence[Cell],
    runs_dir: Path,
    jobs: int = 2,
    watch: Watch | None = None,
    bodies: Bodies = BODIES,
) -> dict[str, Path]:
    """Run every cell that is not done yet, ``jobs`` at a time.

    Args:
        cells: what to run; the same settings twice are run once.
        runs_dir: where runs live.
        jobs: child processes at once.
        watch: told of everything that happens.
        bodies: what runs the cells of each trainer.

    Returns:
        Directories of all cells that finished, by name. A cell that failed is missing; its log
        says why, and the next call tries it again.

    Raises:
        LockedError: Another benchmark is running in this directory.
    """
    if jobs < 1:
        raise ValueError(f"jobs: {jobs} is not allowed; it must be at least 1")
    tell = watch or (lambda event: None)
    with held(runs_dir / LOCK, 0.0, f"the benchmark in {runs_dir}"), _interruptible():
        _clear(cells, runs_dir)
        done = finished(runs_dir)
        todo = {c.name: c for c in cells if c.name not in done}
        line = (_Run(cell, runs_dir, bodies[cell.trainer], tell) for cell in todo.values())
        modules = sorted({module for module, *_ in bodies.values()})
        if todo:
            with _calm(), preloaded(modules, [PRELOAD] if bodies is BODIES else []):
                Queue(partial(next, line, None), jobs).run(POLL_SECONDS)
    done = finished(runs_dir)
    return {c.name: done[c.name] for c in cells if c.name in done}


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the benchmark as Ctrl-C does: children first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _calm() -> Iterator[None]:
    """Give the children their environment."""
    added = {key: value for key, value in CALM.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]


def _clear(cells: Sequence[Cell], runs_dir: Path) -> None:
    """Delete what an earlier call left unfinished of these cells."""
    launcher, names = Launcher(runs_dir), {c.name for c in cells}
    for path in list(rundir.run_dirs(runs_dir)):
        state = rundir.last_words(path)
        if rundir.read_identity(path)["name"] in names and state.get("status") != "finished":
            launcher.stop(path.name, now=True)  # an orphan of a benchmark that was killed
            launcher.delete(path.name)


class _Run:
    """A cell, as the queue sees it."""

    def __init__(self, cell: Cell, runs_dir: Path, body: Sequence[str], tell: Watch) -> None:
        self.cell, self.tell = cell, tell
        self.launcher = Launcher(runs_dir, command=[sys.executable, "-m", *body])

    def start(self) -> None:
        """Start the cell's run."""
        self.run = self.launcher.start(self.cell.named_config)
        self.began = time.monotonic()
        self.tell(Event("started", self.cell))

    def ended(self) -> bool:
        """Tell how far the cell is; whether it has ended."""
        info = self.launcher.get(self.run)
        seconds = time.monotonic() - self.began
        if info.status not in ENDED:
            self.tell(Event("running", self.cell, info.step / max(1, info.steps)))
            return False
        if info.status == "finished":
            self.tell(Event("finished", self.cell, 1.0, seconds))
        else:
            self.tell(Event("failed", self.cell, 0.0, seconds, info.message or ""))
        return True

    def cancel(self) -> None:
        """An interrupt: what is unfinished is run again from its start."""
        self.launcher.stop(self.run, now=True)
