"""format: whether a completion has the form that its example asks for.

The example's ``format`` column names one of FORMATS, with an argument after a colon:

    sentence        whole sentences: three words or more, ended by . ? or !
    steps           ``..., ..., so ...``: working before a conclusion
    story           whole sentences, three or more of them
    list:3          ``1 ... ; 2 ... ; 3 ... ;``, or one numbered line each, three entries
    tags:think,answer   ``<think>...</think>`` then ``<answer>...</answer>``, each once, in order
    json            one JSON object or array; ``json:name,age`` asks for these keys
    regex:PATTERN   the whole text matches

A row without the column, or with an empty one, is checked for the one thing that always holds: that
the text is there and was not cut off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

NEEDS: frozenset[str] = frozenset()
CUT = 0.5
"""Factor on a completion that ran into the limit: it may have had the form, but it did not end."""


def format(  # noqa: A001 - the objective's public name
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    *,
    scores: Any,
    **columns: Any,
) -> list[float | None]:
    """Validity of the form, in [0, 1]; half of it where the completion was cut off.

    Args:
        prompts: N prompts.
        completions: N completions: text, or a list of chat messages.
        completion_ids: N token lists.
        scores: The scoring pass: ``truncated``, per row whether the end token is missing.
        **columns: ``format``, per row the form that is asked for.

    Raises:
        ValueError: A row asks for a form that is not in FORMATS; the message names the row.
    """
    asked = columns.get("format") or [None] * len(completions)
    values: list[float | None] = []
    for row, (completion, form, cut) in enumerate(
        zip(completions, asked, scores.truncated, strict=True)
    ):
        name, _, argument = str(form or "text").partition(":")
        if name not in FORMATS:
            raise ValueError(f"row {row}: format {form!r} unknown; allowed are {list(FORMATS)}")
        value = FORMATS[name](text_of(completion).strip(), argument)
        values.append(value * CUT if cut else value)
    return values


def text_of(completion: Any) -> str:
    """The text of a completion, given as text or as chat messages."""
    if isinstance(completion, str):
        return completion
    return " ".join(str(message.get("content") or "") for message in completion)


def _text(text: str, argument: str) -> float:
    """There is any text."""
    return float(bool(text))


def _sentence(text: str, argument: str) -> float:
    """0.7 for ending as sentences do, 0.3 for being three words or more."""
    return 0.7 * text.endswith((".", "?", "!")) + 0.3 * (len(re.findall(r"[\w']+", text)) >= 3)


def _steps(text: str, argument: str) -> float:
    """A whole sentence counts 0.7; working of three words or more before ``so`` the rest."""
    working, so, _ = text.lower().partition(" so ")
    return 0.7 * _sentence(text, "") + 0.3 * (bool(so) and len(working.split()) >= 3)


def _story(text: str, argument: str) -> float:
    """A quarter for the end, a quarter for each sentence of three words or more, up to three."""
    parts = [part for part in re.split(r"[.?!]", text) if len(part.split()) >= 3]
    return 0.25 * text.endswith((".", "?", "!")) + 0.25 * min(3, len(parts))


def _list(text: str, argument: str) -> float:
    """0.4 for any text, 0.3 for the share of well-formed entries, 0.3 for their number.

    Off by one gets half of the latter; a text without a numbered entry gets neither.
    """
    wanted = int(argument) if argument else None
    entries = [entry.strip() for entry in re.split(r"[;\n]", text) if entry.strip()]
    if not entries:
        return 0.0
    formed = [
        bool(re.fullmatch(rf"{number}\s*[.):]?\s*[^\s\d].*", entry))
        for number, entry in enumerate(entries, 1)
    ]
    if not any(formed):
        return 0.4
    closed = text[-1] in ";." or "\n" in text  # the last entry was finished
    off = abs(len(entries) - wanted) if wanted is not None else 0
    count = 0.3 if off == 0 else 0.15 if off == 1 else 0.0
    return 0.4 + 0.3 * (sum(formed) - (not closed) * formed[-1]) / len(entries) + count


def _tags(text: str, argument: str) -> float:
    """Share of the tags that are there exactly once, all or nothing for their order."""
    names = [name.strip() for name in argument.split(",") if name.strip()]
    found = [len(re.findall(rf"<{name}>.*?</{name}>", text, re.S)) == 1 for name in names]
    order = r"\s*".join(rf"<{name}>.*?</{name}>" for name in names)
    if all(found) and re.fullmatch(order, text, re.S):
        return 1.0
    return 0.5 * sum(found) / max(1, len(names))


def _json(text: str, argument: str) -> float:
    """Half for being JSON, half for the share of the keys that are asked for."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return 0.0
    keys = [key.strip() for key in argument.split(",") if key.strip()]
    if not isinstance(value, dict | list):
        return 0.0
    return 0.5 + 0.5 * (sum(key in value for key in keys) / len(keys) if keys else 1.0)


def _regex(text: str, argument: str) -> float:
    """The whole text matches."""
    return float(re.fullmatch(argument, text, re.S) is not None)


FORMATS: dict[str, Callable[[str, str], float]] = {
    "text": _text,
    "sentence": _sentence,
    "steps": _steps,
    "story": _story,
    "list": _list,
    "tags": _tags,
    "json": _json,
    "regex": _regex,
}
"""Every form that can be asked for; each maps (text, argument) to [0, 1]."""
