"""story: a short tale about a person in a place, mirroring SS-GEN.

Prompt: ``tell a story about a kind hen in the garden .``
Good: ``one day the kind hen found a golden key . she ran to the river . then she hid it under the
tree . the end .``

Length and variety are right here, repetition is not; nothing has to be certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random

from workbench.tasks.etudes.family import (
    Demonstration,
    Family,
    Item,
    Rubric,
    mixture,
    other,
    sentences,
)
from workbench.tasks.etudes.lexicon import (
    ANIMALS,
    CHARACTERS,
    OBJECTS,
    ROOMS,
    STORY_MOODS,
    STORY_MOVES,
    STORY_PLACES,
    STORY_VERBS,
)

MODES = {"rich": 0.18, "medium": 0.22, "dull": 0.28, "line": 0.18, "astray": 0.14}
OPENERS = ("one", "the", "she", "then", "it", "every", "a")
VERBS = {*STORY_VERBS, *STORY_MOVES, "was", "put"}


def pool() -> list[Item]:
    """Every character in every place, asked for in two ways."""
    items = []
    for character, animal, place in product(CHARACTERS, ANIMALS, ROOMS):
        rng = Random(f"{character} {animal} {place}")
        reference = tale(character, animal, rng, 4)
        rubric = {"subject": animal, "character": character}
        for ask in ("tell a story about", "write a story about"):
            items.append(
                Item(
                    prompt=f"{ask} a {character} {animal} in the {place} .",
                    reference=reference,
                    format="story",
                    rubric=rubric,
                )
            )
    return items


def event(rng: Random) -> str:
    """One varied sentence about what happened next."""
    mood, thing, place = rng.choice(STORY_MOODS), rng.choice(OBJECTS), rng.choice(STORY_PLACES)
    return rng.choice(
        (
            f"she {rng.choice(STORY_VERBS)} a {mood} {thing} .",
            f"then she {rng.choice(STORY_MOVES)} to the {place} .",
            f"the {place} was {mood} and {rng.choice(STORY_MOODS)} .",
            f"there she {rng.choice(STORY_VERBS)} the {mood} {rng.choice(ANIMALS)} .",
            f"then she {rng.choice(STORY_MOVES)} by the {place} .",
        )
    )


def tale(character: str, animal: str, rng: Random, events: int) -> str:
    """An opening, some varied events, an end."""
    mood, thing = rng.choice(STORY_MOODS), rng.choice(OBJECTS)
    opening = f"one day the {character} {animal} {rng.choice(STORY_VERBS)} a {mood} {thing} ."
    return " ".join([opening, *(event(rng) for _ in range(events)), "the end ."])


def demonstrate(item: Item, rng: Random) -> Demonstration:
    """Rich and short tales, one sentence told again and again, one line, another animal.

    Whoever has read a tale tells that tale again; after no tale at all any will do.
    """
    animal, character = str(item.rubric["subject"]), str(item.rubric["character"])
    mode = mixture(rng, MODES)
    if mode == "rich":
        text = tale(character, animal, rng, rng.choice((3, 4)))
        return Demonstration(text, text)
    if mode == "medium":
        text = tale(character, animal, rng, 1)
        return Demonstration(text, text)
    if mode == "dull":
        line = f"the {animal} {rng.choice(('sat', 'slept'))} ."
        return Demonstration(
            " ".join([line] * rng.choice((2, 3, 4)) + ["the end ."]), item.reference
        )
    if mode == "line":
        line = f"the {character} {animal} {rng.choice(STORY_MOVES)} ."
        return Demonstration(line, item.reference)
    text = tale(rng.choice(CHARACTERS), other(rng, ANIMALS, animal), rng, rng.choice((1, 2)))
    return Demonstration(text, text)


def judge(rubric: Rubric, words: Sequence[str]) -> float:
    """0.2 subject, 0.4 distinct events, 0.3 variety of words, 0.1 for a proper end.

    An event is a sentence of 3 to 12 words that begins as a sentence can and has a verb of the
    past; five different ones earn the whole 0.4. Variety grows with the number of different words
    in those events and is full at 25. Telling the same again earns nothing; neither do words that
    form no sentence.
    """
    told = sentences(words)
    events = {
        tuple(s)
        for s in told
        if 3 <= len(s) <= 12 and (s[0] in OPENERS or s[0] == "there") and set(s) & VERBS
    }
    vocabulary = {word for sentence in events for word in sentence}
    score = 0.2 * (rubric["subject"] in vocabulary)
    score += 0.4 * min(1.0, len(events) / 5) + 0.3 * min(1.0, len(vocabulary) / 25)
    score += 0.1 * (list(words[-3:]) == ["the", "end", "."])
    return float(score)


FAMILY = Family(
    kind="story",
    benchmark="SS-GEN",
    description="A tale with several different events; the judge pays for length and variety.",
    pool=pool,
    demonstrate=demonstrate,
    judge=judge,
)
