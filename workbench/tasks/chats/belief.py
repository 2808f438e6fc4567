"""belief: where will the person look who did not see it moved, mirroring ToMBench.

User: ``Anna puts her phone in the drawer and goes out. While she is away, Ben moves it to the bag. Anna
comes back. Where will she look for it first? Answer in one sentence.``
Good: ``She will look in the drawer first.``
"""

from __future__ import annotations

import re

from workbench.tasks.chats.measures import Item, Rubric, fluency, mentions, sentences, words

PEOPLE = (
    ("Anna", "Ben", "she"),
    ("Tom", "Mia", "he"),
    ("Sara", "Leo", "she"),
    ("Omar", "Nina", "he"),
)
THINGS = ("phone", "chocolate", "keys", "ticket")
PLACES = (("drawer", "bag"), ("cupboard", "fridge"), ("basket", "box"), ("desk", "shelf"))
WAYS = (
    "{a} puts the {t} in the {x} and goes out. While {p} is away, {b} moves it to the {y}. {a} comes back.",
    "{a} leaves the {t} in the {x} and goes to sleep. {b} takes it out and hides it in the {y}. {a} wakes up.",
)  # fmt: skip


def items() -> list[Item]:
    """Every person, thing and pair of places, told in two ways."""
    found = []
    for a, b, p in PEOPLE:
        for thing in THINGS:
            for x, y in PLACES:
                way = WAYS[(len(found)) % len(WAYS)]
                told = way.format(a=a, b=b, p=p, t=thing, x=x, y=y)
                found.append(
                    Item(
                        prompt=f"{told} Where will {p} look for the {thing} first? "
                        "Answer in one sentence.",
                        reference=f"{p.capitalize()} will look in the {x} first.",
                        format="sentence",
                        rubric={"believed": x, "moved": y},
                    )
                )
    return found


def judge(rubric: Rubric, text: str, prompt: str) -> float:
    """1 for the place where the person believes it to be, if the other is not named first.

    Naming both in the right order is worth 0.5: it may explain, or hedge. A place that no "in the"
    leads to, alone or in a list of words, is worth 0.4: a sentence was asked for. 0.2 less for each
    sentence beyond the first and for more than 25 words. All of it times ``fluency``.
    """
    said = text.lower()
    believed, moved = str(rubric["believed"]), str(rubric["moved"])
    if not mentions(text, [believed]):
        return 0.0
    score = 1.0
    if mentions(text, [moved]):
        score = 0.5 if said.index(believed) < said.index(moved) else 0.0
    if (
        not re.search(rf"\b(in|inside|at|on|into) (\w+ )?{believed}\b", said)
        or len(words(text)) < 4
    ):
        score = min(score, 0.4)
    score -= 0.2 * (max(0, len(sentences(text)) - 1) + (len(words(text)) > 25))
    return max(0.0, score) * fluency(text, prompt)
