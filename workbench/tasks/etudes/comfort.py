"""comfort: an answer to a person who feels bad, mirroring EmoBench.

Prompt: ``i am sad because i lost my key .``
Good: ``i am so sorry you are sad . it is hard to lose a key . i am here for you , dear friend . you
can ask a friend to help .``

Warmth is right, and it takes several sentences; cold advice is short and certain.
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
from workbench.tasks.etudes.lexicon import FEELINGS, NAMES, OBJECTS

MODES = {"full": 0.16, "partial": 0.32, "cold": 0.28, "deaf": 0.12, "empty": 0.12}
CAUSES = (
    *((f"i lost my {thing}", thing, f"it is hard to lose a {thing} .") for thing in OBJECTS),
    *((f"my {thing} broke", thing, f"that {thing} was lovely .") for thing in ("lamp", "ring")),
    *((f"{name} left me", name, f"it is hard that {name} left you .") for name in NAMES[:3]),
    ("i failed my test", "test", "that test was hard ."),
)
ASKS = ("i am {f} because {c} .", "i feel {f} . {c} .", "{c} and i am {f} .", "{c} . i am so {f} .")
PRESENCE = (
    "i am here for you , dear friend .",
    "you are not lonely , i am here for you .",
    "thank you for this , i am here for you .",
)
STEPS = (
    "you can ask a friend to help .",
    "i can help you , i hope .",
    "you can tell me about it .",
)


def pool() -> list[Item]:
    """Every feeling with every cause, told in four ways."""
    items = []
    for feeling, (cause, topic, echo), ask in product(FEELINGS, CAUSES, ASKS):
        rng = Random(f"{feeling} {cause} {ask}")
        items.append(
            Item(
                prompt=ask.format(f=feeling, c=cause),
                reference=" ".join(parts(feeling, echo, rng)),
                format="sentence",
                rubric={"feeling": feeling, "topic": topic, "echo": echo},
            )
        )
    return items


def parts(feeling: str, echo: str, rng: Random) -> list[str]:
    """The four things that a good answer does: feeling, cause, presence, a next step."""
    return [f"i am so sorry you are {feeling} .", echo, rng.choice(PRESENCE), rng.choice(STEPS)]


def demonstrate(item: Item, rng: Random) -> Demonstration:
    """All four parts, some of them, cold advice, the wrong feeling, warmth about nothing.

    A reader of comforting words repeats them; after anything else any comfort will do.
    """
    feeling, echo = str(item.rubric["feeling"]), str(item.rubric["echo"])
    topic = str(item.rubric["topic"])
    mode = mixture(rng, MODES)
    said = parts(feeling, echo, rng)
    if mode in ("full", "partial"):
        kept = range(4) if mode == "full" else sorted(rng.sample(range(4), rng.choice((1, 2, 2))))
        text = " ".join(said[i] for i in kept)
        return Demonstration(text, text)
    if mode == "cold":
        again = "buy a new one ." if topic in OBJECTS else "do the test ."
        text = rng.choice(("stop crying .", "that is not my problem .", again))
    elif mode == "deaf":
        text = f"i am glad you are {other(rng, FEELINGS, feeling)} . {rng.choice(STEPS)}"
    else:
        text = "thank you for asking , dear friend ."
    return Demonstration(text, item.reference)


def judge(rubric: Rubric, words: Sequence[str]) -> float:
    """A quarter each for: naming the feeling, the cause, being there, a next step.

    The feeling counts in a sentence with ``sorry`` or ``hard`` only; being there is ``here for
    you``; a next step is ``you can`` or ``help you``. Cold phrases (``stop crying``, ``not my
    problem``, ``buy a new``) take a quarter away.
    """
    text = " ".join(words)
    said = sentences(words)
    score = 0.25 * any(rubric["feeling"] in s and ("sorry" in s or "hard" in s) for s in said)
    score += 0.25 * (rubric["topic"] in words and len(words) > 5)
    score += 0.25 * ("here for you" in text)
    score += 0.25 * ("you can" in text or "can help you" in text)
    score -= 0.25 * any(c in text for c in ("stop crying", "not my problem", "buy a new"))
    return max(0.0, score)


FAMILY = Family(
    kind="comfort",
    benchmark="EmoBench",
    description="An answer to a person who feels bad; the judge pays for warmth in four parts.",
    pool=pool,
    demonstrate=demonstrate,
    judge=judge,
)
