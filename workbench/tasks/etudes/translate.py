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

from workbench.tasks.etudes.family import Family, Item, Rubric, mixture, other, warm_opening
from workbench.tasks.etudes.lexicon import TOY

MODES = {"whole": 0.36, "cut": 0.26, "copy": 0.12, "warm": 0.26}
NOUNS = ("bamo", "kiru", "fepa", "gado", "voxi", "miri")
ADJECTIVES = ("suno", "antu", "ruda")
VERBS = ("dorme", "salta", "canta")
PLACES = ("kokina", "jarda", "celo")
ASKS = ("translate : {s} .", "translate this : {s} .")


def pool() -> list[Item]:
    """Somebody does something, somewhere, or sees somebody; asked for in two ways."""
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


def demonstrate(item: Item, rng: Random) -> str:
    """The whole sentence or half of it, with slips; the source again; both after a warm opening."""
    source = [str(w) for w in item.rubric["source"]]  # type: ignore[union-attr]
    mode = mixture(rng, MODES)
    if mode == "copy":
        return f"{' '.join(source)} ."
    groups = (NOUNS, ADJECTIVES, VERBS)
    glosses = []
    for i, word in enumerate(source):
        group = groups[i] if i < 3 and word != "vida" else PLACES if word in PLACES else NOUNS
        slip = rng.random() < 0.22 and word != "vida"
        glosses.append(TOY[other(rng, group, word)] if slip else TOY[word])
    if mode == "cut" or (mode == "warm" and rng.random() < 0.5):
        noun, _, verb, *_ = glosses
        text = f"the {noun} {verb} ."
    else:
        text = english(glosses)
    return f"{warm_opening(rng)} {text}" if mode == "warm" else text


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
