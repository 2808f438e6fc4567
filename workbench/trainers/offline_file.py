"""A file of (prompt, response, reward) rows: JSONL, Parquet or CSV.

One row of JSONL, everything but the first three optional::

    {"prompt": "Name a colour.", "response": "Blue.", "reward": 0.8, "kind": "fact"}

``prompt`` may be chat messages. ``behaviour_logp`` is the summed log-probability of the response
under whatever wrote it, where that is known.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

REQUIRED = ("prompt", "response", "reward")
SYNONYMS = {"completion": "response", "answer": "response", "score": "reward"}
"""Other names under which a column is taken when its own is missing."""


def file_rows(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read rows as a frame with the columns of ``offline_rows``.

    Args:
        path: The file.
        columns: Own names of columns: ``{reward: stars}`` reads the reward from ``stars``.

    Raises:
        ValueError: When the file has another format, lacks a column or holds a bad line; the
            message names the line where it can.
        FileNotFoundError: When it does not exist.
    """
    if not path.is_file():
        raise FileNotFoundError(f"source.path: no file {str(path)!r}")
    readers = {".jsonl": _jsonl, ".parquet": pd.read_parquet, ".csv": pd.read_csv}
    if path.suffix.lower() not in readers:
        raise ValueError(
            f"source.path: {path.suffix or path.name!r} unknown; allowed are {', '.join(readers)}"
        )
    raw = readers[path.suffix.lower()](path)
    for ours, theirs in columns.items():
        if theirs not in raw:
            raise ValueError(
                f"source.columns: {path.name} has no column {theirs!r} for {ours!r}; "
                f"it has {list(raw.columns)}"
            )
    raw = raw.rename(columns={theirs: ours for ours, theirs in columns.items()})
    raw = raw.rename(columns={k: v for k, v in SYNONYMS.items() if v not in raw and k in raw})
    missing = [name for name in REQUIRED if name not in raw]
    if missing:
        raise ValueError(
            f"source.path: {path.name} lacks {missing}; it has {list(raw.columns)}. "
            "source.columns can rename them"
        )
    prompts = [_prompt(value, path, line) for line, value in enumerate(raw["prompt"], 1)]
    kinds = raw["kind"] if "kind" in raw else pd.Series("default", index=raw.index)
    ids = raw["prompt_id"].astype(str) if "prompt_id" in raw else [_identity(p) for p in prompts]
    known = pd.to_numeric(raw["behaviour_logp"]) if "behaviour_logp" in raw else np.nan
    return pd.DataFrame(
        {
            "prompt": pd.Series(prompts, dtype=object),
            "prompt_id": list(ids),
            "kind": kinds.fillna("default").astype(str).to_numpy(),
            "response": ["" if _absent(v) else str(v) for v in raw["response"]],
            "reward": [_number(v, path, line) for line, v in enumerate(raw["reward"], 1)],
            "origin": path.name,
            "step": -1,
            "truncated": False,
            "token_ids": None,
            "behaviour_logp": np.asarray(known, dtype=np.float64),
            "reference_logp": np.nan,
        }
    )


def _jsonl(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path.name}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path.name}, line {number}: {type(row).__name__} is no row")
        rows.append(row)
    return pd.DataFrame(rows)


def _prompt(value: Any, path: Path, line: int) -> Any:
    """Text, or messages as plain dicts (Parquet hands them over as arrays)."""
    if isinstance(value, str):
        return value
    if _absent(value):
        return ""
    messages = list(value) if isinstance(value, list | tuple | np.ndarray) else None
    if messages is None or not all(isinstance(m, dict) and "content" in m for m in messages):
        raise ValueError(
            f"{path.name}, row {line}: prompt {value!r} is neither text nor chat messages"
        )
    return [{"role": str(m["role"]), "content": str(m["content"])} for m in messages]


def _number(value: Any, path: Path, line: int) -> float:
    if _absent(value):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path.name}, row {line}: reward {value!r} is no number; leave it empty for none"
        ) from error


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _identity(prompt: Any) -> str:
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
