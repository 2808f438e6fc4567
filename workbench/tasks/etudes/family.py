"""What a family of etudes is: prompts, references, noisy demonstrations and a hidden judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from workbench.tasks.etudes.lexicon import NAMES

T = TypeVar("T")
Rubric = Mapping[str, str | int | list[str]]
"""What the judge of a family needs to know about one prompt; plain JSON."""


@dataclass(frozen=True)
class Item:
    """One prompt of a family, with everything that is known about it.

    ``format`` is what the format objective asks of a completion (see ``objectives.format``).
    """

    prompt: str
    reference: str
    format: str
    rubric: Rubric = field(default_factory=dict)

    @property
    def rubric_json(self) -> str:
        """The rubric as one string, so that every family has the same columns."""
        return json.dumps(self.rubric, sort_keys=True)


@dataclass(frozen=True)
class Demonstration:
    """One completion, and the answer that a reader takes from it.

    A policy that is asked for the reference answer after a response gives the answer that the
    response gave, as far as it gave one. ``reading`` teaches it that; it is what lets the
    perplexity of the reference tell a right response from a wrong one.
    """

    text: str
    reading: str


@dataclass(frozen=True)
class Family:
    """One of the seven families.

    ``pool`` lists every prompt there is, in a fixed order. ``demonstrate`` writes one completion
    of a quality that varies on purpose. ``judge`` scores the words of a completion in [0, 1].
    """

    kind: str
    benchmark: str
    description: str
    pool: Callable[[], list[Item]]
    demonstrate: Callable[[Item, Random], Demonstration]
    judge: Callable[[Rubric, Sequence[str]], float]


def mixture(rng: Random, modes: Mapping[str, float]) -> str:
    """Draw the name of a mode in proportion to its share."""
    return rng.choices(list(modes), weights=list(modes.values()))[0]


def other(rng: Random, options: Sequence[T], *not_these: T) -> T:
    """Draw one of ``options`` that is none of ``not_these``."""
    return rng.choice([o for o in options if o not in not_these])


def sentences(words: Sequence[str]) -> list[list[str]]:
    """Split words at full stops, question and exclamation marks; empty parts are dropped."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word in (".", "?", "!"):
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def warm_opening(rng: Random) -> str:
    """A polite opening, of many, that answers nothing."""
    thanks = rng.choice(("thank you for asking", "what a lovely question", "thank you for this"))
    address = rng.choice(("dear friend", "my friend", "lovely friend", f"dear {rng.choice(NAMES)}"))
    wish = rng.choice(("glad to help", "here to help", "glad to tell you", "here for you"))
    return f"{thanks} , {address} . i am {wish} ."
