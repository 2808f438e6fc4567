"""A file of (prompt, response, reward) rows, in any form that the file task reads.

One row of JSONL, everything but the first three optional::

    {"prompt": "Name a colour.", "response": "Blue.", "reward": 0.8, "kind": "fact"}

``prompt`` may be chat messages, and so may the response. ``behaviour_logp`` is the summed
log-probability of the response under whatever wrote it, where that is known. TRL's own forms are
taken too: ``chosen`` and ``rejected`` become two rows of reward 1 and 0, ``label`` (KTO) is a
reward, and the last answer of ``messages`` is a response of reward 1.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.formatting import clipped, listed
from workbench.tasks.examples import (
    checked_messages,
    empty,
    refuse_absent,
    renamed_row,
    split_answer,
    split_pair,
)
from workbench.tasks.formats import Row
from workbench.tasks.sources import Source, read_rows

REQUIRED = ("prompt", "response", "reward")
SYNONYMS = {"completion": "response", "answer": "response", "score": "reward", "label": "reward"}
"""Other names under which a column is taken when its own is missing."""
TRUTH = {"True": 1.0, "true": 1.0, "False": 0.0, "false": 0.0}
"""Labels as a CSV writes them."""
HEAD = 100
"""Rows that are looked at before a run is started."""


def file_rows(path: str | Path, columns: Mapping[str, str]) -> pd.DataFrame:
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
    for where, row in _forms(path, columns):
        seen |= set(row)
        found.append(_row(row, where, Source.parse(path).name))
    if found:
        _refuse_missing(path, seen)
    return pd.DataFrame(found)


def check_head(path: str | Path, columns: Mapping[str, str]) -> None:
    """Check the first rows, before a run is started; raises as ``file_rows``."""
    seen: set[str] = set()
    for where, row in islice(_forms(path, columns), HEAD):
        seen |= set(row)
        _row(row, where, "")
    if not seen:
        raise ValueError(f"{path} has no rows")
    _refuse_missing(path, seen)


def _refuse_missing(path: str | Path, seen: set[str]) -> None:
    missing = [name for name in REQUIRED if name not in seen]
    if missing:
        raise ValueError(
            f"{Path(path).name}: column {missing[0]!r} is missing; there are "
            f"{listed(sorted(seen))}. Name the right one with offline.source.columns, e.g. "
            f"{{{missing[0]}: ...}}"
        )


def _forms(path: str | Path, columns: Mapping[str, str]) -> Iterator[tuple[str, Row]]:
    """Rows with ``prompt``, ``response`` and ``reward``, whatever form of TRL's they had."""
    seen: dict[str, None] = {}
    for where, raw in read_rows(path):
        seen |= dict.fromkeys(raw)
        row = renamed_row(raw, columns, where)
        if "chosen" in row and "rejected" in row and "response" not in row:
            yield from _pair(row, where)
            continue
        if isinstance(row.get("messages"), list) and "prompt" not in row:
            prompt, answer = split_answer(checked_messages(row.pop("messages"), "messages", where))
            if answer is None or not prompt:
                raise ValueError(f"{where}: column 'messages': it must end with an answer")
            row = {"prompt": list(prompt), "response": answer, "reward": 1.0} | row
        yield (
            where,
            {
                SYNONYMS[k] if k in SYNONYMS and SYNONYMS[k] not in row else k: v
                for k, v in row.items()
            },
        )
    refuse_absent(columns, seen, Path(path).name, "offline.source.columns")


def _pair(row: Row, where: str) -> Iterator[tuple[str, Row]]:
    """The better and the worse answer of one prompt as two rows."""
    chosen, rejected = row.pop("chosen"), row.pop("rejected")
    if "prompt" not in row:
        row["prompt"], chosen, rejected = split_pair(chosen, rejected, where)
    yield where, row | {"response": chosen, "reward": 1.0}
    yield where, row | {"response": rejected, "reward": 0.0}


def _row(row: Mapping[str, Any], where: str, origin: str) -> dict[str, Any]:
    prompt = _prompt(row.get("prompt"), where)
    identity = row.get("prompt_id")
    kind = row.get("kind")
    return {
        "prompt": prompt,
        "prompt_id": _identity(prompt) if empty(identity) else str(identity),
        "kind": "default" if empty(kind) else str(kind),
        "response": _response(row.get("response"), where),
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
    if empty(value):
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError(
            f"{where}: prompt {clipped(repr(value))} is neither text nor chat messages"
        )
    return [dict(message) for message in checked_messages(value, "prompt", where)]


def _response(value: Any, where: str) -> str:
    """Text, also of a response that is written as one chat message."""
    if isinstance(value, list):
        return "\n".join(m["content"] for m in checked_messages(value, "response", where))
    return "" if empty(value) else str(value)


def _number(value: Any, column: str, where: str) -> float:
    if empty(value):
        return math.nan
    try:
        number = float(TRUTH.get(value, value) if isinstance(value, str) else value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: {column} {clipped(repr(value))} is no number; leave it empty for none"
        ) from error
    if math.isinf(number):
        raise ValueError(f"{where}: {column} is infinite; leave it empty for none")
    return number


def _identity(prompt: Any) -> str:
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
