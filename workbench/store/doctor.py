"""The state of a store in one screen: what lies where, what is wrong, and what to do about it."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workbench.store.archive import LIVE, STALE_SECONDS
from workbench.store.catalog import ARCHIVED, OWN_FOLDER, VIEWS, store_path
from workbench.store.errors import StoreError
from workbench.store.manifest import Listing, run_names
from workbench.store.quarantine import quarantine_damaged, quarantined
from workbench.store.schema import SCHEMA_VERSION, TABLES
from workbench.store.session import session_for
from workbench.store.state import read_state

SHOWN = 6
"""Lines of a kind in the text; ``as_dict`` has them all."""

LOW_DISK = 1e9
OLD_TEMPORARY_SECONDS = 600.0


@dataclass
class Health:
    """What the doctor found. Every problem says what to do; sizes are bytes.

    ``segments`` (waiting) and ``archived`` (rows) count by table, ``runs`` by status.
    """

    runs_dir: str
    schema: int = SCHEMA_VERSION
    store_bytes: int = 0
    segment_bytes: int = 0
    context_bytes: int = 0
    checkpoint_bytes: int = 0
    free_bytes: int = 0
    runs: dict[str, int] = field(default_factory=dict)
    segments: dict[str, int] = field(default_factory=dict)
    archived: dict[str, int] = field(default_factory=dict)
    rollouts: int = 0
    quarantined: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether nothing asks for attention."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self) | {"healthy": self.healthy}

    def __str__(self) -> str:
        runs = ", ".join(f"{n} {status}" for status, n in sorted(self.runs.items())) or "none"
        archived = self.archived.get("rollouts", 0)
        each = f" ({self.store_bytes / archived:,.0f} bytes a rollout)" if archived else ""
        lines = [
            f"store       {self.runs_dir}",
            f"runs        {runs}",
            f"rollouts    {self.rollouts:,}, {archived:,} of them archived",
            f"waiting     {sum(self.segments.values()):,} segments, {_size(self.segment_bytes)}",
            f"store file  {_size(self.store_bytes)}{each}",
            f"contexts    {_size(self.context_bytes)}",
            f"checkpoints {_size(self.checkpoint_bytes)}",
            f"free        {_size(self.free_bytes)}",
        ]
        lines += _first("quarantine", self.quarantined)
        lines += _first("problem", self.problems)
        if self.healthy:
            lines.append("healthy     every segment can be read, every view answers")
        return "\n".join(lines)


def examine(runs_dir: Path | str) -> Health:
    """Read every waiting segment, quarantine those that cannot be read, ask every view.

    Raises:
        FileNotFoundError: there is no such directory.
    """
    root = Path(runs_dir).resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"no runs directory {root}")
    health = Health(str(root))
    runs = run_names(root)
    _measure(root, runs, health)
    _look_at_runs(root, runs, health)
    try:
        _read_segments(root, runs, health)
        _ask_store(root, health)
    except StoreError as error:
        health.problems.append(str(error))
    health.quarantined = [f"{d.moved_to}: {d.reason}" for d in quarantined(root)]
    if health.free_bytes < LOW_DISK:
        health.problems.append(
            f"only {_size(health.free_bytes)} are free: a run trains on when the disk is full, but "
            "nothing it does can be stored; delete runs or checkpoints"
        )
    return health


def _measure(root: Path, runs: list[str], health: Health) -> None:
    health.free_bytes = shutil.disk_usage(root).free
    if store_path(root).exists():
        health.store_bytes = store_path(root).stat().st_size
    listing = Listing(root)
    for table in TABLES:
        found = list(listing.segments(table, [OWN_FOLDER, *runs]))
        sizes = sum((root / r / "segments" / table / f).stat().st_size for r, f in found)
        if table == "contexts":
            health.context_bytes = sizes
        else:
            health.segments[table] = len(found)
            health.segment_bytes += sizes
    checkpoints = (p for p in root.glob("*/checkpoints/**/*") if p.is_file())
    health.checkpoint_bytes = sum(p.stat().st_size for p in checkpoints)
    old = time.time() - OLD_TEMPORARY_SECONDS
    left = [p for p in root.glob("*/segments/*/.*.tmp") if p.stat().st_mtime < old]
    if left:
        health.problems.append(
            f"{len(left)} unfinished segments of killed writers, e.g. {left[0]}: safe to delete"
        )


def _look_at_runs(root: Path, runs: list[str], health: Health) -> None:
    for run in runs:
        identity_path = root / run / "run.json"
        if not identity_path.exists():
            continue
        try:
            identity = json.loads(identity_path.read_bytes())
        except ValueError:
            health.problems.append(f"{identity_path} is damaged: delete the run, or restore it")
            continue
        state = read_state(root / run)
        status = str(state.get("status", "queued"))
        health.runs[status] = health.runs.get(status, 0) + 1
        silent = time.time() - float(state.get("heartbeat") or 0)
        if status in LIVE and silent > STALE_SECONDS:
            health.problems.append(
                f"{run} says {status!r} but has been silent for {silent / 60:,.0f} min: "
                f"`workbench list` tells whether it lives, `workbench resume {run}` goes on"
            )
        if int(identity.get("schema") or 0) > SCHEMA_VERSION:
            health.problems.append(
                f"{run} was written by a newer workbench (schema {identity['schema']}): upgrade "
                "this one to archive it; until then it stays readable as segments"
            )


def _read_segments(root: Path, runs: list[str], health: Health) -> None:
    listing = Listing(root)
    for table in TABLES:
        found = listing.segments(table, runs)
        paths = [root / run / "segments" / table / file for run, file in found]
        health.problems += [str(d) for d in quarantine_damaged(paths)]


def _ask_store(root: Path, health: Health) -> None:
    session = session_for(root)
    for name in ARCHIVED:
        health.archived[name] = int(session.frame(f"SELECT count(*) AS n FROM archive.{name}").n[0])
    for view in VIEWS:
        if view == "contexts":
            continue
        count = int(session.frame(f"SELECT count(*) AS n FROM {view}").n[0])
        if view == "rollouts":
            health.rollouts = count
    unfinished = int(session.frame("SELECT count(*) AS n FROM archive.segments").n[0])
    if unfinished:
        health.problems.append(
            f"an archive was interrupted after moving {unfinished} segments: nothing is lost or "
            "doubled; `workbench archive` finishes it"
        )
    if session.moved_from is not None:
        health.problems.append(
            f"the store was made in {session.moved_from}: `workbench archive` rebuilds the views "
            "that other DuckDB clients use"
        )


def _first(label: str, texts: list[str]) -> list[str]:
    """As many lines as leave the rest of the screen free, and how many more there are."""
    lines = [f"{label:11} {text}" for text in texts[:SHOWN]]
    if len(texts) > SHOWN:
        lines.append(f"{label:11} and {len(texts) - SHOWN} more: `workbench doctor --json`")
    return lines


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
