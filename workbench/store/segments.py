"""Segments on disk: immutable Parquet files that appear whole, under their final name, or not."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.store.state import fsync_dir

FIRST, RESUMED, SINGLE = "s", "r", "x"
"""First letter of a segment's name: a first attempt, a resumed one (views must look for overlap
only there), or a row published by somebody else than the run."""


def write_segment(table: pa.Table, path: Path) -> None:
    """Write ``table`` so that ``path`` appears whole and survives a power cut.

    Raises:
        OSError: the disk is full, or the run's directory is gone or cannot be written; nothing is
            left behind.
    """
    _, segments, run_dir = path.parents[:3]
    if not run_dir.is_dir():  # making it would leave a second, half run in its old place
        raise FileNotFoundError(f"{run_dir} is gone (moved?)")
    segments.mkdir(exist_ok=True)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(2)}.tmp")
    try:
        with temporary.open("wb") as file:
            # lz4 and plain numbers: half the time of zstd and dictionaries, to write and to read
            pq.write_table(
                table,
                file,
                compression="lz4",
                use_dictionary=_text_columns(table.schema),
                write_statistics=False,
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


def _text_columns(schema: pa.Schema) -> list[str]:
    """Columns that repeat themselves: text, and the keys of maps."""
    text = [f.name for f in schema if pa.types.is_string(f.type)]
    maps = [f"{f.name}.key_value.key" for f in schema if pa.types.is_map(f.type)]
    return text + maps


def publish(run_dir: Path, table: str, rows: pa.Table) -> Path:
    """Publish rows that belong to a run but do not come from it: annotations, removals.

    Raises:
        OSError: the disk is full or the directory cannot be written.
    """
    name = f"{SINGLE}{time.time_ns():020d}-{secrets.token_hex(3)}.parquet"
    run_dir.mkdir(exist_ok=True)
    path = run_dir / "segments" / table / name
    write_segment(rows, path)
    return path


def claim_attempt(run_dir: Path) -> int:
    """Take the next attempt number of a run, so that no two starts ever share one.

    The number is a file that only one process can create, so it also survives the archive, which
    takes the segments away.

    Raises:
        OSError: the run directory cannot be written.
    """
    folder = run_dir / "attempts"
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        attempt = latest_attempt(run_dir) + 1
        try:
            handle = os.open(folder / f"{attempt:04d}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            continue
        os.close(handle)
        return attempt


def latest_attempt(run_dir: Path) -> int:
    """Highest attempt that was ever claimed; 0 when the run never started."""
    names = [p.name for p in (run_dir / "attempts").glob("*")] if run_dir.exists() else []
    return max((int(n) for n in names if n.isdigit()), default=0)
