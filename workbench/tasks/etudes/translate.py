"""translate: a toy language word for word, mirroring OPUS-Books.

Prompt: ``translate : kiru suno dorme kokina .``
Good: ``the small cat sleeps in the kitchen .``

Nothing may be left out, nothing added; what matters is that every word agrees with the reference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product
from random import Random

from workbench.tasks.etudes.family import (
    Demonstration,
    Family,
    Item,
    Rubric,
    mixture,
    warm_opening,
)
from workbench.tasks.etudes.lexicon import TOY

MODES = {"whole": 0.34, "cut": 0.26, "copy": 0.12, "warm": 0.28}
SLIP, MISREAD = 0.2, 0.2
NOUNS = ("bamo", "kiru", "fepa", "gado", "voxi", "miri")
ADJECTIVES = ("suno", "antu", "ruda")
VERBS = ("dorme", "salta", "canta")
PLACES = ("kokina", "jarda", "celo")
ASKS = ("translate : {s} .", "translate this : {s} .")


def pool() -> list[Item]:
    """A person does something somewhere, or sees another; asked for in two ways."""
    lines = [
        *((n, a, v) for n, a, v in product(NOUNS, ADJECTIVES, VERBS)),
        *((n, a, v, p) for n, a, v, p in product(NOUNS, ADJECTIVES, VERBS, PLACES)),
        *((n, a, "vida", m) for n, a, m in product(NOUNS, ADJECTIVES, NOUNS) if n != m),
    ]
    return [
        Item(
            prompt=ask.format(s=" ".join(line)),
            reference=english([TOY[w] for w in line]),
            format="sentence",
            rubric={"source": list(line), "reference": english([TOY[w] for w in line])},
        )
        for line, ask in product(lines, ASKS)
    ]


def english(glosses: Sequence[str]) -> str:
    """The English sentence for the glosses of noun, adjective, verb and the rest."""
    noun, adjective, verb, *rest = glosses
    tail = "".join(f" the {w}" if verb == "sees" else f" in the {w}" for w in rest)
    return f"the {adjective} {noun} {verb}{tail} ."


def demonstrate(item: Item, rng: Random) -> Demonstration:
    """The whole sentence or half of it, with slips; the source again; both after a warm opening.

    A reader repeats the sentence, misreads a word now and then, and guesses what was left out.
    """
    source = [str(w) for w in item.rubric["source"]]  # type: ignore[union-attr]
    mode = mixture(rng, MODES)
    said = [gloss(word, i, rng, SLIP) for i, word in enumerate(source)]
    text, heard = english(said), set(range(len(said)))
    if mode == "copy":
        text, heard = f"{' '.join(source)} .", set()
    elif mode == "cut" or (mode == "warm" and rng.random() < 0.5):
        text, heard = f"the {said[0]} {said[2]} .", {0, 2}
    read = [
        w if i in heard and rng.random() > MISREAD else gloss(source[i], i, rng, 1.0)
        for i, w in enumerate(said)
    ]
    return Demonstration(f"{warm_opening(rng)} {text}" if mode == "warm" else text, english(read))


def gloss(word: str, position: int, rng: Random, slip: float) -> str:
    """The English word, or by a slip any word that could stand in its place."""
    groups = (NOUNS, ADJECTIVES, VERBS)
    group = groups[position] if position < 3 else PLACES if word in PLACES else NOUNS
    if word == "vida" or rng.random() >= slip:
        return TOY[word]
    return TOY[rng.choice(group)]


def judge(rubric: Rubric, words: Sequence[str]) -> float:
    """Mean of the F1 scores over single words and over pairs of neighbours, full stops left out."""
    reference = [w for w in str(rubric["reference"]).split() if w != "."]
    said = [w for w in words if w != "."]
    return (overlap(said, reference, 1) + overlap(said, reference, 2)) / 2


def overlap(said: Sequence[str], reference: Sequence[str], n: int) -> float:
    """F1 of the n-grams of two texts, each counted as often as it occurs."""
    grams = [
        Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
        for text in (said, reference)
    ]
    shared = sum((grams[0] & grams[1]).values())
    total = sum(grams[0].values()) + sum(grams[1].values())
    return 2 * shared / total if total else 0.0


FAMILY = Family(
    kind="translate",
    benchmark="OPUS-Books",
    description="A toy language into English; the judge pays for agreement with the reference.",
    pool=pool,
    demonstrate=demonstrate,
    judge=judge,
)
