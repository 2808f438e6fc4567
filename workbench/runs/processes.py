"""Which processes belong to a run: never one that merely got the same number.

A process is known by its number and the moment it was born. On Linux that moment is counted in
ticks since boot, which no change of the clock can move; elsewhere it is the creation time. A child
is the leader of its own session and group, and every process of a run carries the run's directory
(links resolved) in its environment: ranks that a launcher put into sessions of their own, what
outlived its leader, and evaluations, which say so in their ``ROLE``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from workbench.config.environment import EVALUATION, MARK, ROLE

_TOLERANCE_SECONDS = 2.0
_POLL_SECONDS = 0.05


def mark(run_dir: Path) -> str:
    """What every process of a run has in its environment, however its directory was reached."""
    return str(run_dir.resolve())


def identify(pid: int) -> dict[str, Any]:
    """What identifies a living process: ``{pid, pid_created, pgid, boot, ticks}``.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    boot, ticks = _birth(pid)
    return {
        "pid": pid,
        "pid_created": psutil.Process(pid).create_time(),
        "pgid": os.getpgid(pid),
        "boot": boot,
        "ticks": ticks,
    }


def _birth(pid: int) -> tuple[str, int]:
    """Boot id and start in ticks since boot; empty where the system has neither."""
    if not sys.platform.startswith("linux"):
        return "", 0
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(pid) from error
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return boot, int(stat.rpartition(")")[2].split()[19])


def _is_same(record: Mapping[str, Any]) -> bool:
    """Whether the process that has the number now, dead but unreaped ones included, is the one."""
    pid = record["pid"]
    try:
        if record.get("ticks"):
            return _birth(pid) == (record.get("boot"), record["ticks"])
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return False
    return abs(created - record["pid_created"]) < _TOLERANCE_SECONDS


def alive(record: Mapping[str, Any]) -> bool:
    """Whether the recorded process still runs; a zombie does not."""
    if not record.get("pid") or not _is_same(record):
        return False
    try:
        return psutil.Process(record["pid"]).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Snapshot:
    """Every living process, looked at once, for questions about many runs."""

    def __init__(self) -> None:
        self._groups: dict[int, list[psutil.Process]] = defaultdict(list)
        self._marked: dict[tuple[str, bool], list[psutil.Process]] = defaultdict(list)
        for process in psutil.process_iter():
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                self._groups[os.getpgid(process.pid)].append(process)
                said = process.environ()
            except (psutil.Error, ProcessLookupError, PermissionError):
                continue  # it ended while we looked, or is another user's: not ours either way
            if MARK in said:
                self._marked[said[MARK], said.get(ROLE) == EVALUATION].append(process)

    def trainers(self, record: Mapping[str, Any], run_dir: Path) -> list[psutil.Process]:
        """The processes that train a run: its recorded group, and whoever else carries its mark.

        A group whose leader's number belongs to another process by now is gone: the system hands
        out no number that still names a group.
        """
        found = [p for m in _marks(record, run_dir) for p in self._marked.get((m, False), [])]
        if record.get("pid") and _is_same(record):
            whole = record["pgid"] == record["pid"]  # else it joined a group of others
            found += [
                p for p in self._groups.get(record["pgid"], []) if whole or p.pid == record["pid"]
            ]
        return list(dict.fromkeys(found))

    def evaluations(self, record: Mapping[str, Any], run_dir: Path) -> list[psutil.Process]:
        """The processes that evaluate a checkpoint of a run."""
        return [p for m in _marks(record, run_dir) for p in self._marked.get((m, True), [])]


def _marks(record: Mapping[str, Any], run_dir: Path) -> set[str]:
    """Where the run is, and where it was when its child started, should it have been moved."""
    return {mark(run_dir), record.get("mark") or mark(run_dir)}


def group(record: Mapping[str, Any], run_dir: Path) -> list[psutil.Process]:
    """The living processes that train a run; see ``Snapshot.trainers``."""
    return Snapshot().trainers(record, run_dir)


def end_group(record: Mapping[str, Any], run_dir: Path, sig: int, seconds: float) -> bool:
    """Signal every process of the group and wait until none is left; True when that came true."""
    for process in group(record, run_dir):
        try:
            process.send_signal(signal.Signals(sig))
        except psutil.NoSuchProcess:
            continue  # it ended by itself, which is what we want
    return wait_gone(record, run_dir, seconds)


def wait_gone(record: Mapping[str, Any], run_dir: Path, seconds: float) -> bool:
    """Wait until no process of the group is left; False when the time ran out."""
    deadline = time.monotonic() + seconds
    while group(record, run_dir):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
