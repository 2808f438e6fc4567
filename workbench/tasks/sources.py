"""Where rows come from: a file, a directory of ``datasets``, or a data set of the hub.

::

    prompts.jsonl                      JSONL, JSON, CSV, TSV or Parquet, also as .gz or .zst
    my-data                            a directory written by ``Dataset.save_to_disk``, or one that
                                       holds files of rows, as data sets of the hub do
    my-data@validation                 one split of it; default: train
    hub:openai/gsm8k:main@test         a data set of the hub, its subset and split

Saved directories are Arrow files and are read without ``datasets``; that library is imported for
the hub alone, and no code of a data set is ever run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from workbench.config.hub import loading
from workbench.formatting import clipped
from workbench.tasks.formats import ALLOWED, TEXTS, Row, file_rows, kind_of

HUB = "hub:"
DEFAULT_SPLIT = "train"
KINDS = f"a file ({ALLOWED}), a directory of save_to_disk or of such files, or {HUB}OWNER/NAME"


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
        path = Path(text).expanduser()
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
        if at and not path.exists() and Path(whole).expanduser().is_dir():
            return cls(text, Path(whole).expanduser(), split=split)
        return cls(text, path)

    @property
    def name(self) -> str:
        """A short name for messages: ``prompts.jsonl``, ``my-data@test``."""
        if self.path is None:
            return self.text
        return f"{self.path.name}@{self.split}" if self.split else self.path.name

    @property
    def is_text(self) -> bool:
        """Whether every value is text, so that messages stand as JSON inside a cell."""
        return self.path is not None and kind_of(self.path) in TEXTS


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
    return file_rows(path)


def _directory(path: Path, source: Source) -> Iterator[Row]:
    """The Arrow streams that ``save_to_disk`` wrote, or files of rows, one after the other."""
    splits = path / "dataset_dict.json"
    if splits.is_file():
        names = json.loads(splits.read_text("utf-8"))["splits"]
        path = path / _split(path, source, names)
    elif not (path / "state.json").is_file():
        yield from _folder(path, source)
        return
    elif source.split is not None:
        raise ValueError(f"{path}: a single data set has no split {source.split!r}; leave it out")
    for entry in json.loads((path / "state.json").read_text("utf-8"))["_data_files"]:
        try:
            with pa.memory_map(str(path / Path(entry["filename"]).name)) as file:
                for batch in pa.ipc.open_stream(file):
                    yield from batch.to_pylist()
        except pa.ArrowException as error:
            text = clipped(str(error), 120)
            raise ValueError(f"{path.name}/{entry['filename']}: cannot be read: {text}") from error


def _split(path: Path, source: Source, names: Sequence[str]) -> str:
    """The split that was asked for, or the usual one, or the only one."""
    usual = DEFAULT_SPLIT if DEFAULT_SPLIT in names or len(names) != 1 else names[0]
    split = source.split or usual
    if split not in names:
        allowed = [f"{path.name}@{name}" for name in names]
        raise ValueError(f"{path} has no split {split!r}; write one of {allowed}")
    return split


def _folder(path: Path, source: Source) -> Iterator[Row]:
    """Files of rows in a folder, or in its ``data``: ``train.jsonl``, ``test-00000-of-2...``."""
    found: dict[str, list[Path]] = {}
    for folder in (path, path / "data"):
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if file.is_file() and kind_of(file) and not file.name.startswith("."):
                found.setdefault(file.name.partition(".")[0].partition("-")[0], []).append(file)
        if found:
            break
    if not found:
        raise ValueError(f"{path}: no directory of rows; allowed is {KINDS}")
    for file in found[_split(path, source, list(found))]:
        yield from file_rows(file)


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
