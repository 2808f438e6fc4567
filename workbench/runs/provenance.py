"""What a run was made of: versions, code, configuration and data, so that it can be made again."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench.config import RunConfig
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
