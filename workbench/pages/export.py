"""What a page shows, as a file."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pandas as pd

from workbench.formatting import neutral

MAPS = ("rewards", "scaled", "weights", "policy")
TOKENS = ("token_ids", "token_entropies")


def flat(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``rollouts`` with one column per objective in the place of each map."""
    columns: dict[str, Any] = {}
    for name in rows.columns:
        if name not in MAPS:
            columns[name] = rows[name].to_list()
            continue
        maps = [dict(m) if isinstance(m, Mapping) else {} for m in rows[name]]
        for key in dict.fromkeys(k for m in maps for k in m):
            columns[f"{name}.{key}"] = [m.get(key) for m in maps]
    return pd.DataFrame(columns, index=rows.index)


def as_csv(rows: pd.DataFrame) -> bytes:
    """UTF-8 CSV, one line a row: line breaks inside a text are spelled out."""
    plain = rows.drop(columns=[c for c in TOKENS if c in rows])
    safe = plain.map(lambda v: neutral(v).replace("\n", "\\n") if isinstance(v, str) else v)
    safe.columns = [neutral(c) for c in safe.columns]
    return safe.to_csv(index=False, lineterminator="\n").encode()


def as_parquet(rows: pd.DataFrame) -> bytes:
    """Parquet, every value as it is."""
    buffer = io.BytesIO()
    rows.to_parquet(buffer, index=False)
    return buffer.getvalue()


def packed(found: tuple[pd.DataFrame, str] | None, kind: str) -> dict[str, str]:
    """The rows that a page shows, for the browser to save: file name and base64.

    Args:
        found: the rows and a name for their file, as ``Page.rows`` gives them.
        kind: csv or parquet.

    Raises:
        ValueError: the kind is neither csv nor parquet, or there are no rows.
    """
    writers = {"csv": as_csv, "parquet": as_parquet}
    if kind not in writers:
        raise ValueError(f"kind {kind!r}: allowed are {', '.join(writers)}")
    if found is None:
        raise ValueError("there are no rows here to download")
    rows, words = found
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-.")[:120] + f".{kind}"
    return {"name": name, "data": b64encode(writers[kind](rows)).decode()}
