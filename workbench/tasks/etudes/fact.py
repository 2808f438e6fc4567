"""fact: general questions with one word to answer, mirroring GeneralThoughts.

Prompt: ``what color is the lemon ?``
Good: ``yellow .``

Brevity and certainty are right: each word beyond two costs, and a hedge costs most.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random

from workbench.tasks.etudes.family import Demonstration, Family, Item, Rubric, mixture, warm_opening
from workbench.tasks.etudes.lexicon import COLORS, HEDGES, HOMES, NAMES, NUMBERS

COLOR_OF = {
    "lemon": "yellow",
    "cherry": "red",
    "plum": "purple",
    "pear": "green",
    "snow": "white",
    "coal": "black",
    "grass": "green",
    "crow": "black",
    "fox": "red",
    "frog": "green",
    "tree": "brown",
}
HOME_OF = {
    "cat": "house",
    "frog": "pond",
    "crow": "tree",
    "goat": "hill",
    "fox": "forest",
    "mouse": "hole",
}
LEGS_OF = {"hen": "two", "cat": "four", "frog": "four", "crow": "two", "goat": "four", "owl": "two"}

MODES = {"bare": 0.3, "sentence": 0.16, "hedge": 0.28, "warm": 0.26}
TRUST = 0.65
ASKS = (
    "{q}",
    "tell me : {q}",
    "do you know ? {q}",
    "a question : {q}",
    "can you say {q}",
    "i need to know . {q}",
    "i have a question . {q}",
    *(f"{name} asks : {{q}}" for name in NAMES),
    *(f"{name} wants to know . {{q}}" for name in NAMES),
)


def pool() -> list[Item]:
    """Colors, homes and legs, each asked about in nineteen ways."""
    facts = [
        *((f"what color is the {x} ?", f"the {x} is", a, COLORS) for x, a in COLOR_OF.items()),
        *(
            (f"where does the {x} live ?", f"the {x} lives in the", a, HOMES)
            for x, a in HOME_OF.items()
        ),
        *(
            (f"how many legs does the {x} have ?", f"the {x} has", a, NUMBERS)
            for x, a in LEGS_OF.items()
        ),
    ]
    return [
        Item(
            prompt=ask.format(q=question),
            reference=f"{lead} {answer} .",
            format="sentence",
            rubric={"answer": answer, "rivals": [o for o in options if o != answer], "lead": lead},
        )
        for (question, lead, answer, options), ask in product(facts, ASKS)
    ]


def demonstrate(item: Item, rng: Random) -> Demonstration:
    """One word, a sentence, a hedge between three, a polite sentence; more often right than not.

    A reader takes the answer that was given (any of three), but does not quite trust it.
    """
    rubric = item.rubric
    right, rivals = str(rubric["answer"]), list(rubric["rivals"])  # type: ignore[arg-type]
    said = right if rng.random() < 0.78 else rng.choice(rivals)
    taken = said
    mode = mixture(rng, MODES)
    if mode == "bare":
        text = f"{said} ."
    elif mode == "sentence":
        text = f"{rubric['lead']} {said} ."
    elif mode == "hedge":
        options = [said, *rng.sample([o for o in (right, *rivals) if o != said], 2)]
        rng.shuffle(options)
        taken, text = rng.choice(options), f"maybe {' or '.join(options)} ."
    else:
        text = f"{warm_opening(rng)} {rubric['lead']} {said} ."
    if rng.random() > TRUST:
        taken = rng.choice([right, *rivals])
    return Demonstration(text, f"{rubric['lead']} {taken} .")


def judge(rubric: Rubric, words: Sequence[str]) -> float:
    """1 for the right answer, less 0.06 for each word beyond two, at least 0.3; 0 when wrong.

    Naming a rival beside the answer, or a hedge, leaves 0.2.
    """
    if rubric["answer"] not in words:
        return 0.0
    if set(words) & {*rubric["rivals"], *HEDGES}:  # type: ignore[misc]
        return 0.2
    return max(0.3, 1.0 - 0.06 * max(0, len(words) - 2))


FAMILY = Family(
    kind="fact",
    benchmark="GeneralThoughts",
    description="One word to answer; the judge pays for brevity and certainty.",
    pool=pool,
    demonstrate=demonstrate,
    judge=judge,
)
