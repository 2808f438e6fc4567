"""Runs cells in child processes, several at once, and never one that is done.

Children are forked from one server process that has imported the heavy libraries, so a cell starts
in milliseconds instead of ten seconds, and a crash loses its own cell only. Each cell is a run in
the runs directory like any other: it can be watched in the app and asked in SQL. What an interrupt
cuts off is thrown away and run again at the next call.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workbench.bench.cells import Cell
from workbench.runs import processes, rundir
from workbench.runs.launcher import Launcher
from workbench.runs.locks import LAUNCHER, held
from workbench.runs.queue import Queue
from workbench.runs.rundir import ACTIVE
from workbench.runs.stopping import stop_phases
from workbench.store.state import read_state, write_atomically, write_state

BODIES = {
    "grpo": "workbench.train.child:main",
    "sft": "workbench.bench.sft:main",
    "none": "workbench.bench.sft:measure",
    "rows": "workbench.bench.offline_rows:main",
    "judged-sft": "workbench.bench.judged_rows:sft",
    "judged-pg": "workbench.bench.judged_rows:pg",
    "judged-dpo": "workbench.bench.judged_rows:dpo",
    "judged-rpo": "workbench.bench.judged_rows:rpo",
    "judged-dro": "workbench.bench.judged_rows:dro",
}
"""What a cell's child calls with its run directory, by the cell's trainer."""
LOCK = ".bench.lock"
POLL_SECONDS = 0.2
PRELOAD = "workbench.bench.warm"
"""What the server process imports before it forks the first child."""
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
        if name.startswith("bench-") and read_state(path).get("status") == "finished":
            found[name] = path
    return found


def run_cells(
    cells: Sequence[Cell],
    runs_dir: Path,
    jobs: int = 2,
    watch: Watch | None = None,
    bodies: dict[str, str] | None = None,
) -> dict[str, Path]:
    """Run every cell that is not done yet, ``jobs`` at a time.

    Args:
        cells: what to run; the same settings twice are run once.
        runs_dir: where runs live.
        jobs: child processes at once.
        watch: told of everything that happens.
        bodies: ``module:function`` per trainer, called with ``[run_dir]``; default ``BODIES``.

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
        if todo:
            _run(list(todo.values()), runs_dir, jobs, tell, bodies or BODIES)
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


def _clear(cells: Sequence[Cell], runs_dir: Path) -> None:
    """Delete what an earlier call left unfinished of these cells."""
    launcher, names = Launcher(runs_dir), {c.name for c in cells}
    for path in list(rundir.run_dirs(runs_dir)):
        state = read_state(path)
        if rundir.read_identity(path)["name"] in names and state.get("status") != "finished":
            for _ in stop_phases(path, now=True):
                pass  # orphans of a benchmark that was killed; nobody else may run these cells
            launcher.delete(path.name)


def _run(todo: list[Cell], runs_dir: Path, jobs: int, tell: Watch, bodies: dict[str, str]) -> None:
    before = {key: os.environ.get(key) for key in CALM}
    os.environ.update({key: value for key, value in CALM.items() if before[key] is None})
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOAD] if bodies is BODIES else [])
    try:
        line = (_Child(context, cell, runs_dir, bodies, tell) for cell in todo)
        Queue(partial(next, line, None), jobs).run(POLL_SECONDS)
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)


class _Child:
    """A cell, as the queue sees it."""

    def __init__(
        self,
        context: multiprocessing.context.ForkServerContext,
        cell: Cell,
        runs_dir: Path,
        bodies: dict[str, str],
        tell: Watch,
    ) -> None:
        self.context, self.cell, self.runs_dir = context, cell, runs_dir
        self.body, self.tell = bodies[cell.trainer], tell

    def start(self) -> None:
        """Make the cell's run and start its body."""
        with held(self.runs_dir / LAUNCHER):
            config = self.cell.named_config
            run = rundir.create(self.runs_dir, config, token=None, parent=None, cwd=Path.cwd())
            self.path = self.runs_dir / run
            write_state(self.path, status="starting", starts=1)
        self.process = self.context.Process(target=_body, args=(self.body, str(self.path)))
        self.process.start()
        self.began = time.monotonic()
        self.tell(Event("started", self.cell))

    def ended(self) -> bool:
        """Tell how far the cell is; whether it has ended."""
        state = read_state(self.path)
        if self.process.is_alive():
            share = float(state.get("step") or 0) / max(1, int(state.get("steps") or 1))
            self.tell(Event("running", self.cell, share))
            return False
        seconds = time.monotonic() - self.began
        if state.get("status") == "finished":
            self.tell(Event("finished", self.cell, 1.0, seconds))
            return True
        if state.get("status") in ACTIVE:
            code = self.process.exitcode
            message = f"its process ended with code {code}: see {self.path}/log.txt"
            state = write_state(self.path, status="failed", message=message, pid=None)
        self.tell(Event("failed", self.cell, 0.0, seconds, str(state.get("message") or "")))
        return True

    def cancel(self) -> None:
        """An interrupt: what is unfinished is run again from its start."""
        self.process.kill()
        self.process.join()


def _body(body: str, run_dir: str) -> None:
    """The child: its own session, its output in the run's log, then the run itself."""
    os.setsid()
    os.environ[processes.MARK] = run_dir
    record = json.dumps(processes.identify(os.getpid())).encode()
    write_atomically(Path(run_dir) / "process.json", record)
    with (Path(run_dir) / "log.txt").open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    module, _, function = body.partition(":")
    code = getattr(importlib.import_module(module), function)([run_dir])
    sys.stdout.flush()
    sys.exit(code)
