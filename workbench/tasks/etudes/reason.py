"""reason: a conclusion from two or three facts, mirroring Natural Reasoning.

Prompt: ``the key is in the box . the box is in the barn . where is the key ?``
Good: ``the key is in the box , the box is in the barn , so the key is in the barn .``

Long is right here: the judge pays for working as well as for the conclusion. A polite opening or a
bare guess does not help. The reference states the conclusion alone, as NOVER has it.
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
    warm_opening,
)
from workbench.tasks.etudes.lexicon import CONTAINERS, HEDGES, OBJECTS, ROOMS

MODES = {"working": 0.3, "slip": 0.12, "bare": 0.28, "hedge": 0.12, "warm": 0.18}
ASKS = ("where is the {x} ?", "which room is the {x} in ?")


def pool() -> list[Item]:
    """Something in something in a room: two facts in either order, or one more that is idle."""
    items = []
    for thing, holder, room, ask in product(OBJECTS, CONTAINERS, ROOMS, ASKS):
        first, second = f"the {thing} is in the {holder}", f"the {holder} is in the {room}"
        idle = OBJECTS[(OBJECTS.index(thing) + 1) % len(OBJECTS)]
        elsewhere = ROOMS[(ROOMS.index(room) + 2) % len(ROOMS)]
        third = f"the {idle} is in the {elsewhere}"
        for told in ((first, second), (second, first), (third, first, second)):
            items.append(
                Item(
                    prompt=f"{' . '.join(told)} . {ask.format(x=thing)}",
                    reference=f"so the {thing} is in the {room} .",
                    format="steps",
                    rubric={"answer": room, "thing": thing, "working": [first, second]},
                )
            )
    return items


def demonstrate(item: Item, rng: Random) -> Demonstration:
    """Working with or without a slip at the end, a bare guess, a hedge, a polite guess.

    A reader believes what was worked out, and a guess half of the time.
    """
    right, thing = str(item.rubric["answer"]), item.rubric["thing"]
    said = right if rng.random() < 0.5 else other(rng, ROOMS, right)
    mode = mixture(rng, MODES)
    if mode == "working":
        said = right
    elif mode == "slip":
        said = other(rng, ROOMS, right)
    conclusion = f"the {thing} is in the {said} ."
    believed = said if rng.random() < 0.5 else rng.choice(ROOMS)
    if mode in ("working", "slip"):
        first, second = item.rubric["working"]  # type: ignore[misc]
        text, believed = f"{first} , {second} , so {conclusion}", said
    elif mode == "bare":
        text = conclusion
    elif mode == "hedge":
        text = f"maybe in the {said} or in the {other(rng, ROOMS, said)} ."
    else:
        text = f"{warm_opening(rng)} {conclusion}"
    return Demonstration(text, f"so the {thing} is in the {believed} .")


def judge(rubric: Rubric, words: Sequence[str]) -> float:
    """Half for the conclusion, a quarter for each premise that is stated.

    The conclusion is what follows the last ``so`` (everything, when there is none). It counts when
    it names the room and no other; with a hedge or another room beside it it counts half.
    """
    text = " ".join(words)
    conclusion = words[len(words) - list(words)[::-1].index("so") :] if "so" in words else words
    score = 0.25 * sum(step in text for step in rubric["working"])  # type: ignore[union-attr]
    if rubric["answer"] in conclusion:
        rivals = {room for room in ROOMS if room != rubric["answer"]}
        score += 0.25 if set(conclusion) & {*rivals, *HEDGES} else 0.5
    return float(score)


FAMILY = Family(
    kind="reason",
    benchmark="Natural Reasoning",
    description="A conclusion from two or three facts; the judge pays for working and conclusion.",
    pool=pool,
    demonstrate=demonstrate,
    judge=judge,
)
