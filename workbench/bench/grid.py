"""What every suite of ``workbench bench`` does: run cells with a progress bar, save its tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from workbench.bench.cells import Cell
from workbench.bench.runner import Event, finished, run_cells


def save(folder: Path, name: str, table: Any, text: str) -> None:
    """Leave a table as CSV and as Markdown."""
    table.to_csv(folder / f"{name}.csv", index=False)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")


def run_grid(grid: Sequence[Cell], args: argparse.Namespace) -> tuple[dict[str, Path], list[str]]:
    """Run the cells of a grid under a progress bar; finished ones, and what went wrong.

    Raises:
        ValueError: with ``--report``, which runs none, when none has finished.
    """
    runs_dir = Path(args.runs_dir)
    known = finished(runs_dir) if runs_dir.is_dir() else {}
    ready, names = set(known), {c.name for c in grid}
    if names & ready:
        say(f"{len(names & ready)} of {len(names)} cells are done already")
    if args.report:
        if not names & ready:
            raise ValueError(f"none of these {len(names)} cells has finished in {runs_dir}")
        return {name: known[name] for name in names & ready}, []
    failed: list[str] = []
    shares: dict[str, float] = {}
    with bar("cells", len(names - ready)) as advance:

        def watch(event: Event) -> None:
            share = 1.0 if event.what in ("finished", "failed") else event.share
            advance(share - shares.get(event.cell.name, 0.0))
            shares[event.cell.name] = share
            if event.what == "failed":
                failed.append(f"{event.cell.name} failed: {event.message}")

        done = run_cells(grid, runs_dir, args.jobs, watch)
    return done, failed


@contextmanager
def bar(what: str, total: int) -> Any:
    """A progress bar on stderr with what is left in time; yields a function that advances it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as progress:
        task = progress.add_task(what, total=max(total, 1), completed=0 if total else 1)
        advance: Callable[[float], None] = lambda share: progress.advance(task, share)  # noqa: E731
        yield advance


def say(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)
