"""What a run was made of: versions, code, configuration and data, so that it can be made again."""

from __future__ import annotations

import hashlib
import platform
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench.config import RunConfig
from workbench.config.text import command_line
from workbench.formatting import visible
from workbench.tasks.sources import Source
from workbench.version import __version__

PACKAGES = ("torch", "trl", "transformers", "accelerate", "peft", "numpy", "duckdb", "gradio")


def versions() -> dict[str, str]:
    """Versions of the workbench, of Python and of the packages that decide the numbers."""
    found = {"workbench": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout around ``folder`` and whether it is modified; None outside one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "modified": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command, None where there is no git, no checkout, or no answer in time."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises OSError when it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_sha256(config: RunConfig) -> dict[str, str]:
    """Hash of every file that prompts or rows come from; generated prompts are fixed by seed."""
    task = config.task
    files = {"path": task.path, "eval_path": task.eval_path}
    if config.offline is not None:
        files["rows"] = config.offline.source.path
    found = {}
    for key, text in files.items():
        path = None if not text else Source.parse(text).path
        if path is not None and path.is_dir():  # save_to_disk writes a fingerprint of every split
            states = [p.read_bytes() for p in sorted(path.rglob("state.json"))]
            found[key] = hashlib.sha256(b"".join(states)).hexdigest()
        elif path is not None and path.is_file():
            found[key] = file_sha256(path)
    return found


def recipe(identity: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """The command that makes a run again, and under which circumstances it was made.

    ``lines`` is the same as text: comments that a shell skips, then the command. What comes out of
    the run's files cannot become a line of its own, nor steer a terminal.
    """
    words = shlex.split(command_line(replace(config, name=None)))  # its own name is taken
    launch = identity.get("launch") or {}
    for flag in ("processes", "accelerate_config"):
        if flag in launch:
            words += [f"--{flag.replace('_', '-')}", str(launch[flag])]
    command = " ".join(map(_word, words))
    git = identity.get("git") or {}
    packages = identity.get("versions") or {}
    lines = [f"{name} {version}" for name, version in packages.items()]
    if identity.get("config_assumed"):
        lines.append("imported rows without a configuration: most of this command is defaults")
    if git:
        modified = ", with changes that are not in it" if git.get("modified") else ""
        lines.append(f"code: commit {git.get('commit')}{modified}")
    for key, value in (identity.get("data_sha256") or {}).items():
        lines.append(f"task.{key}: SHA-256 {value}")
    return {
        "command": command,
        "versions": dict(packages),
        "git": dict(git) or None,
        "config_sha256": identity.get("config_sha256"),
        "data_sha256": identity.get("data_sha256") or {},
        "seed": identity.get("seed"),
        "lines": [*(f"# {visible(' '.join(line.split()))}" for line in lines), command],
    }


def _word(text: str) -> str:
    """One word of a shell's line; bash's ``$'...'`` where it holds what cannot be printed."""
    if text.isprintable():
        return shlex.quote(text)
    spelt = text.replace("\\", r"\\").replace("'", r"\'")
    return "$'" + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in spelt) + "'"
