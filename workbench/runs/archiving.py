"""Around a run: archiving in a process of its own, and the recipe that makes it again."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.config.text import command_line
from workbench.store.errors import StoreError

ARCHIVE_SECONDS = 600.0
CROWDED = 500
"""Segments in a reader's memory from which on archiving does not wait for the end of a run."""
PAUSE_SECONDS = 60.0
"""Between two such archives."""


def archive_command(runs_dir: Path, run_id: str | None = None) -> list[str]:
    """The archiver's command line."""
    command = [sys.executable, "-m", "workbench.store.archive", str(runs_dir)]
    return [*command, *(["--run", run_id] if run_id else [])]


def archive_later(runs_dir: Path) -> None:
    """Start the archiver and do not wait for it."""
    subprocess.Popen(
        archive_command(runs_dir),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class Housekeeper:
    """Decides when a process that looks at runs has their rows archived."""

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self._last = -PAUSE_SECONDS

    def look(self, ended: int, waiting: int) -> bool:
        """Start the archiver where runs have ended, or too many segments wait for it.

        Args:
            ended: runs that were found to have ended since the last look.
            waiting: segments that this process holds in memory.

        Returns:
            Whether the archiver was started.
        """
        now = time.monotonic()
        crowded = waiting >= CROWDED and now - self._last >= PAUSE_SECONDS
        if ended or crowded:
            self._last = now
            archive_later(self.runs_dir)
        return bool(ended or crowded)


def archive(runs_dir: Path, run_id: str | None = None) -> str:
    """Run the archiver as its own process and return what it reported.

    A reader's connection of this process would drop its file lock when another one of the same
    process closes, so archiving never happens in the process that asks.

    Raises:
        StoreError: the archiver refused or failed; the text is its last line.
    """
    done = subprocess.run(
        archive_command(runs_dir, run_id),
        capture_output=True,
        text=True,
        timeout=ARCHIVE_SECONDS,
    )
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise StoreError(lines[-1] if lines else f"the archiver ended with {done.returncode}")
    return done.stdout.strip()


def recipe(identity: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """The command that makes a run again, and under which circumstances it was made.

    ``lines`` is the same as text: comments that a shell skips, then the command.
    """
    command = command_line(replace(config, name=None))  # its own name is taken
    launch = identity.get("launch") or {}
    for flag in ("processes", "accelerate_config"):
        if flag in launch:
            command += f" --{flag.replace('_', '-')} {shlex.quote(str(launch[flag]))}"
    git = identity.get("git") or {}
    versions = identity.get("versions") or {}
    lines = [f"# {name} {version}" for name, version in versions.items()]
    if identity.get("config_assumed"):
        lines.append("# imported rows without a configuration: most of this command is defaults")
    if git:
        modified = ", with changes that are not in it" if git.get("modified") else ""
        lines.append(f"# code: commit {git['commit']}{modified}")
    for key, value in (identity.get("data_sha256") or {}).items():
        lines.append(f"# task.{key}: SHA-256 {value}")
    return {
        "command": command,
        "versions": dict(versions),
        "git": dict(git) or None,
        "config_sha256": identity.get("config_sha256"),
        "data_sha256": identity.get("data_sha256") or {},
        "seed": identity.get("seed"),
        "lines": [*lines, command],
    }
