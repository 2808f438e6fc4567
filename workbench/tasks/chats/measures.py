"""What the judges of the chats measure in a text: words, sentences, repetition, copying, prose.

All are pure functions of text. ``fluency`` is the factor that every judge applies, so that a text
that only looks right by one rule (empty, repeated, copied from the prompt, a list of keywords) is
paid little by all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Rubric = Mapping[str, str | int | Sequence[str] | Sequence[int]]
"""What the judge of a kind needs to know about one prompt; plain JSON."""

FUNCTION_WORDS = frozenset(
    "a an the this that these those i you he she it we they me him her us them my your his its our "
    "their is am are was were be been being do does did have has had will would can could may might "
    "must shall should not no and or but if so because as than then when while where who which what "
    "of in on at to from by for with about into over after before under between through up down out "
    "there here all some any each every more most very too just only also again still even how why "
    "don't it's i'm you're that's can't isn't wasn't didn't".split()
)


@dataclass(frozen=True)
class Item:
    """One prompt of a kind: the user's message, a reference answer, a form, and the rubric."""

    prompt: str
    reference: str
    format: str
    rubric: Rubric = field(default_factory=dict)


def words(text: str) -> list[str]:
    """Words in lower case, letters of all languages, apostrophes kept; typographic ones made plain."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("\u2019", "'"))


def sentences(text: str) -> list[str]:
    """Sentences of two words or more, told by their end marks and by line breaks."""
    parts = re.split(r"(?<=[.!?])[\"'\u201d)]*\s+|\n+", text)
    return [part.strip() for part in parts if len(words(part)) >= 2]


def mentions(text: str, phrases: Iterable[str]) -> bool:
    """Whether one of the phrases is in the text, whole words only, upper and lower case alike."""
    return any(re.search(rf"(?<!\w){re.escape(p.lower())}(?!\w)", text.lower()) for p in phrases)


def ngrams(items: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """Counts of the runs of ``n`` items."""
    return Counter(tuple(items[i : i + n]) for i in range(len(items) - n + 1))


def variety(text: str) -> float:
    """Share of different word pairs among all, in [0, 1]; 1 for fewer than four words.

    Distinct-2 of Li et al. 2016 (arXiv 1510.03055), of one text.
    """
    pairs = ngrams(words(text), 2)
    return len(pairs) / pairs.total() if pairs.total() >= 3 else 1.0


def copied(text: str, prompt: str) -> float:
    """Share of the text's runs of five words that are in the prompt too, in [0, 1]."""
    runs = ngrams(words(text), 5)
    there = ngrams(words(prompt), 5)
    return sum(n for run, n in runs.items() if run in there) / runs.total() if runs else 0.0


def prose(text: str) -> float:
    """How much a text is written in sentences: 1 from 25 % of function words on, 0 below 5 %.

    English prose has 40 to 55 %; a list of keywords has next to none. Texts of fewer than eight
    words are too short to tell and count as 1.
    """
    said = words(text)
    if len(said) < 8:
        return 1.0
    return ramp(sum(w in FUNCTION_WORDS for w in said) / len(said), 0.05, 0.25)


def ramp(value: float, low: float, high: float) -> float:
    """0 at ``low`` and below, 1 at ``high`` and above, linear in between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def fluency(text: str, prompt: str) -> float:
    """The factor in [0, 1] against repetition, copying the prompt and lists of keywords.

    The product of ``ramp(variety, 0.3, 0.7)``, ``1 - ramp(copied, 0.3, 0.8)`` and ``prose``.
    """
    return ramp(variety(text), 0.3, 0.7) * (1 - ramp(copied(text, prompt), 0.3, 0.8)) * prose(text)
