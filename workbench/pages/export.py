"""What a page shows, as a file."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pandas as pd

from workbench.api.workbench import Workbench
from workbench.formatting import neutral
from workbench.pages import run_picker
from workbench.pages.live_cache import recent_runs
from workbench.pages.page import View

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


def shown(wb: Workbench, view: View) -> pd.DataFrame | None:
    """The rows behind what an address shows; None where it shows none.

    Runs: every run; Inspect: the chosen group; Compare: the means with their intervals; Rate: what
    people said about the run.
    """
    tab = view.get("tab", "inspect")
    if tab == "runs":
        return pd.DataFrame(recent_runs(wb))
    if tab == "compare":
        sides = [s for s in view.get("sides", "").split(",") if "@" in s]
        return wb.compare(sides).means if len(sides) > 1 else None
    if tab == "rate":
        run = run_picker.chosen(wb, view)
        return None if run is None else wb.annotations(str(run["run_id"]))
    from workbench.pages.inspect import shown_rows

    rows = shown_rows(wb, view)
    return None if rows is None else flat(rows)


def download(wb: Workbench, view: View, kind: str) -> dict[str, str]:
    """The rows that a page shows, for the browser to save: file name and base64.

    Raises:
        ValueError: the kind is neither csv nor parquet, or the address shows no rows.
    """
    writers = {"csv": as_csv, "parquet": as_parquet}
    if kind not in writers:
        raise ValueError(f"kind {kind!r}: allowed are {', '.join(writers)}")
    rows = shown(wb, view)
    if rows is None:
        raise ValueError("there are no rows here to download")
    named = {
        "runs": "runs",
        "compare": f"compare-{view.get('sides', '')}",
        "rate": f"{view.get('run', 'run')}-annotations",
    }
    group = f"{view.get('run', 'run')}-{view.get('prompt', '')}-step{view.get('step', '')}"
    words = named.get(view.get("tab", ""), group)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-.")[:120] + f".{kind}"
    data = b64encode(writers[kind](rows)).decode()
    return {"name": name, "data": data}
