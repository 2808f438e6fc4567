"""Where rows come from: a file, a directory of ``datasets``, or a data set of the hub.

::

    prompts.jsonl                      JSONL (also .ndjson), Parquet or CSV
    my-data                            a directory written by ``Dataset.save_to_disk``
    my-data@validation                 one split of a saved ``DatasetDict``; default: train
    hub:openai/gsm8k:main@test         a data set of the hub, its subset and split

Saved directories are Arrow files and are read without ``datasets``; that library is imported for
the hub alone, and no code of a data set is ever run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.config.hub import loading

SUFFIXES = (".jsonl", ".ndjson", ".parquet", ".csv")
HUB = "hub:"
DEFAULT_SPLIT = "train"
KINDS = f"a file ({', '.join(SUFFIXES)}), a directory of save_to_disk, or {HUB}OWNER/NAME"

Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """One source of rows, taken apart."""

    text: str
    path: Path | None  # None: of the hub
    hub: str = ""
    subset: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, text: str | Path) -> Source:
        """Take ``PATH[@SPLIT]`` or ``hub:NAME[:SUBSET][@SPLIT]`` apart.

        Raises:
            ValueError: A hub name is not ``OWNER/NAME``.
        """
        text = str(text)
        path = Path(text)
        if text.startswith(HUB):
            rest, _, split = text.removeprefix(HUB).partition("@")
            name, _, subset = rest.partition(":")
            if not all(name.split("/")) or name.count("/") > 1:
                raise ValueError(
                    f"{text!r} is no data set: write {HUB}OWNER/NAME, {HUB}OWNER/NAME:SUBSET or "
                    f"{HUB}OWNER/NAME@SPLIT"
                )
            return cls(text, None, name, subset or None, split or None)
        whole, at, split = text.rpartition("@")
        if at and not path.exists() and Path(whole).is_dir():
            return cls(text, Path(whole), split=split)
        return cls(text, path)

    @property
    def name(self) -> str:
        """A short name for messages: ``prompts.jsonl``, ``my-data@test``."""
        if self.path is None:
            return self.text
        return f"{self.path.name}@{self.split}" if self.split else self.path.name

    @property
    def is_csv(self) -> bool:
        """Whether every value is text, so that messages stand as JSON inside a cell."""
        return self.path is not None and self.path.suffix == ".csv"


def absolute(text: str) -> str:
    """The same source wherever it is read from."""
    if text.startswith(HUB):
        return text
    return str(Path(text).expanduser().absolute())


def missing(text: str) -> bool:
    """Whether a source is a path that is not there; the hub is asked when the run starts."""
    path = Source.parse(text).path
    return path is not None and not path.exists()


def read_rows(source: str | Path) -> Iterator[tuple[str, Row]]:
    """Where each row stands ("prompts.jsonl, row 7"), and its columns.

    Files are read as far as they are asked for.

    Raises:
        FileNotFoundError: The path does not exist.
        OSError: The hub has no such data set, or cannot be reached.
        ValueError: The type is unknown, the split is not there, or a row is no valid row.
    """
    found = Source.parse(source)
    for number, row in enumerate(_rows(found), 1):
        yield f"{found.name}, row {number}", row


def _rows(source: Source) -> Iterator[Row]:
    path = source.path
    if path is None:
        return _hub(source)
    if path.is_dir():
        return _directory(path, source)
    if not path.exists():
        hint = f"; data sets of the hub are written {HUB}{path}" if len(path.parts) == 2 else ""
        raise FileNotFoundError(f"{path}: no such file or directory{hint}")
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl}
    if path.suffix not in readers:
        raise ValueError(f"{path}: type {path.suffix!r} unknown; allowed are {list(SUFFIXES)}")
    return readers[path.suffix](path)


def _jsonl(path: Path) -> Iterator[Row]:
    number = 0
    with path.open(encoding="utf-8-sig") as lines:
        for line in lines:
            if not line.strip():
                continue
            number += 1
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path.name}, row {number}: not valid JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path.name}, row {number}: {row!r} is not an object of columns")
            yield row


def _parquet(path: Path) -> Iterator[Row]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path.name}: not valid Parquet: {error}") from error
    for batch in file.iter_batches(batch_size=1024):
        yield from batch.to_pylist()


def _csv(path: Path) -> Iterator[Row]:
    try:
        for part in pd.read_csv(path, chunksize=1024, dtype_backend="pyarrow"):
            for row in part.to_dict("records"):
                yield {str(name): None if pd.isna(v) else v for name, v in row.items()}
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path.name}: no rows") from error
    except pd.errors.ParserError as error:
        raise ValueError(f"{path.name}: not valid CSV: {error}") from error


def _directory(path: Path, source: Source) -> Iterator[Row]:
    """The Arrow streams that ``save_to_disk`` wrote, one after the other."""
    splits = path / "dataset_dict.json"
    if splits.is_file():
        names = json.loads(splits.read_text("utf-8"))["splits"]
        split = source.split or (DEFAULT_SPLIT if DEFAULT_SPLIT in names else None)
        if split not in names:
            allowed = [f"{path.name}@{name}" for name in names]
            raise ValueError(
                f"{path} has no split {split or DEFAULT_SPLIT!r}; write one of {allowed}"
            )
        path = path / split
    elif source.split is not None:
        raise ValueError(f"{path}: a single data set has no split {source.split!r}; leave it out")
    state = path / "state.json"
    if not state.is_file():
        raise ValueError(
            f"{path}: no directory of save_to_disk (it has no state.json); allowed is {KINDS}"
        )
    for entry in json.loads(state.read_text("utf-8"))["_data_files"]:
        with pa.memory_map(str(path / Path(entry["filename"]).name)) as file:
            for batch in pa.ipc.open_stream(file):
                yield from batch.to_pylist()


def _hub(source: Source) -> Iterator[Row]:
    """Rows of a data set of the hub, from the cache where it has them."""
    from datasets import load_dataset

    split = source.split or DEFAULT_SPLIT
    with loading("task.path", source.hub, "dataset"):
        try:
            rows = load_dataset(source.hub, source.subset, split=split)
        except (ValueError, RuntimeError) as error:  # unknown subset or split, code of its own
            raise ValueError(f"{source.text}: {error}") from error
    yield from rows
