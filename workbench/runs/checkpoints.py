"""Checkpoints of a run by name: which there are, which is whole, which is the last or the best.

A checkpoint is a directory ``checkpoints/step-000050``; it was written under a temporary name and
renamed, and its ``trainer.json``, written last, holds size and CRC-32 of every other file. Light:
nothing here opens a model.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = "checkpoints"
TRAINER = "trainer.json"
CONDUCTOR = "conductor.safetensors"
PREFIX = "step-"
CHUNK = 1 << 22


class UnknownCheckpointError(FileNotFoundError):
    """No checkpoint of that name; the text lists those that are there."""


def step_of(path: Path) -> int:
    """Policy updates that a checkpoint directory's name stands for."""
    return int(path.name.removeprefix(PREFIX))


def list_checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    found = [p for p in directory.glob(f"{PREFIX}*") if (p / TRAINER).is_file()]
    return sorted(found, key=step_of)


def read_trainer(path: Path) -> dict[str, Any]:
    """The JSON part of a checkpoint.

    Raises:
        FileNotFoundError: the directory is no checkpoint of a run.
        ValueError: the file is damaged.
    """
    if not (path / TRAINER).is_file():
        raise FileNotFoundError(f"{path}: no {TRAINER}; not a checkpoint of a run")
    loaded: dict[str, Any] = json.loads((path / TRAINER).read_bytes())
    return loaded


def score_of(path: Path) -> float | None:
    """The headline score at a checkpoint; None where it is not known."""
    try:
        score = read_trainer(path)["score"]
    except (ValueError, KeyError):  # damaged: it is no candidate for the best
        return None
    return None if score is None else float(score)


def best_of(paths: Iterable[Path]) -> Path | None:
    """The one with the highest score, the later of two alike; None where none has a score."""
    scored = [
        (score, step_of(path), path) for path in paths if (score := score_of(path)) is not None
    ]
    return max(scored)[2] if scored else None


def find(run_dir: Path, wanted: str | int) -> Path | None:
    """A checkpoint by ``last``, ``best``, a step or a path; None for ``base``, the policy before.

    ``best`` is the last one where no checkpoint has a score.

    Raises:
        UnknownCheckpointError: there is no such checkpoint.
    """
    name = str(wanted)
    if name == "base":
        return None
    found = list_checkpoints(run_dir / FOLDER)
    if name == "last" and found:
        return found[-1]
    if name == "best" and found:
        return best_of(found) or found[-1]
    if name.isdecimal():
        for path in found:
            if step_of(path) == int(name):
                return path
    elif name not in ("last", "best") and Path(name).is_dir():
        return Path(name)
    there = ", ".join(str(step_of(path)) for path in found) or "none"
    raise UnknownCheckpointError(
        f"no checkpoint {name!r} in {run_dir.name}; there are: {there}; allowed are base, last, "
        "best, a step or a path"
    )


def crc_of(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def inventory(directory: Path) -> dict[str, list[int]]:
    """Size and CRC-32 of every file of a checkpoint but its ``trainer.json``."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != TRAINER)
    return {str(p.relative_to(directory)): [p.stat().st_size, crc_of(p)] for p in files}


def damage_of(path: Path) -> str | None:
    """What is wrong with a checkpoint's files; None when each is as it was written."""
    try:
        files = read_trainer(path)["files"]
    except (ValueError, KeyError):
        return f"{TRAINER} is damaged"
    for name, (size, crc) in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size or crc_of(file) != crc:
            return f"{name} is damaged"
    return None


def newest_whole(directory: Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The checkpoint to resume from, and the newer ones that cannot be, each with what is wrong."""
    damaged: list[tuple[Path, str]] = []
    for path in reversed(list_checkpoints(directory)):
        problem = damage_of(path)
        if problem is None:
            return path, damaged
        damaged.append((path, problem))
    return None, damaged


def superfluous(directory: Path, keep: int) -> list[Path]:
    """Checkpoints beyond the newest ``keep``, but never the best one."""
    found = list_checkpoints(directory)
    best = best_of(found)
    return [path for path in found[:-keep] if path != best]
