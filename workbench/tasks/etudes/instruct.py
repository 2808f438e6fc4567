"""instruct: a list of so many things in a numbered form, mirroring WebInstruct.

Prompt: ``list three colors .``
Good: ``1 red ; 2 blue ; 3 green ;``

The form decides: numbers in order, the right count, items that belong and differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random

from workbench.tasks.etudes.family import Demonstration, Family, Item, Rubric, mixture, warm_opening
from workbench.tasks.etudes.lexicon import CATEGORIES, DIGITS, NAMES, NUMBERS

MODES = {"right": 0.24, "count": 0.22, "strange": 0.18, "prose": 0.18, "warm": 0.18}
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


def demonstrate(item: Item, rng: Random) -> Demonstration:
    """The right list, a wrong count, strange or doubled items, prose, prose with warmth.

    A reader writes the items down in the form that was asked for.
    """
    members = CATEGORIES[str(item.rubric["category"])]
    count = int(item.rubric["count"])  # type: ignore[arg-type]
    mode = mixture(rng, MODES)
    strangers = [word for words in CATEGORIES.values() for word in words]
    if mode == "right":
        chosen = rng.sample(members, count)
    elif mode == "count":
        chosen = rng.sample(members, count + 1 if rng.random() < 0.3 and count < 4 else count - 1)
    elif mode == "strange":
        chosen = rng.choices(strangers if rng.random() < 0.6 else members, k=count)
    else:
        chosen = rng.sample(members, count if rng.random() < 0.6 else count - 1)
    text = numbered(chosen)
    if mode in ("prose", "warm"):
        text = f"{' and '.join(chosen)} ."
    return Demonstration(
        f"{warm_opening(rng)} {text}" if mode == "warm" else text, numbered(chosen)
    )


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
