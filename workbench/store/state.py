"""state.json: the one small file that says how a run is doing, replaced atomically."""

from __future__ import annotations

import json
import math
import os
import secrets
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
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:  # its mode is what the user's umask leaves
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: numpy scalars become numbers, NaN and infinities null.

    Half of a surrogate pair, which no UTF-8 text can hold, becomes a question mark.

    Raises:
        TypeError: something that is neither a number, text, None, list nor mapping.
    """
    if isinstance(value, Mapping):
        return {plain(str(k)): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if value is None or isinstance(value, int | float):
        return value
    raise TypeError(f"{type(value).__name__} {value!r} cannot be part of a run's state")


NUMBER = (int, float)
_KINDS: dict[str, tuple[type, ...]] = {
    "status": (str,), "message": (str, type(None)), "phase": (str, type(None)), "step": (int,),
    "steps": (int,), "attempt": (int,), "starts": (int,), "heartbeat": NUMBER,
    "pid": (int, type(None)), "pgid": (int, type(None)), "pid_created": (*NUMBER, type(None)),
    "eta_seconds": (*NUMBER, type(None)), "steps_per_second": (*NUMBER, type(None)),
}  # fmt: skip
"""What the keys of state.json hold, where they are there."""


def _is_a(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a JSON value is of one of these kinds; true and false are no numbers."""
    return isinstance(value, kinds) and not isinstance(value, bool)


def read_state(run_dir: Path | str) -> dict[str, Any]:
    """What the run last said of itself; empty before it said anything.

    A file that is not JSON, or holds what no workbench writes, reads as a failed run that says so.
    """
    path = Path(run_dir) / "state.json"
    try:
        state = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        return {"status": "failed", "message": f"{path.name} is damaged: {error}"}
    except OSError as error:
        return {"status": "failed", "message": f"{path.name} cannot be read: {error.strerror}"}
    if not isinstance(state, dict):
        return {"status": "failed", "message": f"{path.name} is damaged: no mapping"}
    wrong = [k for k, kinds in _KINDS.items() if k in state and not _is_a(state[k], kinds)]
    if wrong:
        problem = f"{path.name} is damaged: {wrong[0]} is {str(state[wrong[0]])[:40]!r}"
        return {"status": "failed", "message": problem}
    return state


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


STALE_SECONDS = 120.0
LIVE = ("queued", "starting", "running", "stopping")


def is_live(run_dir: Path) -> bool:
    """Whether a run says of itself that it goes on, and said so not long ago."""
    state = read_state(run_dir)
    fresh = time.time() - float(state.get("heartbeat") or 0) < STALE_SECONDS
    return state.get("status") in LIVE and fresh
