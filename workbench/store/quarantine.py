"""Segments that cannot be read: found, named, and moved out of the way of all the others."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.store.errors import StoreError, StoreVersionError
from workbench.store.scan import scan_segments
from workbench.store.schema import SCHEMA_VERSION, TABLES

FOLDER = "quarantine"


@dataclass(frozen=True)
class Damaged:
    """A segment that was moved to quarantine, and why."""

    path: Path
    moved_to: Path
    reason: str

    def __str__(self) -> str:
        return f"damaged segment {self.path} moved to {self.moved_to}: {self.reason}"


def quarantine_damaged(paths: Iterable[Path]) -> list[Damaged]:
    """Read every segment whole; move those that cannot be read. Vanished ones are no damage.

    Raises:
        StoreError: a damaged segment cannot be moved; the message names it.
        StoreVersionError: a segment that cannot be read comes from a newer workbench.
    """
    found = []
    with duckdb.connect() as reader:
        for path in paths:
            reason = _why_unreadable(reader, path)
            if reason is not None:
                _refuse_newer(path)
                found.append(_quarantine(path, reason))
    return found


def quarantined(runs_dir: Path) -> list[Damaged]:
    """Everything that lies in quarantine below a runs directory."""
    found = []
    for path in sorted(runs_dir.glob(f"*/{FOLDER}/*/*.parquet")):
        why = path.with_suffix(".txt")
        reason = why.read_text("utf-8", "replace") if why.exists() else "unknown"
        origin = path.parents[2] / "segments" / path.parent.name / path.name
        found.append(Damaged(origin, path, reason))
    return found


def _why_unreadable(reader: duckdb.DuckDBPyConnection, path: Path) -> str | None:
    try:
        # hash() of whole rows decodes every page of every column without keeping any of it
        scan = scan_segments(TABLES[path.parent.name], [path])
        reader.execute(f"SELECT max(hash(t)) FROM {scan} AS t").fetchall()
    except duckdb.Error as error:
        return str(error).split("\n")[0] if path.exists() else None
    return None


def _refuse_newer(path: Path) -> None:
    """A segment of a newer workbench is not damaged; it is only not for this one to read."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        version = int(metadata.get(b"workbench_schema", 0))
    except (OSError, ValueError, pa.ArrowException):
        return
    if version > SCHEMA_VERSION:
        raise StoreVersionError(
            f"{path} has schema {version}, written by a newer workbench; this one reads up to "
            f"schema {SCHEMA_VERSION}. Upgrade the workbench, or move the run elsewhere."
        )


def _quarantine(path: Path, reason: str) -> Damaged:
    """Move ``<run>/segments/<table>/<file>`` to ``<run>/quarantine/<table>/<file>``."""
    target = path.parents[2] / FOLDER / path.parent.name / path.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        target.with_suffix(".txt").write_text(reason, "utf-8")
    except FileNotFoundError:
        pass  # another process quarantined it in the same moment
    except OSError as error:
        raise StoreError(
            f"{path} is damaged ({reason}) and cannot be moved aside ({error.strerror}); "
            f"delete or move it by hand to read the rest"
        ) from error
    return Damaged(path, target, reason)
