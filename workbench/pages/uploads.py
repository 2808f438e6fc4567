"""Task files that a browser hands over: kept beside the runs, so that a run can name them."""

from __future__ import annotations

import binascii
import hashlib
import os
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

from workbench.api.workbench import Workbench
from workbench.formatting import clipped
from workbench.tasks.formats import ALLOWED, kind_of

FOLDER = "uploads"
MOST = 512 * 1024 * 1024
"""Bytes of one file."""
_TOKEN = re.compile(r"[a-f0-9]{8,64}\Z")


def receive(wb: Workbench, asked: dict[str, Any]) -> dict[str, Any]:
    """Take one part of a file; with the last one the file is whole and named by its content.

    Args:
        wb: whose runs directory keeps it, in ``uploads``.
        asked: ``token`` (hexadecimal, one per upload), ``name``, ``offset`` (bytes before this
            part), ``data`` (base64) and ``last``.

    Returns:
        ``{"path": ...}`` when the file is whole, ``{"next": offset}`` before that.

    Raises:
        ValueError: the type of file is not allowed, or the part is not the one that comes next.
        OSError: the disk refuses.
    """
    token, name = str(asked.get("token", "")), str(asked.get("name", ""))
    if not _TOKEN.match(token):
        raise ValueError(f"token {token!r}: expected 8 to 64 hexadecimal digits")
    if kind_of(name) is None:
        raise ValueError(f"{clipped(name)!r} is no task file; allowed are {ALLOWED}")
    folder = wb.runs_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{token}.part"
    offset = int(asked.get("offset", 0))
    if (part.stat().st_size if part.exists() else 0) != offset:
        part.unlink(missing_ok=True)
        raise ValueError(f"{name!r} was not received in order; choose it again")
    try:
        data = b64decode(str(asked.get("data", "")), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{name!r}: a part is no base64") from error
    if offset + len(data) > MOST:
        part.unlink(missing_ok=True)
        raise ValueError(f"{name!r} is larger than {MOST >> 20} MB: name its path instead")
    with part.open("ab") as file:
        file.write(data)
    if not asked.get("last"):
        return {"next": offset + len(data)}
    return {"path": str(keep(folder, part, name))}


def keep(folder: Path, part: Path, name: str) -> Path:
    """Give a whole file its name: the same content under the same name is one file."""
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).name).lstrip(".-")[-80:]
    target = folder / f"{digest.hexdigest()[:12]}-{safe}"
    os.replace(part, target)
    return target.absolute()
