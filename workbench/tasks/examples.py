"""One row of a file as an Example: columns renamed, the prompt composed and checked.

The forms of TRL are taken too: ``messages`` (the last answer becomes the reference), and ``chosen``
with ``rejected``, from which the prompt is what both begin with.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from workbench.formatting import clipped, listed
from workbench.tasks.formats import Row
from workbench.types import Example, Message

OWN = ("prompt", "reference", "kind", "prompt_id")
TAKEN = (
    "prompts", "completions", "completion_ids", "scores", "trainer_state", "log_extra",
    "log_metric", "environments",
)  # fmt: skip
"""Keyword arguments that every objective gets anyway; a column cannot have their name."""
TRAINER = ("self", "image", "images", "environment", "tools")
"""Columns that TRL's trainer takes for something of its own."""
RESERVED = (*TAKEN, *TRAINER, "completion")


def renamed_row(row: Row, columns: Mapping[str, str], where: str) -> Row:
    """The row under the workbench's names: ``columns`` maps these to the file's.

    A line of JSON may leave out what it does not have; only the prompt must be there.

    Raises:
        ValueError: the row lacks the column of the prompt.
    """
    prompt = columns.get("prompt")
    if prompt is not None and prompt not in row:
        raise ValueError(
            f"{where}: column {clipped(repr(prompt))} is missing; there are {listed(row)}"
        )
    taken = set(columns.values())
    renamed = {name: value for name, value in row.items() if name not in taken}
    return renamed | {name: row[source] for name, source in columns.items() if source in row}


def refuse_absent(columns: Mapping[str, str], seen: Iterable[str], name: str, key: str) -> None:
    """Refuse columns that no row of a file has. Raises ValueError."""
    there = dict.fromkeys(seen)
    absent = [source for source in columns.values() if source not in there]
    if absent:
        raise ValueError(
            f"{name}: column {clipped(repr(absent[0]))} of {key} is missing in every row; there "
            f"are {listed(there)}"
        )


def composed(template: str, row: Row, where: str) -> str:
    """The prompt that a format string makes of a row's columns.

    ``{name}`` is a column, ``{name[0]}`` an item of a list or ``{name[key]}`` of a mapping; a whole
    list stands one item a line. Nothing else of Python's format language is taken.

    Raises:
        ValueError: the template names a column or an item that is not there.
    """
    parts = []
    for literal, name in _fields(template):
        parts.append(literal)
        if name is not None:
            parts.append(_filled(name, row, where))
    return "".join(parts)


@lru_cache(maxsize=64)
def _fields(template: str) -> tuple[tuple[str, str | None], ...]:
    """Literal texts and the field behind each; raises ValueError where the braces do not match."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"task.template: {clipped(template)!r}: {error}") from error
    fields = []
    for literal, name, spec, conversion in parts:
        if name is not None and (not name.strip() or spec or conversion):
            raise ValueError(
                f"task.template: {clipped(template)!r}: write a column in braces, e.g. {{question}}"
                " or {turns[0]}; {{ and }} stand for braces"
            )
        fields.append((literal, name))
    if not any(name for _, name in fields):
        raise ValueError(f"task.template: {clipped(template)!r} names no column, e.g. {{question}}")
    return tuple(fields)


def _filled(name: str, row: Row, where: str) -> str:
    column, items = (name, "") if name in row else name.split("[", 1) if "[" in name else (name, "")
    if column not in row:
        raise ValueError(
            f"{where}: column {clipped(repr(column))} of task.template is missing; there are "
            f"{listed(row)}"
        )
    value = row[column]
    for item in items.removesuffix("]").split("][") if items else ():
        try:
            value = value[int(item) if isinstance(value, Sequence) else item]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"{where}: column {clipped(repr(column))} has no item [{clipped(item)}]: "
                f"{clipped(repr(value))}"
            ) from error
    if empty(value):
        raise ValueError(f"{where}: column {clipped(repr(name))} of task.template is empty")
    if isinstance(value, list):
        return "\n".join(str(item) for item in value)
    return str(value)


def example_of(row: Row, where: str, is_text: bool, template: str | None = None) -> Example:
    """A renamed row as an Example.

    Args:
        row: its columns.
        where: file and row, for messages.
        is_text: every value is text (CSV): a JSON list in ``prompt`` stands for messages.
        template: composes the prompt; None: column ``prompt``.

    Raises:
        ValueError: a column is missing, has a name that is in use, or holds what it cannot.
    """
    if template is not None:
        row = row | {"prompt": composed(template, row, where)}
    row = _from_trl(row, where)
    if "prompt" not in row:
        raise ValueError(
            f"{where}: column 'prompt' is missing; there are {listed(sorted(row))}. Name the right "
            "one with task.columns, e.g. {prompt: question}, or compose it with task.template"
        )
    reserved = sorted(set(row) & set(RESERVED))
    if reserved:
        use = "the trainer and objectives use" if reserved[0] != "completion" else "TRL leaves out"
        raise ValueError(
            f"{where}: column {reserved[0]!r} has a name that {use}; rename it with task.columns, "
            f"e.g. {{{'reference' if reserved[0] == 'completion' else 'my_' + reserved[0]}: "
            f"{reserved[0]}}}"
        )
    prompt = _prompt(row["prompt"], where, is_text)
    given = row.get("prompt_id")
    return Example(
        prompt=prompt,
        prompt_id=digest(canonical(prompt)) if empty(given) else str(given),
        kind="default" if empty(row.get("kind")) else str(row["kind"]),
        reference=_reference(row.get("reference"), where),
        extra={name: None if empty(v) else v for name, v in row.items() if name not in OWN},
    )


def _from_trl(row: Row, where: str) -> Row:
    """Rows of TRL's other forms get a ``prompt``; all others stay as they are."""
    if "prompt" in row:
        return row
    if isinstance(row.get("messages"), list):
        messages = checked_messages(row["messages"], "messages", where)
        rest = {name: value for name, value in row.items() if name != "messages"}
        prompt, answer = split_answer(messages)
        if not prompt:
            raise ValueError(f"{where}: column 'messages': there is no turn before the answer")
        return {"prompt": list(prompt), **({"reference": answer} if answer else {}), **rest}
    if "chosen" in row and "rejected" in row:
        prompt_, chosen, _ = split_pair(row["chosen"], row["rejected"], where)
        return {"prompt": prompt_, "reference": chosen, **row}
    return row


def split_answer(messages: Sequence[Message]) -> tuple[Sequence[Message], str | None]:
    """A conversation without its last answer, and that answer's text."""
    if messages and messages[-1]["role"] == "assistant":
        return messages[:-1], messages[-1]["content"]
    return messages, None


def split_pair(chosen: Any, rejected: Any, where: str) -> tuple[Any, str, str]:
    """The prompt that two answers share, and the answers (TRL's preference form without prompt).

    Raises:
        ValueError: they share no beginning, or are neither text nor messages.
    """
    if isinstance(chosen, str) and isinstance(rejected, str):
        same = next(
            (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b),
            min(len(chosen), len(rejected)),
        )
        cut = max(chosen.rfind(" ", 0, same), chosen.rfind("\n", 0, same)) + 1
        turn = chosen.rfind("\n\nAssistant:", 0, same)  # hh-rlhf's own mark of a turn
        cut = turn + len("\n\nAssistant:") if turn >= 0 else cut
        prompt: Any = chosen[:cut]
        answers = chosen[cut:].strip(), rejected[cut:].strip()
    else:
        first = checked_messages(chosen, "chosen", where)
        second = checked_messages(rejected, "rejected", where)
        prompt = list(first[:-1])
        answers = first[-1]["content"], second[-1]["content"]
        if first[:-1] != second[:-1]:
            prompt = []
    if not prompt:
        raise ValueError(
            f"{where}: columns 'chosen' and 'rejected' begin with no common prompt; give it in a "
            "column 'prompt'"
        )
    return prompt, answers[0], answers[1]


def _prompt(value: Any, where: str, is_text: bool) -> str | tuple[Message, ...]:
    """Text as it stands, or checked messages; in a CSV a JSON list stands for messages."""
    if is_text and isinstance(value, str) and value.lstrip().startswith('[{"'):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: column 'prompt': not valid JSON: {error}") from error
    if isinstance(value, str) and value.strip():
        return value
    if not isinstance(value, list) or not value:
        raise ValueError(
            f"{where}: column 'prompt': {clipped(repr(value))} is neither text nor a list of chat "
            "messages"
        )
    return checked_messages(value, "prompt", where)


def checked_messages(value: Any, column: str, where: str) -> tuple[Message, ...]:
    """Chat messages as they stand: a chat template may read more than role and content.

    ``content: null`` is what a turn without text has, one that calls a tool, say; parts that are
    all text are joined. Fields that are null, as Parquet fills them in, are left out.

    Raises:
        ValueError: one is none, or holds parts other than text.
    """
    if not isinstance(value, list) or not value:
        raise ValueError(
            f"{where}: column {column!r}: {clipped(repr(value))} is no list of chat messages"
        )
    found = []
    for message in value:
        content = message.get("content", 0) if isinstance(message, dict) else 0
        if isinstance(content, list) and all(
            isinstance(p, dict) and p.get("type") == "text" for p in content
        ):
            content = "".join(str(part.get("text", "")) for part in content)
        if (
            not isinstance(message, dict)
            or not isinstance(message.get("role"), str)
            or not isinstance(content, str | None)
        ):
            raise ValueError(
                f"{where}: column {column!r}: {clipped(repr(message))} is no chat message; each "
                "needs 'role', text, and 'content', text or null"
            )
        rest = {k: v for k, v in message.items() if k not in ("role", "content") and v is not None}
        found.append({"role": message["role"], "content": content or "", **rest})
    return tuple(found)


def _reference(value: Any, where: str) -> str | None:
    if empty(value):
        return None
    if isinstance(value, dict | list):
        raise ValueError(
            f"{where}: column 'reference': {clipped(repr(value))} is not text; another name makes "
            "it a column for objectives: task.columns {references: reference}"
        )
    return str(value)


def empty(value: Any) -> bool:
    """Whether a cell holds nothing: null, NaN, or a text without characters."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def canonical(prompt: str | Iterable[Message]) -> str:
    """A text that two prompts share exactly when they are the same."""
    return prompt if isinstance(prompt, str) else json.dumps(list(prompt), sort_keys=True)


def digest(text: str) -> str:
    """Twelve hexadecimal digits of a text."""
    return blake2b(text.encode(), digest_size=6).hexdigest()
