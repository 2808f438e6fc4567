"""The state of a store in one screen: what lies where, what is wrong, and what to do about it."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workbench.store.archive import archive
from workbench.store.catalog import ARCHIVED, OWN_FOLDER, VIEWS, store_path
from workbench.store.errors import StoreError
from workbench.store.leftovers import find, remove
from workbench.store.manifest import EMPTY_SEGMENTS, Listing, odd_names, run_names
from workbench.store.quarantine import check_rows, check_segments, quarantined, restore
from workbench.store.schema import SCHEMA_VERSION, TABLES
from workbench.store.segments import read_bytes, why_damaged
from workbench.store.session import session_for
from workbench.store.state import LIVE, STALE_SECONDS, is_live, read_state

SHOWN = 6
"""Lines of a kind in the text; ``as_dict`` has them all."""

LOW_DISK = 1e9


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
    mended: list[str] = field(default_factory=list)

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
        lines += _first("mended", self.mended)
        lines += _first("quarantine", self.quarantined)
        lines += _first("problem", self.problems)
        if self.healthy:
            lines.append("healthy     every segment can be read, every view answers")
        return "\n".join(lines)


def examine(runs_dir: Path | str, mend: bool = False) -> Health:
    """Check every waiting segment, ask every view, and name what is wrong.

    Args:
        runs_dir: the runs directory.
        mend: first clear what can be cleared without losing a row, see ``_mend``.

    Raises:
        FileNotFoundError: there is no such directory.
        OSError: something that should be mended cannot be changed.
    """
    root = Path(runs_dir).resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"no runs directory {root}")
    health = Health(str(root))
    if mend:
        _mend(root, health)
    runs = run_names(root)
    _measure(root, runs, health)
    _look_at_runs(root, runs, health)
    try:
        _read_segments(root, runs, health)
        _ask_store(root, health)
    except StoreError as error:
        health.problems.append(str(error))
    health.quarantined = [f"{d.moved_to}: {d.reason}" for d in quarantined(root)]
    if health.quarantined:
        health.problems.append(
            f"rows of {len(health.quarantined)} damaged segments are missing: restore the files "
            "from a copy of yours, or delete them to go on without these rows"
        )
    health.problems += [f"{left} (`workbench doctor --mend`)" for left in find(root, wait=True)]
    for name in odd_names(root):
        health.problems.append(f"directory {name}: its name is no UTF-8 text; rename it")
    if health.free_bytes < LOW_DISK:
        health.problems.append(
            f"only {_size(health.free_bytes)} are free: a run trains on when the disk is full, but "
            "nothing it does can be stored; delete runs or checkpoints"
        )
    return health


def _mend(root: Path, health: Health) -> None:
    """Clear leftovers of killed processes, finish deletions, put back segments that are whole."""
    for run in _half_deleted(root):
        (root / run).rename(root / f".deleted-{run}")
    for left in find(root, wait=True):
        remove(left)
        health.mended.append(f"removed {left}")
    for found in quarantined(root):
        if restore(found):
            health.mended.append(f"{found.path} is whole and back in its place")
    for table, names in ((t, n) for t in TABLES.values() for n in EMPTY_SEGMENTS):
        path = root / OWN_FOLDER / "segments" / table.name / names
        if path.exists() and why_damaged(read_bytes(path)) is not None:
            path.unlink()
    try:
        report = archive(root)
    except StoreError as error:
        health.problems.append(str(error))
    else:
        health.mended += report.messages


def _half_deleted(root: Path) -> list[str]:
    """Runs that are hidden from every view, since their deletion began, and are still here."""
    try:
        deleted = session_for(root).frame(
            """SELECT run_id, max(time) AS time
            FROM (FROM archive.deletions UNION ALL BY NAME FROM live.deletions) GROUP BY run_id"""
        )
    except StoreError:
        return []
    times = dict(zip(deleted["run_id"], deleted["time"], strict=True))
    found = []
    for run in set(run_names(root)) & set(times):
        identity = json.loads(Listing(root).json_text(f"{root}/{run}/run.json"))
        newer = float(identity.get("imported") or 0) > times[run]
        if not newer and not is_live(root / run):
            found.append(run)
    return sorted(found)


def _measure(root: Path, runs: list[str], health: Health) -> None:
    health.free_bytes = shutil.disk_usage(root).free
    if store_path(root).exists():
        health.store_bytes = store_path(root).stat().st_size
    listing = Listing(root)
    for table in TABLES:
        found = list(listing.segments(table, [OWN_FOLDER, *runs]))
        sizes = sum(_bytes(root / r / "segments" / table / f) for r, f in found)
        if table == "contexts":
            health.context_bytes = sizes
        else:
            health.segments[table] = len(found)
            health.segment_bytes += sizes
    checkpoints = (p for p in root.glob("*/checkpoints/**/*") if p.is_file())
    health.checkpoint_bytes = sum(_bytes(p) for p in checkpoints)


def _bytes(path: Path) -> int:
    """Size of a file; 0 where it was archived or deleted since it was listed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _look_at_runs(root: Path, runs: list[str], health: Health) -> None:
    listing = Listing(root)
    for run in runs:
        identity_path = root / run / "run.json"
        if not identity_path.exists():
            continue
        identity = json.loads(listing.json_text(str(identity_path)))
        if str(identity_path) in listing.problems:
            why = listing.problems[str(identity_path)]
            health.problems.append(f"{identity_path} {why}: delete the run, or restore the file")
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
        if "is damaged" in str(state.get("message")) and status == "failed":
            health.problems.append(f"{run}: {state['message']}")
        if isinstance(identity.get("schema"), int) and identity["schema"] > SCHEMA_VERSION:
            health.problems.append(
                f"{run} was written by a newer workbench (schema {identity['schema']}): upgrade "
                "this one to archive it; until then it stays readable as segments"
            )


def _read_segments(root: Path, runs: list[str], health: Health) -> None:
    listing = Listing(root)
    for table in TABLES:
        found = listing.segments(table, runs)
        paths = [root / run / "segments" / table / file for run, file in found]
        checked = check_segments(paths)
        rows = check_rows(checked.whole)
        health.problems += [str(d) for d in checked.damaged + rows.damaged]
        for path, why in (checked.unreadable | rows.unreadable).items():
            health.problems.append(f"{path} cannot be read now: {why}")


def _ask_store(root: Path, health: Health) -> None:
    session = session_for(root)
    for run in _half_deleted(root):
        health.problems.append(
            f"the deletion of {run} was interrupted: `workbench doctor --mend` finishes it"
        )
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
