"""Rows that other trainers wrote, as rows of ``rollouts``: one function a form.

| form | columns |
|---|---|
| own | ``prompt``, ``completion``, ``rewards`` (a mapping or one number), any of ``rollouts`` |
| TRL | ``step``, ``prompt``, ``completion``, a column a reward, ``advantage`` |
| verl | ``input``, ``output``, ``score``, ``step``; further ones are its own notes |
| OpenRLHF | ``input``, ``output``, ``reward`` |
| prime-rl, verifiers | ``prompt``, ``completion`` (messages), ``reward``, ``advantage``, ``task`` |
| trackio | ``messages`` with ``metadata`` that has ``reward``, ``rewards`` or ``score`` |
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from workbench.formatting import clipped, listed
from workbench.store.errors import StoreError
from workbench.store.schema import PER_OBJECTIVE, TABLES
from workbench.tasks.formats import Row

COLUMNS = {column.name: column.type for column in TABLES["rollouts"].columns}
MAPS = tuple(name for name, kind in COLUMNS.items() if kind == PER_OBJECTIVE)
PROMPTS, COMPLETIONS = ("prompt", "input"), ("completion", "output", "response")
SINGLE = ("reward", "score")
FORMS = (
    "prompt, completion and rewards (a mapping or one number); TRL's step, prompt, completion and "
    "a column a reward; verl's input, output, score; OpenRLHF's input, output, reward; messages "
    "with a reward"
)
MOST = 2**31 - 1


def is_trl(row: Row) -> bool:
    """Whether a row is of a completion table of TRL's."""
    return {"step", "prompt", "completion"} <= set(row) and not {"rewards", "reward_model"} & set(
        row
    )


def trl_rollout(row: Row, rewards: Sequence[str], where: str) -> Row:
    """A row of a completion table; a reward may be called like one of our columns.

    Raises:
        StoreError: a value is none; the message names file, row and column.
    """
    made: Row = {
        "step": row.get("step"),
        "prompt": row.get("prompt"),
        "completion": row.get("completion"),
        "rewards": {name: row.get(name) for name in rewards},
        "advantage": row.get("advantage"),
    }
    return _checked(made, where)


def rollout(row: Row, where: str) -> Row:
    """A row of any other form.

    Raises:
        StoreError: something is missing or a value is none; the message names file, row, column.
    """
    if isinstance(row.get("messages"), list) and not set(PROMPTS) & set(row):
        return _checked(_trace(row, where), where)
    prompt = next((name for name in PROMPTS if name in row), None)
    completion = next((name for name in COMPLETIONS if name in row), None)
    single = next((name for name in SINGLE if name in row), None)
    missing = [
        name
        for name, found in (
            ("prompt", prompt),
            ("completion", completion),
            ("rewards", "rewards" if "rewards" in row else single),
        )
        if found is None
    ]
    if missing:
        raise StoreError(
            f"{where}: no {', '.join(missing)}; there are {listed(row)}. Rows can have {FORMS}"
        )
    if prompt == "prompt" and "rewards" in row:
        made = {name: value for name, value in row.items() if name in COLUMNS}
    else:
        made = {name: row[name] for name in ("step", "advantage", "split") if name in row}
        made |= _of_verifiers(row)
        made["rewards"] = row.get("rewards", {single: row.get(str(single))})
    made["prompt"], made["completion"] = row[str(prompt)], row[str(completion)]
    if not isinstance(made["rewards"], Mapping | list):
        made["rewards"] = {"reward": made["rewards"]}
    return _checked(made, where)


def _of_verifiers(row: Row) -> Row:
    """What prime-rl and verifiers say beside the texts."""
    made: Row = {}
    if isinstance(row.get("task"), str):
        made["kind"] = row["task"]
    if isinstance(row.get("example_id"), int | str):
        made["prompt_id"] = str(row["example_id"])
    if isinstance(row.get("is_truncated"), bool):
        made["truncated"] = row["is_truncated"]
    return made


def _trace(row: Row, where: str) -> Row:
    """A conversation that was traced; what is known of it stands beside it or in ``metadata``."""
    about = row.get("metadata") if isinstance(row.get("metadata"), Mapping) else {}
    known = {**about, **{k: v for k, v in row.items() if k not in ("messages", "metadata")}}
    messages = row["messages"]
    if not messages or not isinstance(messages[-1], Mapping):
        raise StoreError(
            f"{where}: column 'messages': {clipped(repr(messages))} has no last answer"
        )
    name = next((n for n in ("rewards", *SINGLE) if known.get(n) is not None), None)
    if name is None:
        raise StoreError(f"{where}: no reward; there are {listed(known)}. Rows can have {FORMS}")
    rewards = known[name]
    made = {
        k: v for k, v in known.items() if k in COLUMNS and k not in ("rewards", "run_id", "time")
    }
    return made | {
        "prompt": messages[:-1],
        "completion": messages[-1:],
        "rewards": rewards if isinstance(rewards, Mapping) else {name: rewards},
    }


# -- values ----------------------------------------------------------------------------------------


def _checked(row: Row, where: str) -> Row:
    """Every value as its column wants it; maps have the keys of the row's rewards."""
    made: Row = {"prompt": text_of(row["prompt"]), "completion": text_of(row["completion"])}
    for name, value in row.items():
        if name in made or value is None:
            continue
        try:
            made[name] = _value(value, COLUMNS[name])
        except (TypeError, ValueError, OverflowError, KeyError) as error:
            raise StoreError(
                f"{where}: column {name!r}: {clipped(repr(value))} is no {_WORDS[COLUMNS[name]]}"
            ) from error
    rewards = made.get("rewards")
    if not rewards:
        raise StoreError(f"{where}: column 'rewards' is empty; each row needs at least one")
    for name in MAPS[1:]:
        if name in made:
            made[name] = _aligned(made[name], list(rewards), name, where)
    action = made.get("action")
    if action is not None and action not in rewards:
        raise StoreError(
            f"{where}: column 'action': {clipped(repr(action))} is no reward of this row; there "
            f"are {listed(rewards)}"
        )
    step = made.get("step", 0)
    if not 0 <= step <= MOST:
        raise StoreError(f"{where}: column 'step': {step} is not allowed; it must be 0 to {MOST}")
    return made


def _aligned(values: Mapping[str, float], names: Sequence[str], column: str, where: str) -> Row:
    """A map with exactly the keys of the rewards: a weight that is not named is 0."""
    unknown = [name for name in values if name not in names]
    if unknown:
        raise StoreError(
            f"{where}: column {column!r}: {clipped(repr(unknown[0]))} is no reward of this row; "
            f"there are {listed(names)}"
        )
    absent = math.nan if column == "scaled" else 0.0
    return {name: values.get(name, absent) for name in names}


_WORDS = {
    pa.string(): "text",
    pa.int32(): "whole number",
    pa.float64(): "number",
    pa.bool_(): "true or false",
    PER_OBJECTIVE: "mapping of names to numbers",
    pa.list_(pa.int32()): "list of whole numbers",
    pa.list_(pa.float32()): "list of numbers",
}


def _value(value: Any, kind: pa.DataType) -> Any:
    """A value as its column holds it. Raises TypeError, ValueError or OverflowError."""
    if kind == pa.int32():
        return _whole(value)
    if kind == pa.float64():
        return _number(value)
    if kind == PER_OBJECTIVE:
        pairs = value.items() if isinstance(value, Mapping) else dict(value).items()
        return {str(name): math.nan if v is None else _number(v) for name, v in pairs}
    if kind == pa.bool_():
        if value in (0, 1):  # True and False too
            return bool(value)
        return {"true": True, "false": False}[str(value).lower()]
    if kind == pa.string():
        if isinstance(value, Mapping | list | bytes):
            raise TypeError
        return str(value)
    if not isinstance(value, list | tuple):
        raise TypeError
    if kind == pa.list_(pa.int32()):
        return [_whole(v) for v in value]
    return [math.nan if v is None else _number(v) for v in value]


def _number(value: Any) -> float:
    if isinstance(value, bool | bytes | Mapping | list):
        raise TypeError
    return float(value)


def _whole(value: Any) -> int:
    """3, 3.0, "3" and "3.0" are 3; nothing else is."""
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        known = _number(value)
        if known != math.floor(known):
            raise ValueError
        number = int(known)
    if not -(2**31) <= number <= MOST:
        raise ValueError
    return number


def text_of(value: Any) -> str:
    """Chat messages as ``role: content`` lines, tool calls included; empty where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return _message(value) if "role" in value else json.dumps(value, default=str)
    if isinstance(value, list):
        return "\n".join(_message(m) if isinstance(m, Mapping) else text_of(m) for m in value)
    return str(value)


def _message(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):  # parts: their texts, and what the others are
        content = " ".join(
            str(part.get("text") if part.get("text") is not None else f"[{part.get('type')}]")
            if isinstance(part, Mapping)
            else str(part)
            for part in content
        )
    said = [] if content is None else [str(content)]
    for call in message.get("tool_calls") or ():
        kept = _without_none(call)
        said.append(f"[tool call] {json.dumps(kept, ensure_ascii=False, default=str)}")
    return (
        f"{message.get('role') or 'message'}: {' '.join(said)}".rstrip(" ")
        if said
        else (f"{message.get('role') or 'message'}:")
    )


def _without_none(value: Any) -> Any:
    """Parquet gives every mapping all keys: those that hold nothing were not written."""
    if isinstance(value, Mapping):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in value]
    return value


def step_of_path(name: str) -> int | None:
    """The step that a file or folder is called by: ``step_12``, ``completions_00012``, ``12``."""
    found = re.search(r"(?:^|[_-])(\d{1,9})$", name.partition(".")[0])
    return int(found[1]) if found else None
