"""Hidden states, straight from their segments: too large to keep in every reader's memory."""

from __future__ import annotations

import duckdb
import pandas as pd
import pyarrow as pa

from workbench.store.cache import LiveCache
from workbench.store.errors import StoreError
from workbench.store.scan import scan_segments
from workbench.store.schema import TABLES

TRIES = 5


def read_contexts(
    cache: LiveCache, run_id: str, split: str, steps: tuple[int, int] | None
) -> pd.DataFrame:
    """Contexts of one run and split: step, group_id, sample, context; newest attempt of each step.

    The caller holds the store attached, so that retention deletes nothing meanwhile.

    Raises:
        StoreError: DuckDB cannot read them.
    """
    first, final = steps if steps is not None else (None, None)
    last: duckdb.Error | None = None
    for _ in range(TRIES):
        files = cache.whole("contexts", run_id)
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
                    [split, first, final],
                ).df()
        except duckdb.Error as error:
            last = error
            cache.sort_out(files)
    else:
        raise StoreError(f"contexts of {run_id} cannot be read: {last}")
    return pd.DataFrame({"step": [], "group_id": [], "sample": [], "context": []})


def context_table(cache: LiveCache, run_id: str) -> pa.Table:
    """Every context of one run with the columns of ``contexts``, newest attempt of each step.

    The caller holds the store attached, so that retention deletes nothing meanwhile.

    Raises:
        StoreError: DuckDB cannot read them.
    """
    files = cache.whole("contexts", run_id)
    if not files:
        plain = TABLES["contexts"].arrow
        at = plain.get_field_index("context")  # DuckDB has no numbers of half precision
        return plain.set(at, pa.field("context", pa.list_(pa.float32()))).empty_table()
    try:
        with duckdb.connect() as con:
            return con.sql(
                f"""SELECT {", ".join(TABLES["contexts"].names)}
                FROM {scan_segments(TABLES["contexts"], files)}
                QUALIFY attempt = max(attempt) OVER (PARTITION BY split, step)
                ORDER BY step, split, group_id, sample"""
            ).to_arrow_table()
    except duckdb.Error as error:
        raise StoreError(f"contexts of {run_id} cannot be read: {error}") from error
