"""A run's directory as the launcher sees it: made whole, found by id or name, read without a store.

::

    run.json       identity, versions, git state, hashes; written once, renaming aside
    config.yaml    the whole configuration with comments
    state.json     what the child last said of itself
    process.json   which process is (or was) the child; written by the launcher alone
    log.txt        the child's output
    stop           its presence asks the child to stop after the current step
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.store.state import read_state, write_atomically, write_state

if TYPE_CHECKING:
    from workbench.config import RunConfig

# what writing and reading a configuration needs is imported there: most commands only look at runs

MAKING = ".new-"
"""Beginning of the name of a directory that is no run yet."""
WATCHED = "watched"
"""Kind of a run that a script of the user's own trains (see ``train.watch``)."""
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
LATEST = 2.0**37
"""Seconds since 1970 that a calendar can still show."""
ACTIVE = ("starting", "running", "stopping")
ENDED = ("stopped", "finished", "failed")


class LauncherError(RuntimeError):
    """A run cannot be started, stopped, resumed, renamed or deleted as asked; says why."""


class UnknownRunError(LookupError):
    """No run has this id or name; the message lists near ones."""


@dataclass(frozen=True)
class RunInfo:
    """One run, read from its directory. Times are seconds since 1970, durations seconds."""

    run_id: str
    name: str
    status: str
    kind: str = "maestro"
    step: int = 0
    steps: int = 0
    created: float = 0.0
    heartbeat: float | None = None
    phase: str | None = None
    message: str | None = None
    eta_seconds: float | None = None
    steps_per_second: float | None = None
    headline: Any = None
    weights_entropy: float | None = None
    attempt: int = 0
    pid: int | None = None
    parent: str | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The same as a flat mapping; the summary's keys stand beside the others."""
        flat = asdict(self)
        return flat | {k: v for k, v in flat.pop("summary").items() if k not in flat}


def check_run_dir(runs_dir: Path, run_id: str) -> Path:
    """The directory of a run, proven to be a real one directly inside ``runs_dir``.

    Raises:
        UnknownRunError: the id is malformed, is missing, is a link or leads elsewhere.
    """
    path = runs_dir / run_id
    if not RUN_ID.match(run_id) or path.is_symlink() or not path.is_dir():
        raise UnknownRunError(f"no run {run_id!r} in {runs_dir}")
    return path


def run_dirs(runs_dir: Path) -> Iterator[Path]:
    """Every run's directory, oldest first; links and directories being made are passed over."""
    if not runs_dir.is_dir():
        return
    for path in sorted(runs_dir.iterdir()):
        if RUN_ID.match(path.name) and not path.is_symlink() and (path / "run.json").is_file():
            yield path


def read_identity(run_dir: Path) -> dict[str, Any]:
    """run.json; a damaged one still names its run, so that it can be listed and deleted."""
    try:
        identity = encodable(json.loads((run_dir / "run.json").read_bytes()))
    except (ValueError, OSError, RecursionError):
        identity = None
    if not _is_identity(identity):
        return {"run_id": run_dir.name, "name": run_dir.name, "damaged": "run.json is damaged"}
    return identity | {"run_id": run_dir.name}


def last_words(run_dir: Path) -> dict[str, Any]:
    """state.json; one that cannot be read is the state of a failed run, and hides no other."""
    try:
        return {k: encodable(v) for k, v in read_state(run_dir).items()}
    except (OSError, RecursionError) as error:
        return {"status": "failed", "message": f"state.json cannot be read: {error}"}


def encodable(value: Any) -> Any:
    """``value`` of a JSON file with every text one that can be printed, stored and sent.

    Half a surrogate pair, which JSON can write and no output can, becomes its escape.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(k): encodable(v) for k, v in value.items()}
    return [encodable(v) for v in value] if isinstance(value, list) else value


def _is_identity(value: Any) -> bool:
    """Whether this can be a run.json: one key of the wrong kind must not hide all other runs."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    if not isinstance(value.get("summary", {}), dict) or not isinstance(value.get("kind", ""), str):
        return False
    texts = all(isinstance(value.get(k), str | None) for k in ("parent", "token", "cwd"))
    launch = isinstance(value.get("launch"), dict | None)
    created = value.get("created", 0.0)
    return texts and launch and type(created) in (int, float) and abs(created) < LATEST


def read_config(run_dir: Path) -> RunConfig:
    """The run's configuration. Raises ConfigError, or OSError when it cannot be read."""
    from workbench.config.io import parse_text

    return parse_text((run_dir / "config.yaml").read_text("utf-8"))


def read_process(run_dir: Path) -> dict[str, Any]:
    """Identity of the child: by the launcher, else as the child itself reported; empty if none.

    A copy of a run has ``{"copied": True}``: the child is that of the directory it was started for.
    """
    try:
        record = json.loads((run_dir / "process.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        state = last_words(run_dir)
        record = {k: state.get(k) for k in ("pid", "pid_created", "pgid")}
    if not isinstance(record, dict) or not isinstance(record.get("mark"), str | None):
        return {}
    whole = all(type(record.get(k)) is int and 0 < record[k] < 2**31 for k in ("pid", "pgid"))
    if not whole or type(record.get("pid_created")) not in (int, float):
        return {}
    started_for = Path(record.get("mark") or run_dir)
    copied = started_for.is_dir() and not started_for.samefile(run_dir)
    return {"copied": True} if copied else record


def read_guest(run_dir: Path) -> dict[str, Any]:
    """Identity of a process that trains here and is not ours to end: a script that is watched.

    It is looked at to tell whether the run goes on, and never signalled; empty if there is none.
    """
    state = read_state(run_dir)
    if read_identity(run_dir).get("kind") != WATCHED or type(state.get("pid")) is not int:
        return {}
    return {k: state.get(k) for k in ("pid", "pid_created")}


def resolve(runs_dir: Path, handle: str) -> Path:
    """The directory of the run with this id, or else this name.

    Raises:
        UnknownRunError: there is none; near ids and names are listed.
    """
    if RUN_ID.match(handle) and (runs_dir / handle / "run.json").is_file():
        return check_run_dir(runs_dir, handle)
    known: list[str] = []
    for path in run_dirs(runs_dir):
        name = read_identity(path)["name"]
        if name == handle:
            return path
        known += [name]
    if not known:
        raise UnknownRunError(f"no run {handle!r}: {runs_dir} holds no runs yet")
    near = difflib.get_close_matches(handle, known, n=3, cutoff=0.4) or known[-5:]
    raise UnknownRunError(f"no run {handle!r} in {runs_dir}; near: {', '.join(near)}")


def taken_names(runs_dir: Path) -> set[str]:
    """Every id and name that a new run must not have."""
    paths = list(run_dirs(runs_dir))
    return {read_identity(p)["name"] for p in paths} | {p.name for p in paths}


def free_name(stem: str, taken: set[str]) -> str:
    """``stem``, or ``stem-2``, ``stem-3``...: the first that is not taken."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:60] or "run"
    count = 1
    while (name := stem if count == 1 else f"{stem}-{count}") in taken:
        count += 1
    return name


def provenance(config: RunConfig, cwd: Path) -> dict[str, Any]:
    """What a run is made of, for ``create``; hashing the data may take a while."""
    from workbench.runs.provenance import data_sha256, git_state, versions

    odd = encodable(str(cwd)) != str(cwd)
    return {
        "versions": versions(),
        "git": git_state(cwd),
        "data_sha256": data_sha256(config),
        "cwd": encodable(str(cwd)),
        **({"cwd_hex": os.fsencode(cwd).hex()} if odd else {}),
    }


def working_directory(identity: Mapping[str, Any]) -> Path | None:
    """Where the run was first launched, if that is still a directory."""
    said = identity.get("cwd_hex")
    cwd = os.fsdecode(bytes.fromhex(said)) if isinstance(said, str) else identity.get("cwd")
    return Path(cwd) if cwd and Path(cwd).is_dir() else None


def create(
    runs_dir: Path,
    config: RunConfig,
    *,
    token: str | None,
    parent: str | None,
    cwd: Path,
    made_of: Mapping[str, Any] | None = None,
    launch: Mapping[str, Any] | None = None,
    kind: str | None = None,
    **state: Any,
) -> str:
    """Make the directory of a new run, whole or not at all, with status ``queued``.

    Args:
        runs_dir: where runs live; the caller holds the launcher's lock.
        config: its name must be set and free.
        token: see ``Launcher.start``.
        parent: id of the run that this one was made from.
        cwd: where the child will work.
        made_of: what ``provenance`` found, where it was asked before.
        launch: see ``validation.check_launch``.
        kind: what made its rows, where that is not the configuration: ``watched``.
        **state: further keys of state.json.

    Raises:
        OSError: the disk refuses.
    """
    from workbench.config.text import dump
    from workbench.store.schema import SCHEMA_VERSION

    assert config.name is not None
    run_id = time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{secrets.token_hex(2)}"
    made = runs_dir / f"{MAKING}{run_id}"
    made.mkdir(parents=True)
    text = dump(config).encode()
    identity = {
        "run_id": run_id,
        "name": config.name,
        "kind": kind or ("maestro" if config.offline is None else "offline"),
        "created": time.time(),
        "parent": parent,
        "seed": config.seed,
        "schema": SCHEMA_VERSION,
        **(made_of or provenance(config, cwd)),
        "config_sha256": hashlib.sha256(text).hexdigest(),
        "launch": dict(launch or {}),
        "token": token,
        "summary": summary(config),
    }
    try:
        write_atomically(made / "config.yaml", text)
        write_atomically(made / "run.json", json.dumps(encodable(identity), indent=1).encode())
        (made / "log.txt").touch()
        write_state(made, status="queued", step=0, steps=config.steps, attempt=0, **state)
        made.rename(runs_dir / run_id)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return run_id


SUMMARY = ("task", "policy", "scalarizer", "objectives", "seed")
"""The keys of ``summary``, which tables of runs have as columns."""


def summary(config: RunConfig) -> dict[str, Any]:
    """The few keys that lists show, so that a list reads no YAML."""
    return {
        "task": config.task.name,
        "policy": config.policy.model,
        "scalarizer": config.offline.method if config.offline else config.scalarizer.name,
        "objectives": list(config.objective_names),
        "seed": config.seed,
    }
