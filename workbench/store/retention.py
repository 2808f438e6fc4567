"""Disk budgets of a run: the oldest contexts and checkpoints go, never the best or the last."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import yaml

from workbench.config import LoggingConfig
from workbench.store.encode import table_of
from workbench.store.segments import publish


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk; ``score`` is None where nothing scored it."""

    step: int
    attempt: int
    path: str
    score: float | None


def surplus(checkpoints: Sequence[Checkpoint], keep: int) -> list[Checkpoint]:
    """Checkpoints beyond the newest ``keep``; the last and the best never are among them."""
    ordered = sorted(checkpoints, key=lambda c: (c.step, c.attempt))
    spare = ordered[: max(len(ordered) - keep, 0)]
    scored = [c for c in ordered if c.score is not None]
    best = max(scored, key=lambda c: (c.score, c.step), default=None)
    return [c for c in spare if c is not best and c is not ordered[-1]]


def budgets(run_dir: Path) -> LoggingConfig:
    """The ``logging`` section of a run's configuration; defaults where there is none."""
    try:
        config = yaml.safe_load((run_dir / "config.yaml").read_text("utf-8"))
        return LoggingConfig(**config.get("logging", {}))
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError):
        return LoggingConfig()


def prune_checkpoints(con: duckdb.DuckDBPyConnection, run_dir: Path, keep: int) -> list[Path]:
    """Delete a run's surplus checkpoints and publish that; returns what was deleted.

    Raises:
        OSError: a checkpoint cannot be deleted.
    """
    rows = con.execute(
        "SELECT step, attempt, path, score FROM checkpoints WHERE run_id = ? AND NOT removed",
        [run_dir.name],
    ).fetchall()
    inside = [Checkpoint(*row) for row in rows if _inside(run_dir, row[2])]
    deleted = []
    for checkpoint in surplus(inside, keep):
        path = run_dir / checkpoint.path
        if path.is_dir():
            shutil.rmtree(path)
            deleted.append(path)
        columns = {
            "run_id": run_dir.name,
            "attempt": checkpoint.attempt,
            "step": checkpoint.step,
            "path": checkpoint.path,
            "removed": True,
            "time": time.time(),
        }
        publish(run_dir, "checkpoints", table_of("checkpoints", 1, columns))
    return deleted


def _inside(run_dir: Path, path: str | None) -> bool:
    """Whether a published path is a real directory of the run: nothing else is ever deleted."""
    if not path:
        return False
    full = run_dir / path
    folder = (run_dir / "checkpoints").resolve()
    return full.is_dir() and not full.is_symlink() and full.resolve().parent == folder


def prune_contexts(run_dir: Path, megabytes: float) -> int:
    """Delete the oldest context segments beyond the budget; returns the bytes that were freed.

    The caller holds the store's lock, so that no reader has them open.
    """
    files = [(p.stat(), p) for p in (run_dir / "segments" / "contexts").glob("*.parquet")]
    total = sum(stat.st_size for stat, _ in files)
    freed = 0
    for stat, path in sorted(files, key=lambda f: (f[0].st_mtime_ns, f[1].name))[:-1]:
        if total - freed <= megabytes * 1e6:
            break
        path.unlink()
        freed += stat.st_size
    return freed
