"""SHA256SUMS: the checksums of the files of a folder, as ``sha256sum --check`` reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from workbench.store.errors import StoreError

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Write the checksums of every file that lies in a folder.

    Raises:
        OSError: a file cannot be read, or the folder cannot be written.
    """
    lines = [f"{_sum(p)}  {p.name}\n" for p in sorted(folder.iterdir()) if p.is_file()]
    (folder / SUMS).write_text("".join(lines), "utf-8")


def check_sums(folder: Path) -> None:
    """Compare every file of a folder that is still there; a folder without checksums passes.

    Raises:
        StoreError: a file was changed.
        OSError: a file cannot be read.
    """
    if not (folder / SUMS).is_file():
        return
    for line in (folder / SUMS).read_text("utf-8", "replace").splitlines():
        wanted, _, name = line.partition("  ")
        file = folder / Path(name).name  # a name with a folder in it is looked for in here
        if file.is_file() and _sum(file) != wanted:
            raise StoreError(
                f"{file} was changed since it was exported: its checksum in {SUMS} does not fit "
                f"(delete its line there to read it all the same)"
            )


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
