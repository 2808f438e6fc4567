"""The one signature of whatever scores completions: objectives, judges and anchors alike.

It is that of TRL's reward functions, lists in and a list out::

    def vowels(completions, **columns):
        return [sum(c in "aeiou" for c in text) / max(1, len(text)) for text in completions]

The names that a function can take: ``prompts``, ``completions`` (texts, or lists of messages where
prompts are conversations), ``completion_ids``, every column of the task's rows (``reference``,
``kind``, ``prompt_id``, your own), ``scores`` (what the scoring pass found), and TRL's
``trainer_state``, ``log_metric`` and ``log_extra``. It returns one number for each completion; None
or NaN means "does not apply to this row". It may be a coroutine function.

A function of two arguments, ``(example, text)``, is the form that judges and anchors had before;
it is called row by row, with a DeprecationWarning.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.objectives.format import text_of
from workbench.types import Example

RewardFunction = Callable[..., Any]
LISTS = ("prompts", "completions", "completion_ids")
CONTEXT = ("scores", "trainer_state", "log_metric", "log_extra")
"""Keywords that every function can have beside the lists and the columns."""
ALLOWED = "f(prompts, completions, completion_ids, **columns) -> one number for each completion"
OWN = ("prompt_id", "kind", "reference")


@dataclass(frozen=True)
class RewardRows:
    """N completions as whatever scores them gets them.

    ``columns`` hold N values each; ``context`` holds what is said once (see CONTEXT).
    """

    prompts: Sequence[Any]
    completions: Sequence[Any]
    completion_ids: Sequence[Sequence[int]]
    columns: Mapping[str, Sequence[Any]]
    context: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, rows: slice) -> RewardRows:
        """Some of the rows, without ``scores``, which are those of all of them."""
        context = {name: value for name, value in self.context.items() if name != "scores"}
        return RewardRows(
            self.prompts[rows],
            self.completions[rows],
            self.completion_ids[rows],
            {name: values[rows] for name, values in self.columns.items()},
            context,
        )

    @property
    def keywords(self) -> dict[str, Any]:
        """All of it by name; a column never hides what has the name already."""
        lists = {name: getattr(self, name) for name in LISTS}
        return {**{k: list(v) for k, v in self.columns.items()}, **self.context, **lists}


def accepted(function: RewardFunction, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords that a function can take; all of them when it has ``**kwargs``."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(keywords)
    return {name: value for name, value in keywords.items() if name in parameters}


def as_reward(function: RewardFunction, what: str) -> RewardFunction:
    """A function with the one signature: itself, or the old form called row by row.

    Args:
        function: What a configuration names.
        what: The key that names it, for messages.

    Raises:
        ValueError: It is no function of either form.
    """
    name = getattr(function, "__name__", type(function).__name__)  # an instance has no name
    if not callable(function):
        raise ValueError(f"{what}: {function!r} is not callable; allowed is {ALLOWED}")
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD or p.name in LISTS for p in parameters):
        return function
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    if len(needed) != 2 or any(p.kind is p.KEYWORD_ONLY for p in needed):
        takes = ", ".join(p.name for p in parameters)
        raise ValueError(f"{what}: {name}({takes}) has another signature; allowed is {ALLOWED}")
    warnings.warn(
        f"{what}: {name}({', '.join(p.name for p in needed)}) is the old form of a judge, which "
        f"scores one row; write {ALLOWED}",
        DeprecationWarning,
        stacklevel=2,
    )

    @functools.wraps(function)
    def row_by_row(
        prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        rows = zip(examples_of(prompts, columns), completions, strict=True)
        return [function(example, text_of(completion)) for example, completion in rows]

    # the wrapper's own parameters count, not those of what it wraps
    del row_by_row.__wrapped__  # type: ignore[attr-defined]
    return row_by_row


def examples_of(prompts: Sequence[Any], columns: Mapping[str, Any]) -> list[Example]:
    """N rows as the task had them, from prompts and columns."""
    extra = {
        name: values
        for name, values in columns.items()
        if name not in (*OWN, *LISTS, *CONTEXT) and _is_column(values, len(prompts))
    }
    known = {name: columns.get(name) or [None] * len(prompts) for name in OWN}
    return [
        Example(
            prompt=prompt,
            prompt_id=known["prompt_id"][i] or "",
            kind=known["kind"][i] or "default",
            reference=known["reference"][i],
            extra={name: values[i] for name, values in extra.items()},
        )
        for i, prompt in enumerate(prompts)
    ]


def _is_column(values: Any, rows: int) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and len(values) == rows
