"""file: your own prompts, from a file, a directory of ``datasets`` or the hub (``sources``).

One row a prompt; a JSONL line may look like this::

    {"prompt": "Name three rivers.", "reference": "Rhine, Elbe, Oder", "kind": "lists", "format":
     "list:3"}

``prompt`` is text or a list of chat messages; ``reference``, ``kind`` and ``prompt_id`` are
optional; every further column reaches the objectives by its name. There is no judge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pandas as pd

from workbench.config import TaskConfig
from workbench.formatting import clipped, listed
from workbench.tasks.examples import (
    canonical,
    digest,
    example_of,
    refuse_absent,
    renamed_row,
)
from workbench.tasks.formats import SUFFIXES
from workbench.tasks.sources import Source, missing, read_rows
from workbench.types import Example, Task

__all__ = ["SUFFIXES", "check_head", "load", "preview", "renamed_row"]

FEW = 30
"""Held-out prompts below which a 95 % interval of their mean is told to be wide."""
HEAD = 100
"""Rows that are looked at before a run is started."""

Located = tuple[str, Example]
"""Where a row stands ("prompts.jsonl, row 7"), and what it became."""


def load(config: TaskConfig) -> Task:
    """Read, check and split the rows of ``config.path`` and, where given, ``config.eval_path``.

    Without ``eval_path`` a part of the prompts is held out by a hash of prompt and seed: a prompt
    keeps its side when rows are added. Held-out prompts are halved, by hash again, into
    ``calibration`` and ``report``. What was left out stands in the task's ``notes``.

    Raises:
        FileNotFoundError: A path does not exist.
        OSError: The hub cannot be reached and the cache does not have the data set.
        ValueError: A row cannot be used, or nothing is left to train on. The message names file,
            row (1 is the first row of data) and column.
    """
    notes: list[str] = []
    rows = _examples(str(config.path), config, notes)
    if config.eval_path is None:
        held, train = _held_out(rows, config)
    else:
        held = _examples(config.eval_path, config, notes)
        train = _without_overlap(rows, held, config, notes)
    calibration, report = _halves(held, config)
    if not train:
        raise ValueError(f"task.path: {config.path} leaves no prompt to train on")
    _refuse_mixed([*train, *held])
    if len(report) < FEW:
        notes.append(
            f"few prompts ({len(report)}) are for the report: 95 % intervals will be wide; "
            f"{FEW} or more are better (task.held_out or task.eval_path)"
        )
    return Task(
        name="file",
        train=tuple(example for _, example in train)[: config.limit],
        calibration=calibration,
        report=report,
        notes=tuple(notes),
    )


def preview(path: str | Path, n: int = 5) -> pd.DataFrame:
    """The first ``n`` rows as they stand in the source, without checks on what is in them.

    Raises:
        FileNotFoundError: The path does not exist.
        OSError: The hub cannot be reached and the cache does not have the data set.
        ValueError: The source is of no known type, or a row is no valid row of it.
    """
    return pd.DataFrame([row for _, row in islice(read_rows(path), n)])


def check_head(config: TaskConfig) -> None:
    """Check the first rows of local sources, before a run is started.

    Raises:
        ValueError: one cannot be used; the message names file, row and column.
        OSError: a file cannot be read.
    """
    for text in (config.path, config.eval_path):
        if text is None or Source.parse(text).path is None or missing(text):
            continue
        for where, raw in islice(read_rows(text), HEAD):
            example_of(
                renamed_row(raw, config.columns, where),
                where,
                Source.parse(text).is_text,
                config.template,
            )


def _examples(text: str, config: TaskConfig, notes: list[str]) -> list[Located]:
    """Every row as an Example, the wanted kinds only, each prompt as often as is allowed."""
    source = Source.parse(text)
    found: list[Located] = []
    seen: dict[str, str] = {}
    times: dict[str, int] = {}
    repeated: list[tuple[str, str, str]] = []
    columns: dict[str, None] = {}
    for where, raw in read_rows(text):
        columns |= dict.fromkeys(raw)
        # the template names the file's own columns, which renaming may take away
        row = renamed_row(raw, config.columns, where)
        if config.template is not None:
            row = raw | row
        example = example_of(row, where, source.is_text, config.template)
        if config.template is not None:
            gone = set(config.columns.values())
            kept = {name: value for name, value in example.extra.items() if name not in gone}
            example = replace(example, extra=kept)
        if example.prompt_id in seen:
            named = "prompt_id" in row
            what = repr(clipped(example.prompt_id)) if named else "the same prompt"
            repeated.append((where, seen[example.prompt_id], what))
            if config.duplicates == "keep_first":
                continue
            if config.duplicates == "keep_all":
                times[example.prompt_id] = number = times.get(example.prompt_id, 1) + 1
                example = replace(example, prompt_id=f"{example.prompt_id}-{number}")
        seen.setdefault(example.prompt_id, where)
        found.append((where, example))
    if not found:
        raise ValueError(f"{text}: no rows")
    refuse_absent(config.columns, columns, source.name, "task.columns")
    if repeated:
        _tell_duplicates(repeated, len(found), config, notes)
    kinds = {example.kind for _, example in found}
    unknown = sorted(set(config.kinds) - kinds)
    if unknown:
        there = listed(sorted(kinds))
        raise ValueError(f"task.kinds: {unknown} unknown; {source.name} has {there}")
    return [(w, e) for w, e in found if not config.kinds or e.kind in config.kinds]


def _tell_duplicates(
    repeated: Sequence[tuple[str, str, str]], kept: int, config: TaskConfig, notes: list[str]
) -> None:
    where, first, what = repeated[0]
    count = len(repeated)
    if config.duplicates == "refuse":
        column = "prompt" if what == "the same prompt" else "prompt_id"
        more = f", and {count - 1:,} more rows repeat one" if count > 1 else ""
        raise ValueError(
            f"{where}: column {column!r}: {what} stands already in {first}{more}; set "
            "task.duplicates to keep_first or keep_all, or give each row its own prompt_id"
        )
    if config.duplicates == "keep_first":
        notes.append(f"{count:,} rows left out: their prompt stands in an earlier row already")
    else:
        notes.append(f"{count:,} of {kept:,} rows repeat a prompt; all are kept, on one side each")


def _refuse_mixed(rows: Sequence[Located]) -> None:
    """TRL takes a batch as text or as conversations, by its first row."""
    first, example = rows[0]
    for where, other in rows:
        if isinstance(other.prompt, str) != isinstance(example.prompt, str):
            text, chat = (first, where) if isinstance(example.prompt, str) else (where, first)
            raise ValueError(
                f"{chat}: column 'prompt': chat messages, but text in {text}; all prompts must be "
                "of one form"
            )


def _position(example: Example, salt: str) -> float:
    """A number in [0, 1) that depends on the prompt and the salt alone."""
    return int(digest(f"{salt} {canonical(example.prompt)}"), 16) / 256**6


def _held_out(rows: list[Located], config: TaskConfig) -> tuple[list[Located], list[Located]]:
    """A share or a number by hash; at least two prompts, so that both held-out splits have one."""
    salt = f"held out {config.seed}"
    ranked = sorted({_position(example, salt) for _, example in rows})
    least = 3 if isinstance(config.held_out, float) else config.held_out + 1
    if len(ranked) < least:
        raise ValueError(
            f"task.path: {config.path} has {len(ranked)} different prompts; without task.eval_path "
            f"at least {least} are needed, {least - 1} of which are held out"
        )
    if isinstance(config.held_out, float):
        threshold = max(config.held_out, math.nextafter(ranked[1], 1.0))
        threshold = min(threshold, ranked[-1])
    else:
        threshold = ranked[config.held_out]
    sides: tuple[list[Located], list[Located]] = ([], [])
    for row in rows:
        sides[_position(row[1], salt) >= threshold].append(row)
    return sides


def _halves(
    held: list[Located], config: TaskConfig
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Calibration and report by hash; one row moves when a side would be empty."""
    salt = f"calibration {config.seed}"
    ranked = sorted({_position(example, salt) for _, example in held})
    if len(ranked) < 2:
        raise ValueError(
            f"task.eval_path: {config.eval_path} has {len(ranked)} different prompts; at least 2 "
            "are needed"
        )
    threshold = min(max(0.5, math.nextafter(ranked[0], 1.0)), ranked[-1])
    sides: tuple[list[Example], list[Example]] = ([], [])
    for _, example in held:
        sides[_position(example, salt) >= threshold].append(example)
    return tuple(sides[0]), tuple(sides[1])


def _without_overlap(
    train: list[Located], held: list[Located], config: TaskConfig, notes: list[str]
) -> list[Located]:
    """Held-out prompts must not be trained on: they are left out where duplicates may be."""
    known = {canonical(example.prompt): where for where, example in held}
    double = [where for where, example in train if canonical(example.prompt) in known]
    if not double:
        return train
    if config.duplicates == "keep_first":
        notes.append(f"{len(double):,} training rows left out: their prompts are held out")
        return [(w, e) for w, e in train if canonical(e.prompt) not in known]
    first = next(e for w, e in train if w == double[0])
    more = f" ({len(double):,} such rows)" if len(double) > 1 else ""
    raise ValueError(
        f"{double[0]}: column 'prompt': this prompt is held out in "
        f"{known[canonical(first.prompt)]}{more}; it cannot be trained on. With task.duplicates: "
        "keep_first it is left out"
    )
