"""Which process is meant, and its whole group: never a process that merely got the same number.

A process is known by its number and the moment it was born. On Linux that moment is counted in
ticks since boot, which no change of the clock can move; elsewhere it is the creation time. A child
is the leader of its own session and group, and every process of it carries the run's directory in
its environment, so that what is left can be told from strangers after the leader died.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

MARK = "WORKBENCH_RUN_DIR"
_TOLERANCE_SECONDS = 2.0


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


def group(record: Mapping[str, Any], run_dir: Path) -> list[psutil.Process]:
    """The living processes of a run: the recorded group, and whoever else carries its mark.

    The mark finds what the group alone would miss: processes that outlived their leader, and the
    ranks of a distributed run, which their launcher puts into sessions of their own. A group whose
    leader's number belongs to somebody else by now is gone: the system hands out no number that
    still names a group.
    """
    if not record.get("pid"):
        return []
    leader_known = _is_same(record)
    members = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            grouped = leader_known and os.getpgid(process.pid) == record["pgid"]
            if grouped or process.environ().get(MARK) == str(run_dir):
                members.append(process)
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue  # it ended while we looked, or is another user's: not ours either way
    return members


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
        time.sleep(0.05)
    return True
