"""reason: a conclusion from two or three facts, mirroring Natural Reasoning.

Prompt: ``the key is in the box . the box is in the barn . which room is the key in ?``
Good: ``the key is in the box and the box is in the barn , so the key is in the barn .``

Long is right here: the judge pays for working as well as for the conclusion. A polite opening or a
bare guess does not help.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from random import Random

from workbench.tasks.etudes.family import Family, Item, Rubric, mixture, other, warm_opening
from workbench.tasks.etudes.lexicon import ANIMALS, CONTAINERS, HEDGES, OBJECTS, ROOMS

MODES = {"working": 0.27, "slip": 0.13, "bare": 0.28, "hedge": 0.14, "warm": 0.18}


def pool() -> list[Item]:
    """Where something is (two facts, either order, or one more that is idle) and who wins."""
    items = []
    for thing, holder, room in product(OBJECTS, CONTAINERS, ROOMS):
        facts = [f"the {thing} is in the {holder} .", f"the {holder} is in the {room} ."]
        extra = OBJECTS[(OBJECTS.index(thing) + 1) % len(OBJECTS)]
        elsewhere = ROOMS[(ROOMS.index(room) + 2) % len(ROOMS)]
        distractor = f"the {extra} is in the {elsewhere} ."
        for told in (facts, facts[::-1], [distractor, *facts]):
            items.append(
                Item(
                    prompt=f"{' '.join(told)} which room is the {thing} in ?",
                    reference=f"so the {thing} is in the {room} .",
                    format="sentence",
                    rubric={
                        "answer": room,
                        "rivals": [r for r in ROOMS if r != room],
                        "working": [f"{thing} is in the {holder}", f"{holder} is in the {room}"],
                        "conclusion": f"the {thing} is in the",
                    },
                )
            )
    for (a, b, c), most in product(permutations(ANIMALS, 3), ("biggest", "smallest")):
        answer = a if most == "biggest" else c
        items.append(
            Item(
                prompt=f"the {a} is bigger than the {b} . the {b} is bigger than the {c} . "
                f"who is the {most} ?",
                reference=f"so the {answer} is the {most} .",
                format="sentence",
                rubric={
                    "answer": answer,
                    "rivals": [x for x in (a, b, c) if x != answer],
                    "working": [f"{a} is bigger than the {b}", f"{b} is bigger than the {c}"],
                    "conclusion": f"is the {most}",
                },
            )
        )
    return items


def demonstrate(item: Item, rng: Random) -> str:
    """Working with or without a slip at the end, a bare guess, a hedge, a polite guess."""
    rubric = item.rubric
    right, rivals = str(rubric["answer"]), list(rubric["rivals"])  # type: ignore[arg-type]
    spatial = right in ROOMS

    def conclude(answer: str) -> str:
        if spatial:
            return f"{rubric['conclusion']} {answer} ."
        return f"the {answer} {rubric['conclusion']} ."

    def guess(chance: float) -> str:
        return right if rng.random() < chance else rng.choice(rivals)

    mode = mixture(rng, MODES)
    if mode in ("working", "slip"):
        first, second = rubric["working"]  # type: ignore[misc]
        answer = right if mode == "working" else rng.choice(rivals)
        return f"the {first} and the {second} , so {conclude(answer)}"
    if mode == "bare":
        return conclude(guess(0.5))
    if mode == "hedge":
        a, b = guess(0.6), rng.choice(rivals)
        b = other(rng, [right, *rivals], a)
        return f"maybe in the {a} or in the {b} ." if spatial else f"maybe the {a} or the {b} ."
    return f"{warm_opening(rng)} {conclude(guess(0.4))}"


def judge(rubric: Rubric, words: Sequence[str]) -> float:
    """Half for the conclusion, a quarter for each premise that is stated.

    The conclusion is what follows the last ``so`` (everything, when there is none). It counts when
    it names the answer and no rival; with a hedge or a rival beside the answer it counts half.
    """
    text = " ".join(words)
    conclusion = words[len(words) - list(words)[::-1].index("so") :] if "so" in words else words
    score = 0.25 * sum(step in text for step in rubric["working"])  # type: ignore[union-attr]
    if rubric["answer"] in conclusion:
        open_ended = set(conclusion) & {*rubric["rivals"], *HEDGES}  # type: ignore[misc]
        score += 0.25 if open_ended else 0.5
    return float(score)


FAMILY = Family(
    kind="reason",
    benchmark="Natural Reasoning",
    description="A conclusion from two or three facts; the judge pays for working and conclusion.",
    pool=pool,
    demonstrate=demonstrate,
    judge=judge,
)
