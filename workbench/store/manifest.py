"""Which runs and which segments lie on disk; remembers directories that did not change."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SETTLED_NS = 100_000_000
"""A directory that changed less than this ago is read again: its time stamp is that coarse."""

EMPTY_SEGMENTS = ("s-none.parquet", "r-none.parquet")
"""Names of the segments without rows that keep patterns from matching nothing; never archived."""

Segment = tuple[str, str]
"""(run, file name)."""


def run_names(root: Path) -> list[str]:
    """Every directory that can hold a run; links and hidden directories are passed over."""
    try:
        with os.scandir(root) as entries:
            return sorted(
                e.name for e in entries if e.name[0] != "." and e.is_dir(follow_symlinks=False)
            )
    except FileNotFoundError:
        return []


class Listing:
    """Segments of a runs directory, at the price of one stat for each unchanged directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seen: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._json: dict[str, tuple[tuple[int, int, int], str]] = {}

    def segments(self, table: str, runs: list[str]) -> Iterator[Segment]:
        """Every published segment of a table, in order of publication within a run."""
        for run in runs:
            for name in self._files(f"{self.root}/{run}/segments/{table}"):
                yield run, name

    def _files(self, folder: str) -> tuple[str, ...]:
        try:
            changed = os.stat(folder).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return ()
        known = self._seen.get(folder)
        if known is not None and known[0] == changed:
            return known[1]
        try:
            names = tuple(sorted(_own_segments(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        if time.time_ns() - changed > SETTLED_NS:
            self._seen[folder] = (changed, names)
        return names

    def json_text(self, path: str) -> str:
        """A small JSON object as text, ``{}`` when missing or damaged; read again when changed."""
        try:
            stat = os.stat(path)
            key = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            known = self._json.get(path)
            if known is not None and known[0] == key:
                return known[1]
            with open(path, "rb") as file:
                value: Any = json.loads(file.read())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return "{}"
        text = json.dumps(value) if isinstance(value, dict) else "{}"
        self._json[path] = (key, text)
        return text


def _own_segments(folder: str) -> Iterator[str]:
    """Segments in a folder; what is or lies behind a link is another's, and archiving deletes."""
    if os.path.islink(folder) or os.path.islink(os.path.dirname(folder)):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_segment(entry.name) and not entry.is_symlink():
                yield entry.name


def _is_segment(name: str) -> bool:
    return name.endswith(".parquet") and name[0] != "." and name not in EMPTY_SEGMENTS
