"""instruct: a list of so many things in a numbered form, mirroring WebInstruct.

Prompt: ``list three colors .``
Good: ``1 red ; 2 blue ; 3 green ;``

The form decides: numbers in order, the right count, items that belong and differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random

from workbench.tasks.etudes.family import Family, Item, Rubric, mixture, warm_opening
from workbench.tasks.etudes.lexicon import CATEGORIES, DIGITS, NAMES, NUMBERS

MODES = {"right": 0.22, "count": 0.2, "strange": 0.16, "prose": 0.22, "warm": 0.2}
ASKS = (
    "list {n} {c} .",
    "write a list of {n} {c} .",
    "name {n} {c} in a list .",
    "give me a list of {n} {c} .",
    "i need a list of {n} {c} .",
    "can you list {n} {c} ?",
    "tell me {n} {c} in a list .",
    *(f"{name} wants a list of {{n}} {{c}} ." for name in NAMES),
    *(f"{name} asks you to list {{n}} {{c}} ." for name in NAMES),
)


def pool() -> list[Item]:
    """Every category, two to four items, asked for in nineteen ways."""
    items = []
    for (category, members), count, ask in product(CATEGORIES.items(), (2, 3, 4), ASKS):
        rng = Random(f"{category} {count} {ask}")
        items.append(
            Item(
                prompt=ask.format(n=NUMBERS[count - 1], c=category),
                reference=numbered(rng.sample(members, count)),
                format=f"list:{count}",
                rubric={"category": category, "count": count},
            )
        )
    return items


def numbered(items: Sequence[str]) -> str:
    """The form that is asked for: a digit, an item, a semicolon."""
    return " ".join(f"{DIGITS[i]} {item} ;" for i, item in enumerate(items))


def demonstrate(item: Item, rng: Random) -> str:
    """The right list, a wrong count, strange or doubled items, prose, prose with warmth."""
    members = CATEGORIES[str(item.rubric["category"])]
    count = int(item.rubric["count"])  # type: ignore[arg-type]
    mode = mixture(rng, MODES)
    if mode == "right":
        return numbered(rng.sample(members, count))
    if mode == "count":
        wrong = min(count + 1, 4) if rng.random() < 0.3 else max(count - 1, 1)
        return numbered(rng.sample(members, wrong))
    if mode == "strange":
        strangers = [w for words in CATEGORIES.values() for w in words]
        return numbered(
            [rng.choice(strangers if rng.random() < 0.6 else members)] * (count > 3)
            + rng.choices(strangers, k=count - (count > 3))
        )
    prose = " and ".join(rng.sample(members, count if rng.random() < 0.6 else count - 1))
    return f"{prose} ." if mode == "prose" else f"{warm_opening(rng)} {prose} ."


def judge(rubric: Rubric, words: Sequence[str]) -> float:
    """0.35 for the numbered form, 0.25 for the count, 0.4 for items that belong and differ.

    Form: the share of entries of exactly ``digit item ;`` with the digit in its place. Count: full
    when right, half when one off. Items: different members of the category, over the count asked
    for or the number of entries, whichever is larger. Prose has no entries: its items alone count,
    by half.
    """
    count = int(rubric["count"])  # type: ignore[arg-type]
    members = CATEGORIES[str(rubric["category"])]
    entries = entries_of(words)
    if not entries:
        named = {w for w in words if w in members}
        return 0.2 * min(len(named), count) / count
    formed = [e for i, e in enumerate(entries) if len(e) == 2 and e[0] == DIGITS[min(i, 3)]]
    belong = {e[1] for e in formed if e[1] in members}
    off = abs(len(entries) - count)
    score = 0.35 * len(formed) / len(entries) + 0.25 * (1.0 if off == 0 else 0.5 * (off == 1))
    return score + 0.4 * len(belong) / max(count, len(entries))


def entries_of(words: Sequence[str]) -> list[list[str]]:
    """What stands before each semicolon, when the first word is a digit; a rest is an entry too."""
    if not words or words[0] not in DIGITS:
        return []
    entries: list[list[str]] = [[]]
    for word in words:
        if word == ";":
            entries.append([])
        else:
            entries[-1].append(word)
    return [entry for entry in entries if entry]


FAMILY = Family(
    kind="instruct",
    benchmark="WebInstruct",
    description="A numbered list of so many things; the judge pays for form, count and items.",
    pool=pool,
    demonstrate=demonstrate,
    judge=judge,
)
