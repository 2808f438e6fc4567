"""Which runs and which segments lie on disk; remembers directories that did not change."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from workbench.store.schema import TABLES

T = TypeVar("T")

SETTLED_NS = 100_000_000
"""A directory that changed less than this ago is read again: its time stamp is that coarse."""

EMPTY_SEGMENTS = ("s-none.parquet", "r-none.parquet")
"""Names of the segments without rows that keep patterns from matching nothing; never archived."""

Segment = tuple[str, str]
"""(run, file name)."""


READ_TRIES = 3
READ_PAUSE = 0.05
JSON_BYTES = 10_000_000


def run_names(root: Path) -> list[str]:
    """Every directory that can hold a run; links and hidden directories are passed over.

    So are names that are no UTF-8 text, which DuckDB cannot read: see ``odd_names``.
    """
    return sorted(name for name in _directories(root) if _is_text(name))


def odd_names(root: Path) -> list[str]:
    """Directories of a runs directory whose names are no UTF-8 text, made printable."""
    return sorted(ascii(name) for name in _directories(root) if not _is_text(name))


def _directories(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return [e.name for e in entries if e.name[0] != "." and e.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class Listing:
    """Segments of a runs directory, at the price of one stat for each unchanged directory.

    Attributes:
        problems: what could not be read at the last look, and why, by path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: dict[str, str] = {}
        self._seen: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._json: dict[str, tuple[tuple[int, int, int], str]] = {}

    def segments(self, table: str, runs: list[str]) -> Iterator[Segment]:
        """Every published segment of a table, in order of publication within a run."""
        for run in runs:
            for name in self._files(f"{self.root}/{run}/segments/{table}"):
                yield run, name

    def _files(self, folder: str) -> tuple[str, ...]:
        return self._tried(folder, self._list, ())

    def _list(self, folder: str) -> tuple[str, ...]:
        changed = os.stat(folder).st_mtime_ns
        known = self._seen.get(folder)
        if known is not None and known[0] == changed:
            return known[1]
        names = tuple(sorted(_own_segments(folder)))
        if time.time_ns() - changed > SETTLED_NS:
            self._seen[folder] = (changed, names)
        return names

    def json_text(self, path: str) -> str:
        """A small JSON object as text, ``{}`` when missing or damaged; read again when changed.

        Halves of surrogate pairs, which neither UTF-8 nor DuckDB can hold, become question marks.
        """
        return self._tried(path, self._load_json, "{}")

    def _load_json(self, path: str) -> str:
        stat = os.stat(path)
        key = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        known = self._json.get(path)
        if known is not None and known[0] == key:
            return known[1]
        if stat.st_size > JSON_BYTES:
            raise ValueError(f"{stat.st_size:,} bytes are too many")
        with open(path, "rb") as file:
            value: Any = json.loads(file.read())
        if not isinstance(value, dict):
            raise ValueError("it is no JSON object")
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
        self._json[path] = (key, text)
        return text

    def _tried(self, path: str, read: Callable[[str], T], nothing: T) -> T:
        """Read something: again where that fails, as missing where it goes on failing."""
        for tries in range(READ_TRIES, 0, -1):
            try:
                found = read(path)
            except (FileNotFoundError, NotADirectoryError):
                found = nothing
            except (ValueError, RecursionError) as error:  # its content: reading again changes none
                self.problems[path] = f"is damaged: {error}"
                return nothing
            except OSError as error:
                if tries > 1 and path not in self.problems:
                    time.sleep(READ_PAUSE)
                    continue
                self.problems[path] = f"cannot be read: {error.strerror}"
                return nothing
            self.problems.pop(path, None)
            return found
        raise AssertionError


def _own_segments(folder: str) -> Iterator[str]:
    """Segments in a folder; what is or lies behind a link is another's, and archiving deletes."""
    if os.path.islink(folder) or os.path.islink(os.path.dirname(folder)):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_segment(entry.name) and not entry.is_symlink():
                yield entry.name


def is_segment(name: str) -> bool:
    """Whether a name is that of a published segment, and of nothing else anywhere."""
    return (
        name.endswith(".parquet")
        and name[0] != "."
        and "/" not in name
        and "\0" not in name
        and name not in EMPTY_SEGMENTS
    )


def segment_folder(root: Path, table: str, run: str) -> Path | None:
    """The folder of two names out of a file that may be another's; None: it is none in here."""
    if table not in TABLES or run in ("", ".", "..") or "/" in run or "\0" in run:
        return None
    folder = root.resolve() / run / "segments" / table
    return folder if os.path.realpath(folder) == str(folder) else None
