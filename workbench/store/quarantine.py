"""Segments with wrong content: found, named, and moved out of the way of all the others.

Only wrong content is damage. A read that fails (too many open files, a disk that does not answer,
missing rights) says nothing of the content: it is tried again and told, and the file stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.store.errors import StoreVersionError
from workbench.store.manifest import run_names
from workbench.store.scan import scan_segments
from workbench.store.schema import SCHEMA_VERSION, TABLES
from workbench.store.segments import read_bytes, schema_version, why_damaged

FOLDER = "quarantine"


@dataclass(frozen=True)
class Damaged:
    """A segment that was set aside, and why; ``moved_to`` is ``path`` where it cannot be moved."""

    path: Path
    moved_to: Path
    reason: str

    def __str__(self) -> str:
        if self.moved_to == self.path:
            return f"damaged segment {self.path} is left out: {self.reason}"
        return f"damaged segment {self.path} moved to {self.moved_to}: {self.reason}"


@dataclass
class Checked:
    """Segments that were checked; those that are gone by now are in none of the lists."""

    whole: list[Path] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)


def check_segments(paths: Iterable[Path], may_move: bool = True) -> Checked:
    """Read every segment and compare its checksum; damaged ones go to quarantine.

    Args:
        paths: segments, ``<run>/segments/<table>/<file>``.
        may_move: False in a store of others, where nothing is changed.
    """
    checked = Checked()
    for path in paths:
        try:
            reason = why_damaged(read_bytes(path))
        except FileNotFoundError:
            continue
        except (OSError, MemoryError) as error:
            checked.unreadable[path] = _in_words(error)
            continue
        if reason is None:
            checked.whole.append(path)
        else:
            checked.damaged.append(_set_aside(path, reason, may_move))
    return checked


def check_rows(paths: Iterable[Path], may_move: bool = True) -> Checked:
    """Let DuckDB read each whole segment alone: which of them has rows of another shape?

    Raises:
        StoreVersionError: a segment that cannot be read comes from a newer workbench.
    """
    checked = Checked()
    with duckdb.connect() as reader:
        for path in paths:
            try:
                scan = scan_segments(TABLES[path.parent.name], [path])
                # hash() of whole rows decodes every page of every column and keeps none of it
                reader.execute(f"SELECT max(hash(t)) FROM {scan} AS t").fetchall()
            except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
                if path.exists():
                    checked.unreadable[path] = _in_words(error)
            except duckdb.Error as error:
                _refuse_newer(path)
                checked.damaged.append(_set_aside(path, _in_words(error), may_move))
            else:
                checked.whole.append(path)
    return checked


def quarantined(runs_dir: Path) -> list[Damaged]:
    """Everything that lies in quarantine below a runs directory."""
    found = []
    folders = [runs_dir / run / FOLDER for run in run_names(runs_dir)]
    paths = [p for f in folders if f.is_dir() for p in sorted(f.glob("*/*.parquet"))]
    for path in paths:
        why = path.with_suffix(".txt")
        reason = why.read_text("utf-8", "replace") if why.exists() else "unknown"
        origin = path.parents[2] / "segments" / path.parent.name / path.name
        found.append(Damaged(origin, path, reason))
    return found


def restore(found: Damaged) -> bool:
    """Put a segment back whose content is right; returns whether it was.

    Raises:
        OSError: it cannot be read or moved.
    """
    if why_damaged(read_bytes(found.moved_to)) is not None or found.path.exists():
        return False
    found.path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(found.moved_to, found.path)
    found.moved_to.with_suffix(".txt").unlink(missing_ok=True)
    return True


def _refuse_newer(path: Path) -> None:
    """A segment of a newer workbench is not damaged; it is only not for this one to read."""
    try:
        version = schema_version(pq.read_schema(path))
    except (OSError, ValueError, pa.ArrowException):
        return
    if version > SCHEMA_VERSION:
        raise StoreVersionError(
            f"{path} has schema {version}, written by a newer workbench; this one reads up to "
            f"schema {SCHEMA_VERSION}. Upgrade the workbench, or move the run elsewhere."
        )


def _set_aside(path: Path, reason: str, may_move: bool) -> Damaged:
    """Move ``<run>/segments/<table>/<file>`` to ``<run>/quarantine/<table>/<file>``."""
    if not may_move:
        return Damaged(path, path, reason)
    target = path.parents[2] / FOLDER / path.parent.name / path.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        target.with_suffix(".txt").write_text(reason, "utf-8")
    except FileNotFoundError:
        pass  # another process moved it in the same moment
    except OSError as error:
        words = f"{reason}; it cannot be moved to {target} ({error.strerror})"
        return Damaged(path, path, words)
    return Damaged(path, target, reason)


def _in_words(error: BaseException) -> str:
    return str(error).split("\n")[0] or type(error).__name__
