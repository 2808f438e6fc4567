"""Hidden states, straight from their segments: too large to keep in every reader's memory."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd

from workbench.store.errors import StoreError
from workbench.store.manifest import Listing
from workbench.store.quarantine import Damaged, quarantine_damaged
from workbench.store.scan import scan_segments
from workbench.store.schema import TABLES

TRIES = 5
MEMORY_BYTES = 300e6
"""So much of contexts (as they lie on disk) a query may bring into memory."""


def read_contexts(
    root: Path, run_id: str, split: str, steps: tuple[int, int] | None, damaged: list[Damaged]
) -> pd.DataFrame:
    """Contexts of one run and split: step, group_id, sample, context; newest attempt of each step.

    The caller holds the store attached, so that retention deletes nothing meanwhile. Segments that
    cannot be read are quarantined and added to ``damaged``.

    Raises:
        StoreError: a segment can neither be read nor moved aside.
    """
    first, last = steps if steps is not None else (None, None)
    folder = root / run_id / "segments" / "contexts"
    error: duckdb.Error | None = None
    for _ in range(TRIES):
        files = [folder / name for _, name in Listing(root).segments("contexts", [run_id])]
        if not files:
            break
        try:
            with duckdb.connect() as con:
                return con.execute(
                    f"""SELECT step, group_id, sample, context
                    FROM {scan_segments(TABLES["contexts"], files)}
                    WHERE split = $1 AND ($2 IS NULL OR step >= $2) AND ($3 IS NULL OR step <= $3)
                    QUALIFY attempt = max(attempt) OVER (PARTITION BY step)
                    ORDER BY step, group_id, sample""",
                    [split, first, last],
                ).df()
        except duckdb.Error as caught:
            error = caught
            damaged += quarantine_damaged(files)
    if error is not None:
        raise StoreError(f"contexts of {run_id} cannot be read: {error}") from error
    return pd.DataFrame({"step": [], "group_id": [], "sample": [], "context": []})


def check_memory(root: Path, segments: set[tuple[str, str]]) -> None:
    """Refuse to bring more contexts into memory than is sensible.

    Raises:
        StoreError: with the size, and what to ask instead.
    """
    sizes = []
    for run, name in segments:
        try:
            sizes.append((root / run / "segments" / "contexts" / name).stat().st_size)
        except FileNotFoundError:
            continue  # deleted since it was listed
    if sum(sizes) > MEMORY_BYTES:
        raise StoreError(
            f"the contexts of all runs are {sum(sizes) / 1e6:,.0f} MB, too much for one query: "
            "ask for one run with Store.contexts(run_id), or open workbench.duckdb with DuckDB"
        )
