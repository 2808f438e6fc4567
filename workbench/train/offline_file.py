"""A file of (prompt, response, reward) rows: JSONL, Parquet or CSV, read as the file task reads.

One row of JSONL, everything but the first three optional::

    {"prompt": "Name a colour.", "response": "Blue.", "reward": 0.8, "kind": "fact"}

``prompt`` may be chat messages. ``behaviour_logp`` is the summed log-probability of the response
under whatever wrote it, where that is known.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.tasks.file import checked_message, renamed_row
from workbench.tasks.sources import read_rows

REQUIRED = ("prompt", "response", "reward")
SYNONYMS = {"completion": "response", "answer": "response", "score": "reward"}
"""Other names under which a column is taken when its own is missing."""


def file_rows(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read rows as a frame with the columns of ``offline_rows``.

    A row may lack its response or reward: the rules decide what becomes of it.

    Args:
        path: The file.
        columns: Own names of columns: ``{reward: stars}`` reads the reward from ``stars``.

    Raises:
        ValueError: When the file has another format, lacks a column in all rows or holds a value
            that is none; the message names the row.
        FileNotFoundError: When it does not exist.
    """
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    for where, raw in read_rows(path):
        row = renamed_row(raw, columns, where)
        row = {
            SYNONYMS[k] if k in SYNONYMS and SYNONYMS[k] not in row else k: v
            for k, v in row.items()
        }
        seen |= set(row)
        found.append(_row(row, where, path.name))
    missing = [name for name in REQUIRED if name not in seen]
    if found and missing:
        raise ValueError(
            f"{path.name}: column {missing[0]!r} is missing; there are {sorted(seen)}. Name the "
            f"right one with offline.source.columns, e.g. {{{missing[0]}: ...}}"
        )
    return pd.DataFrame(found)


def _row(row: Mapping[str, Any], where: str, origin: str) -> dict[str, Any]:
    prompt = _prompt(row.get("prompt"), where)
    identity = row.get("prompt_id")
    kind = row.get("kind")
    return {
        "prompt": prompt,
        "prompt_id": _identity(prompt) if _absent(identity) else str(identity),
        "kind": "default" if _absent(kind) else str(kind),
        "response": "" if _absent(row.get("response")) else str(row["response"]),
        "reward": _number(row.get("reward"), "reward", where),
        "origin": origin,
        "step": -1,
        "truncated": bool(row.get("truncated") or False),
        "prompt_token_ids": None,
        "token_ids": None,
        "behaviour_logp": _number(row.get("behaviour_logp"), "behaviour_logp", where),
        "reference_logp": math.nan,
    }


def _prompt(value: Any, where: str) -> Any:
    """Text, or messages as plain dicts; empty where there is none."""
    if _absent(value):
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError(f"{where}: prompt {value!r} is neither text nor chat messages")
    return [dict(checked_message(message, where)) for message in value]


def _number(value: Any, column: str, where: str) -> float:
    if _absent(value):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: {column} {value!r} is no number; leave it empty for none"
        ) from error


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _identity(prompt: Any) -> str:
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
