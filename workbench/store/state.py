"""state.json: the one small file that says how a run is doing, replaced atomically."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def fsync_dir(path: Path) -> None:
    """Make a rename inside ``path`` survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: a reader sees the old bytes or the new ones, never half.

    Raises:
        OSError: the directory is missing, read-only or full; the old file is then untouched.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: numpy scalars become numbers, NaN and infinities null.

    Raises:
        TypeError: something that is neither a number, text, None, list nor mapping.
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} {value!r} cannot be part of a run's state")


def read_state(run_dir: Path | str) -> dict[str, Any]:
    """What the run last said of itself; empty before it said anything.

    A file that is not JSON (no workbench writes one) reads as a failed run that says so.
    """
    path = Path(run_dir) / "state.json"
    try:
        state = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        return {"status": "failed", "message": f"{path.name} is damaged: {error}"}
    return state if isinstance(state, dict) else {"status": "failed", "message": "damaged state"}


def write_state(run_dir: Path | str, **changes: Any) -> dict[str, Any]:
    """Merge ``changes`` into state.json, set the heartbeat, and return the whole.

    Raises:
        OSError: the run directory is missing, read-only or full.
        TypeError: a value is not JSON.
    """
    run_dir = Path(run_dir)
    state = {**read_state(run_dir), **plain(changes), "heartbeat": time.time()}
    write_atomically(run_dir / "state.json", json.dumps(state, indent=1).encode())
    return state
