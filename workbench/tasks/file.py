"""file: your own prompts, from a file, a directory of ``datasets`` or the hub (``sources``).

One row a prompt; a JSONL line may look like this::

    {"prompt": "Name three rivers.", "reference": "Rhine, Elbe, Oder", "kind": "lists", "format":
     "list:3"}

``prompt`` is text or a list of chat messages; ``reference``, ``kind`` and ``prompt_id`` are
optional; every further column reaches the objectives by its name. There is no judge.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.config import TaskConfig
from workbench.objectives.signature import CONTEXT
from workbench.tasks.sources import SUFFIXES, Row, Source, read_rows
from workbench.types import Example, Message, Task

__all__ = ["SUFFIXES", "load", "preview", "renamed_row"]

OWN = ("prompt", "reference", "kind", "prompt_id")
RESERVED = ("prompts", "completions", "completion_ids", *CONTEXT)
"""Keyword arguments that every objective gets anyway; a column cannot have their name."""

Located = tuple[str, Example]
"""Where a row stands ("prompts.jsonl, row 7"), and what it became."""


def load(config: TaskConfig) -> Task:
    """Read, check and split the rows of ``config.path`` and, where given, ``config.eval_path``.

    Without ``eval_path`` a tenth of the prompts is held out by a hash of prompt and seed: a prompt
    keeps its side when rows are added. Held-out prompts are halved, by hash again, into
    ``calibration`` and ``report``.

    Raises:
        FileNotFoundError: A path does not exist.
        OSError: The hub cannot be reached and the cache does not have the data set.
        ValueError: A row cannot be used. The message names file, row (1 is the first row of data)
            and column.
    """
    rows = _examples(str(config.path), config)
    if config.eval_path is None:
        held, train = _held_out(rows, config)
    else:
        held, train = _examples(config.eval_path, config), rows
        _refuse_overlap(train, held)
    calibration, report = _halves(held, config)
    return Task(
        name="file",
        train=tuple(example for _, example in train)[: config.limit],
        calibration=calibration,
        report=report,
    )


def preview(path: str | Path, n: int = 5) -> pd.DataFrame:
    """The first ``n`` rows as they stand in the source, without checks on what is in them.

    Raises:
        FileNotFoundError: The path does not exist.
        OSError: The hub cannot be reached and the cache does not have the data set.
        ValueError: The source is of no known type, or a row is no valid row of it.
    """
    return pd.DataFrame([row for _, row in islice(read_rows(path), n)])


def _examples(text: str, config: TaskConfig) -> list[Located]:
    """Every row as an Example, the wanted kinds only."""
    source = Source.parse(text)
    found: list[Located] = []
    seen: dict[str, str] = {}
    for where, raw in read_rows(text):
        row = renamed_row(raw, config.columns, where)
        example = _example(row, where, source.is_csv)
        if example.prompt_id in seen:
            raise ValueError(
                f"{where}: column 'prompt_id': {example.prompt_id!r} stands already in "
                f"{seen[example.prompt_id]}; ids must differ"
                if "prompt_id" in row
                else f"{where}: column 'prompt': the same prompt stands already in "
                f"{seen[example.prompt_id]}; each prompt can stand once"
            )
        seen[example.prompt_id] = where
        found.append((where, example))
    if not found:
        raise ValueError(f"{text}: no rows")
    kinds = {example.kind for _, example in found}
    unknown = sorted(set(config.kinds) - kinds)
    if unknown:
        raise ValueError(f"task.kinds: {unknown} unknown; {source.name} has {sorted(kinds)}")
    return [(w, e) for w, e in found if not config.kinds or e.kind in config.kinds]


def renamed_row(row: Row, columns: Mapping[str, str], where: str) -> Row:
    """The row under the workbench's names: ``columns`` maps these to the file's."""
    missing = sorted(source for source in columns.values() if source not in row)
    if missing:
        raise ValueError(f"{where}: column {missing[0]!r} is missing; there are {sorted(row)}")
    taken = set(columns.values())
    renamed = {name: value for name, value in row.items() if name not in taken}
    return renamed | {name: row[source] for name, source in columns.items()}


def _example(row: Row, where: str, is_csv: bool) -> Example:
    if "prompt" not in row:
        raise ValueError(
            f"{where}: column 'prompt' is missing; there are {sorted(row)}. Name the right one "
            "with task.columns, e.g. {prompt: question}"
        )
    reserved = sorted(set(row) & set(RESERVED))
    if reserved:
        raise ValueError(
            f"{where}: column {reserved[0]!r} has a name that objectives use already; rename it "
            f"with task.columns, e.g. {{my_{reserved[0]}: {reserved[0]}}}"
        )
    prompt = _prompt(row["prompt"], where, is_csv)
    given = row.get("prompt_id")
    return Example(
        prompt=prompt,
        prompt_id=_digest(_canonical(prompt)) if _empty(given) else str(given),
        kind="default" if _empty(row.get("kind")) else str(row["kind"]),
        reference=_reference(row.get("reference"), where),
        extra={name: None if _empty(v) else v for name, v in row.items() if name not in OWN},
    )


def _prompt(value: Any, where: str, is_csv: bool) -> str | tuple[Message, ...]:
    """Text as it stands, or checked messages; in a CSV a JSON list stands for messages."""
    if is_csv and isinstance(value, str) and value.lstrip().startswith('[{"'):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: column 'prompt': not valid JSON: {error}") from error
    if isinstance(value, str) and value.strip():
        return value
    if not isinstance(value, list) or not value:
        raise ValueError(
            f"{where}: column 'prompt': {value!r} is neither text nor a list of chat messages"
        )
    return tuple(checked_message(message, where) for message in value)


def checked_message(message: Any, where: str) -> Message:
    """One turn as it stands: a chat template may read more of it than role and content.

    ``content: null`` is what a turn without text has, one that calls a tool, say. Fields that are
    null, as Parquet fills them in for turns that have none, are left out.

    Raises:
        ValueError: It has no role, or its content is neither text nor null.
    """
    content = message.get("content") if isinstance(message, dict) else 0
    if (
        not isinstance(message, dict)
        or not isinstance(message.get("role"), str)
        or not (content is None or isinstance(content, str))
        or "content" not in message
    ):
        raise ValueError(
            f"{where}: column 'prompt': {message!r} is no chat message; each needs 'role', text, "
            "and 'content', text or null"
        )
    rest = {k: v for k, v in message.items() if k not in ("role", "content") and v is not None}
    return {"role": message["role"], "content": content or "", **rest}


def _reference(value: Any, where: str) -> str | None:
    if _empty(value):
        return None
    if isinstance(value, dict | list):
        raise ValueError(f"{where}: column 'reference': {value!r} is not text")
    return str(value)


def _empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _canonical(prompt: str | Iterable[Message]) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(list(prompt), sort_keys=True)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=6).hexdigest()


def _position(example: Example, salt: str) -> float:
    """A number in [0, 1) that depends on the prompt and the salt alone."""
    return int(_digest(f"{salt} {_canonical(example.prompt)}"), 16) / 256**6


def _held_out(rows: list[Located], config: TaskConfig) -> tuple[list[Located], list[Located]]:
    """A tenth by hash; at least two, so that both held-out splits have a prompt."""
    if len(rows) < 3:
        raise ValueError(
            f"task.path: {config.path} has {len(rows)} prompts; without task.eval_path at least 3 "
            "are needed, two of which are held out"
        )
    salt = f"held out {config.seed}"
    ranked = sorted(_position(example, salt) for _, example in rows)
    threshold = max(0.1, math.nextafter(ranked[1], 1.0))
    sides: tuple[list[Located], list[Located]] = ([], [])
    for row in rows:
        sides[_position(row[1], salt) >= threshold].append(row)
    return sides


def _halves(
    held: list[Located], config: TaskConfig
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Calibration and report by hash; one row moves when a side would be empty."""
    if len(held) < 2:
        raise ValueError(
            f"task.eval_path: {config.eval_path} has {len(held)} prompts; at least 2 are needed"
        )
    salt = f"calibration {config.seed}"
    ranked = sorted(_position(example, salt) for _, example in held)
    threshold = min(max(0.5, math.nextafter(ranked[0], 1.0)), ranked[-1])
    sides: tuple[list[Example], list[Example]] = ([], [])
    for _, example in held:
        sides[_position(example, salt) >= threshold].append(example)
    return tuple(sides[0]), tuple(sides[1])


def _refuse_overlap(train: list[Located], held: list[Located]) -> None:
    """Held-out prompts must not be trained on."""
    known = {_canonical(example.prompt): where for where, example in held}
    for where, example in train:
        if _canonical(example.prompt) in known:
            raise ValueError(
                f"{where}: column 'prompt': this prompt is held out in "
                f"{known[_canonical(example.prompt)]}; it cannot be trained on"
            )
