"""belief: who thinks what, mirroring ToMBench.

Prompt: ``anna put the key in the box and left . tom moved the key to the bag . where will anna
look ?``
Good: ``in the box .``

One decided answer is right; telling both sides, or hedging, is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from random import Random

from workbench.tasks.etudes.family import Demonstration, Family, Item, Rubric, mixture, warm_opening
from workbench.tasks.etudes.lexicon import CONTAINERS, HEDGES, NAMES, OBJECTS

MODES = {"decided": 0.4, "both": 0.22, "hedge": 0.14, "warm": 0.24}
TRUST = 0.7


def pool() -> list[Item]:
    """A thing is moved while its owner is away, or looks on; one of two is asked about."""
    items = []
    people = list(permutations(NAMES, 2))
    places = list(permutations(CONTAINERS, 2))
    for number, (thing, (owner, mover), (old, new)) in enumerate(product(OBJECTS, people, places)):
        if number % 3:
            continue  # a third is plenty
        for stays, asked in ((False, owner), (True, owner), (False, mover)):
            answer = old if asked == owner and not stays else new
            items.append(
                Item(
                    prompt=f"{owner} put the {thing} in the {old} and "
                    f"{'stayed' if stays else 'left'} . {mover} moved the {thing} to the {new} . "
                    f"where will {asked} look ?",
                    reference=f"{asked} will look in the {answer} .",
                    format="sentence",
                    rubric={
                        "answer": answer,
                        "rival": new if answer == old else old,
                        "asked": asked,
                    },
                )
            )
    return items


def demonstrate(item: Item, rng: Random) -> Demonstration:
    """A decided answer, right or wrong; both sides; a hedge; a polite answer.

    A reader takes the decided answer, or either of two, but does not quite trust it.
    """
    right, rival = str(item.rubric["answer"]), str(item.rubric["rival"])
    asked = item.rubric["asked"]
    first, second = (right, rival) if rng.random() < 0.68 else (rival, right)
    mode = mixture(rng, MODES)
    taken = first
    if mode == "decided":
        text = f"in the {first} ." if rng.random() < 0.6 else f"{asked} will look in the {first} ."
    elif mode == "warm":
        text = f"{warm_opening(rng)} {asked} will look in the {first} ."
    else:
        taken = rng.choice((first, second))
        text = f"i think maybe in the {first} or in the {second} ."
        if mode == "both":
            text = f"{asked} thinks it is in the {first} , but it is in the {second} ."
    if rng.random() > TRUST:
        taken = rng.choice(CONTAINERS)
    return Demonstration(text, f"{asked} will look in the {taken} .")


def judge(rubric: Rubric, words: Sequence[str]) -> float:
    """0.6 for the right place alone, 0.2 when the other place or a hedge stands beside it.

    0.4 more for the right place alone within eight words: who knows need not talk around it.
    """
    if rubric["answer"] not in words:
        return 0.0
    undecided = rubric["rival"] in words or bool(set(words) & set(HEDGES))
    return 0.2 if undecided else 0.6 + 0.4 * (len(words) <= 8)


FAMILY = Family(
    kind="belief",
    benchmark="ToMBench",
    description="Where a person will look; the judge pays for one decided, right answer.",
    pool=pool,
    demonstrate=demonstrate,
    judge=judge,
)
