"""Following a run from the terminal that started it: progress, Ctrl-C, the table at the end."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from workbench.api.handle import POLL_SECONDS, Run
from workbench.api.workbench import Workbench
from workbench.commands.base import print_json, say
from workbench.commands.outcome import print_outcome
from workbench.formatting import visible
from workbench.runs.progress import line
from workbench.runs.rundir import ENDED, RunInfo

PLAIN_SECONDS = 2.0


def follow(wb: Workbench, run: Run, as_json: bool) -> int:
    """Show a run until it ends, then what came of it; returns the exit status.

    The first Ctrl-C (or SIGTERM) asks the run to stop after its step, the second kills it.
    """
    began = time.monotonic()
    with _shown() as show, _presses() as presses:
        info = _until_ended(wb, run, show, presses)
    try:
        wb.archive(run)
    except Exception as error:  # noqa: BLE001 - rows stay readable where they are; say so and go on
        say(f"not archived, the rows stay as segments: {error}")
    outcome = wb.outcome(run) | {"seconds": round(time.monotonic() - began, 3)}
    if as_json:
        print_json(outcome)
    else:
        print_outcome(outcome)
    if info.status == "failed":
        say(f"run {info.name!r} failed: {info.message or 'see its log'}")
        return 1
    return 130 if presses else 0


def _until_ended(
    wb: Workbench, run: Run, show: Callable[[RunInfo], None], presses: list[int]
) -> RunInfo:
    """Show the run until it has ended, and do what Ctrl-C asked for in the meantime."""
    answered = 0
    last: RunInfo | None = None
    while True:
        info = run.info
        if info != last:
            show(info)
            last = info
        if info.status in ENDED:
            return info
        if len(presses) > answered:
            answered += 1
            if answered == 1:
                say("\nasked to stop after the current step; once more kills it")
                wb.stop(run)
            else:
                say("\nkilling its process group")
                wb.stop(run, now=True)
        time.sleep(POLL_SECONDS)


@contextmanager
def _presses() -> Iterator[list[int]]:
    """The Ctrl-Cs and SIGTERMs so far; handlers only count, so that they can interrupt nothing."""
    presses: list[int] = []
    handled = (signal.SIGINT, signal.SIGTERM)
    previous = {n: signal.signal(n, lambda number, _: presses.append(number)) for n in handled}
    try:
        yield presses
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _shown() -> Iterator[Callable[[RunInfo], None]]:
    """How progress is shown on stderr: a live bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _PlainLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("starting", total=None, start=True)
        phase = ""

        def show(info: RunInfo) -> None:
            nonlocal phase
            now = (info.phase if info.status == "running" else None) or info.status
            if now != phase:  # one line a phase stays on the screen
                said = visible(f"{info.name}: {now}")
                progress.console.print(said, markup=False, highlight=False)
                phase = now
            text = visible(line(info)).replace("[", r"\[")  # not rich's markup
            progress.update(task, description=text, completed=info.step, total=info.steps or None)

        yield show


class _PlainLines:
    """Prints a line when something other than the step changes, or every two seconds."""

    def __init__(self) -> None:
        self.key: Any = None
        self.last = 0.0

    def __call__(self, info: RunInfo) -> None:
        key = (info.status, info.phase)
        if key != self.key or time.monotonic() - self.last >= PLAIN_SECONDS:
            self.key, self.last = key, time.monotonic()
            say(line(info))
