"""Files of rows by what is in them: JSON lines, JSON arrays, CSV, TSV, Parquet, compressed or not.

Text stays as it was written: nothing in a CSV becomes a number or a missing value, only a cell
without any text is None. Half a character pair, which UTF-8 cannot hold, becomes ``?``.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.formatting import clipped, listed

TEXTS = {".csv": ",", ".tsv": "\t"}
"""Types whose every value is text, and what stands between two values."""
JSONS = (".jsonl", ".ndjson", ".json")
TYPES = (*JSONS, *TEXTS, ".parquet")
PACKED = (".gz", ".zst", ".zstd")
SUFFIXES = (*TYPES, *(kind + packed for kind in TYPES for packed in PACKED))
"""Endings of files that are read, upper and lower case alike."""
ALLOWED = f"{', '.join(TYPES)}, each also as .gz or .zst"

_SURROGATES = re.compile("[\ud800-\udfff]")
_HALF_IN_JSON = re.compile(rb"\\u[dD][89a-fA-F]")
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
csv.field_size_limit(1 << 30)  # Python's own limit of 128 KB is less than one long prompt

Row = dict[str, Any]


def kind_of(name: str | Path) -> str | None:
    """The type of a file by its name, e.g. ``.jsonl`` for ``Rows.JSONL.gz``; None: none of ours."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in TYPES else None


def file_rows(path: Path) -> Iterator[Row]:
    """The rows of one file, read as far as they are asked for.

    Raises:
        ValueError: the type is unknown, or a row cannot be read; the message names file and row.
        OSError: the file cannot be opened.
    """
    kind = kind_of(path)
    if kind is None:
        raise ValueError(f"{path}: type {path.suffix!r} unknown; allowed are {ALLOWED}")
    try:
        with _opened(path) as file:
            if kind == ".parquet":
                yield from _parquet(path, file)
            elif kind in TEXTS:
                yield from _separated(path, file, kind)
            else:
                yield from _json(path, file)
    except (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowException) as error:
        raise ValueError(f"{path.name}: cannot be unpacked: {clipped(str(error), 120)}") from error
    except OSError as error:
        if error.errno is not None:  # the file system's; what Arrow cannot unpack has none
            raise
        raise ValueError(f"{path.name}: cannot be unpacked: {clipped(str(error), 120)}") from error


def clean(value: Any) -> Any:
    """The same without half character pairs, in every text and key."""
    if isinstance(value, str):
        return _SURROGATES.sub("?", value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    return value


def _opened(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked where its first bytes say that it is packed."""
    with path.open("rb") as file:
        head = file.read(4)
    if head[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if head == b"\x28\xb5\x2f\xfd":
        stream = pa.input_stream(str(path), compression="zstd")
        return cast(IO[bytes], io.BufferedReader(_Raw(stream)))
    return path.open("rb")


class _Raw(io.RawIOBase):
    """An Arrow stream as Python's buffered reader wants it."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self.stream = stream

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; 0 at the end."""
        data = self.stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _encoding(head: bytes) -> str:
    """The encoding that the first bytes tell; UTF-8 where they tell none."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if len(head) >= 2 and head[0] and not head[1]:
        return "utf-16-le"
    if len(head) >= 2 and head[1] and not head[0]:
        return "utf-16-be"
    return "utf-8"


def _lines(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """Lines in UTF-8, without a byte order mark, whatever the file's encoding is."""
    head = file.read(4)
    encoding = _encoding(head)
    if encoding == "utf-8":
        yield from _joined(head, file)
    elif encoding == "utf-8-sig":
        yield from _joined(head[3:], file)
    else:
        rest = io.BytesIO(head + file.read())
        try:
            text = rest.getvalue().decode(encoding)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path.name}: not valid {encoding.upper()} at byte {error.start}; save it as UTF-8"
            ) from error
        yield from text.encode("utf-8", "replace").splitlines(keepends=True)


def _joined(head: bytes, file: IO[bytes]) -> Iterator[bytes]:
    """What was read already, then the lines that follow."""
    first = head
    if b"\n" in head:
        *whole, first = head.split(b"\n")
        for line in whole:
            yield line + b"\n"
    first += file.readline()
    if first:
        yield first
    yield from file


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: byte {line[error.start]:#04x} is not UTF-8 (Latin-1 or Windows-1252?); "
            "save the file as UTF-8"
        ) from error


# -- JSON ------------------------------------------------------------------------------------------


def _json(path: Path, file: IO[bytes]) -> Iterator[Row]:
    """One object a line, or one array of objects: the first character tells."""
    lines = _lines(path, file)
    number = 0
    for line in lines:
        if not line.strip():
            continue
        if number == 0 and line.lstrip()[:1] == b"[":
            yield from _array(path, b"".join([line, *lines]))
            return
        number += 1
        where = f"{path.name}, row {number}"
        try:
            row = _parsed(line, where)
        except ValueError:
            if number > 1 or line.strip() not in (b"{", b"{}") and line.rstrip()[-1:] == b"}":
                raise
            yield from _objects(path, b"".join([line, *lines]))
            return
        yield _object(row, where)


def _parsed(line: bytes, where: str) -> Any:
    text = _decoded(line, where)
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{where}: not valid JSON: nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON: {clipped(str(error), 120)}") from error
    return clean(value) if _HALF_IN_JSON.search(line) else value


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        what = {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
        raise ValueError(f"{where}: {what} ({clipped(repr(value))}) is not an object of columns")
    return value


def _array(path: Path, data: bytes) -> Iterator[Row]:
    """The rows of one JSON array over the whole file."""
    for number, value in enumerate(_parsed(data, path.name), 1):
        yield _object(value, f"{path.name}, row {number}")


def _objects(path: Path, data: bytes) -> Iterator[Row]:
    """Objects that each stand over several lines, one after the other."""
    text = _decoded(data, path.name)
    decoder, at, number = json.JSONDecoder(), 0, 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        number += 1
        where = f"{path.name}, row {number}"
        try:
            value, at = decoder.raw_decode(text, at)
        except RecursionError as error:
            raise ValueError(f"{where}: not valid JSON: nested too deeply") from error
        except ValueError as error:
            raise ValueError(f"{where}: not valid JSON: {clipped(str(error), 120)}") from error
        yield _object(clean(value), where)


# -- CSV and TSV -----------------------------------------------------------------------------------


def _separated(path: Path, file: IO[bytes], kind: str) -> Iterator[Row]:
    """Rows of text; the first line names the columns. A CSV may use semicolons, as Excel does."""
    numbered = enumerate(_lines(path, file), 1)
    texts = (_decoded(line, f"{path.name}, line {number}") for number, line in numbered)
    first = next((line for line in texts if line.strip()), None)
    if first is None:
        raise ValueError(f"{path.name}: no rows")
    separator = TEXTS[kind]
    if kind == ".csv" and "," not in first and ";" in first:
        separator = ";"

    def whole() -> Iterator[str]:
        yield first
        yield from texts

    rows = csv.reader(whole(), delimiter=separator, strict=True)
    names: list[str] = []
    number = 0
    while True:
        where = f"{path.name}, row {number + 1}" if names else f"{path.name}, line 1"
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise ValueError(
                f"{where}: not valid {kind[1:].upper()}: {clipped(str(error), 120)}; a text with "
                "quotes or line ends stands in double quotes, and a quote inside is written twice"
            ) from error
        if cells is None:
            return
        if not cells:
            continue
        if not names:
            names = _names(cells, where)
            continue
        number += 1
        if len(cells) != len(names):
            raise ValueError(f"{where}: {len(cells)} values, but {len(names)} columns are named")
        yield {name: cell or None for name, cell in zip(names, cells, strict=True)}


def _names(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() or f"unnamed_{i}" for i, cell in enumerate(cells, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{where}: column {clipped(repr(twice[0]))} stands twice; names differ")
    return names


# -- Parquet ---------------------------------------------------------------------------------------


def _parquet(path: Path, file: IO[bytes]) -> Iterator[Row]:
    packed = not file.seekable() or isinstance(file, gzip.GzipFile)
    try:
        found = pq.ParquetFile(io.BytesIO(file.read()) if packed else str(path))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path.name}: not valid Parquet: {clipped(str(error), 120)}") from error
    names = found.schema_arrow.names
    if len(set(names)) < len(names):
        raise ValueError(f"{path.name}: two columns have one name; there are {listed(names)}")
    done = 0
    try:
        for batch in found.iter_batches(batch_size=1024):
            yield from batch.to_pylist(maps_as_pydicts="strict")
            done += len(batch)
    except (pa.ArrowException, OSError, UnicodeDecodeError, KeyError) as error:
        raise ValueError(
            f"{path.name}, after row {done}: cannot be read: {clipped(str(error), 120)}"
        ) from error
