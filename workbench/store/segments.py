"""Segments on disk: immutable Parquet files that appear whole, under their final name, or not.

Each carries a checksum of all its other bytes in its Parquet key-value metadata, so that a changed
bit is found before a row is believed, and every Parquet reader still reads the file.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.store.state import write_atomically

FIRST, RESUMED, SINGLE = "s", "r", "x"
"""First letter of a segment's name: a first attempt, a resumed one (views must look for overlap
only there), or a row that another process than the run's published."""

CHECKSUM = b"workbench_checksum"
DIGITS = 16
CHECKED_SINCE = 4
"""Schema version from which on every segment has a checksum."""

READ_TRIES = 3
READ_PAUSE = 0.05


def encode_segment(table: pa.Table) -> bytes:
    """The bytes of a segment, its checksum included."""
    sink = pa.BufferOutputStream()
    # lz4 and plain numbers: half the time of zstd and dictionaries, to write and to read
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="lz4",
        use_dictionary=_text_columns(table.schema),
        write_statistics=False,
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({CHECKSUM: b"0" * DIGITS})
    data = bytearray(sink.getvalue())
    at = _checksum_at(data)
    data[at : at + DIGITS] = _digest(data)
    return bytes(data)


def _checksum_at(data: bytes | bytearray) -> int:
    """Where the digits of the checksum begin: after its name, a type and a length; 0: nowhere.

    The last occurrence: text of the rows comes before the metadata, which holds none of it.
    """
    at = data.rfind(CHECKSUM)
    return at + len(CHECKSUM) + 2 if at >= 0 else 0


def _digest(data: bytes | bytearray) -> bytes:
    """SHA-256 of a segment in which the digits of the checksum are all zero."""
    at, whole = _checksum_at(data), memoryview(data)
    digest = hashlib.sha256(whole[:at])
    digest.update(b"0" * DIGITS)
    digest.update(whole[at + DIGITS :])
    return digest.hexdigest()[:DIGITS].encode()


def why_damaged(data: bytes) -> str | None:
    """What is wrong with the content of a segment; None: it is as it was written.

    Segments of older versions have no checksum: of them every page is decoded.
    """
    if len(data) < 12 or data[:4] != b"PAR1" or data[-4:] != b"PAR1":
        return "no whole Parquet file"
    at = _checksum_at(data)
    if at:
        fits = data[at : at + DIGITS] == _digest(data)
        return None if fits else "its content was changed: the checksum does not fit"
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        if schema_version(file.schema_arrow) >= CHECKED_SINCE:
            return "its checksum is missing"
        rows = file.read()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        return str(error).split("\n")[0]
    for field in rows.schema:
        if pa.types.is_map(field.type):
            keys = ([k for k, _ in v or ()] for v in rows[field.name].to_pylist())
            if any(len(set(k)) < len(k) for k in keys):
                return f"a name occurs twice in a row of {field.name}"
    return None


def schema_version(schema: pa.Schema) -> int:
    """The version of the workbench's schema that a segment was written with; 0: it says none."""
    text = (schema.metadata or {}).get(b"workbench_schema", b"")
    return int(text) if text.isdigit() else 0


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; a read that fails is tried again.

    Raises:
        OSError: it failed each time, or the file is gone (FileNotFoundError, at once).
    """
    for tries in range(READ_TRIES, 0, -1):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError:
            if tries == 1:
                raise
            time.sleep(READ_PAUSE)
    raise AssertionError


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
    write_atomically(path, encode_segment(table))


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
