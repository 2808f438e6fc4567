"""reason: a small calculation with its working, mirroring Natural Reasoning.

User: ``A bakery makes 12 loaves an hour for 5 hours and sells 48 of them. How many loaves are left?
Show your working, then end with "Answer:" and the number.``
Good: ``It makes 12 x 5 = 60 loaves. 60 - 48 = 12 are left. Answer: 12``
"""

from __future__ import annotations

import re

from workbench.tasks.chats.measures import Item, Rubric, copied, ramp, variety

END = ' Show your working, then end with "Answer:" and the number.'
SCENES = (
    (
        "A bakery makes {a} loaves an hour for {b} hours and sells {c} of them. How many loaves are left?",
        "loaves",
    ),
    (
        "A library buys {a} boxes with {b} books each and gives {c} books to a school. How many books does it keep?",
        "books",
    ),
    (
        "A farmer fills {a} crates with {b} apples each, and {c} apples turn out to be bad. How many good apples are there?",
        "apples",
    ),
    (
        "Lena saves {a} euros a week for {b} weeks and then spends {c} euros on a coat. How many euros does she have left?",
        "euros",
    ),
    (
        "A bus makes {a} trips with {b} passengers each; {c} of all the passengers travel free. How many pay?",
        "passengers",
    ),
    (
        "A printer needs {a} sheets for one booklet and prints {b} booklets; {c} sheets were already printed yesterday. How many sheets must it print today?",
        "sheets",
    ),
)
NUMBERS = (
    (12, 5, 48), (7, 9, 20), (15, 4, 33), (8, 11, 29), (6, 14, 25), (13, 6, 41),
    (9, 12, 57), (16, 3, 19), (11, 7, 38), (14, 8, 64), (18, 5, 27), (10, 13, 72),
)  # fmt: skip


def items() -> list[Item]:
    """Every scene with every triple of numbers: a · b − c."""
    found = []
    for scene, thing in SCENES:
        for a, b, c in NUMBERS:
            product, left = a * b, a * b - c
            found.append(
                Item(
                    prompt=scene.format(a=a, b=b, c=c) + END,
                    reference=f"First, {a} x {b} = {product} {thing}. Then {product} - {c} = {left}. "
                    f"Answer: {left}",
                    format=r"regex:.*[Aa]nswer:?\s*\$?-?\d[\d,.]*\D{0,20}",
                    rubric={"answer": left, "step": product, "given": [a, b, c]},
                )
            )
    return found


def numbers(text: str) -> list[int]:
    """Whole numbers of a text; ``1,200`` is one number."""
    return [int(n.replace(",", "")) for n in re.findall(r"\d+(?:,\d{3})*", text)]


def judge(rubric: Rubric, text: str, prompt: str) -> float:
    """0.6 for the right answer, 0.25 for the step before it, 0.15 for the asked ending.

    The answer is the first number behind the last ``answer``; without that word the last number of
    the text, for half as much. Nothing where more than ten different numbers are tried; less
    where the text repeats itself or the prompt.
    """
    found = numbers(text)
    if not found or len(set(found)) > 10:
        return 0.0
    lead, word, tail = text.lower().rpartition("answer")
    behind = numbers(tail) if word else []
    answer = behind[0] if behind else found[-1]
    right = answer == rubric["answer"]
    score = (0.6 if behind else 0.3) * right
    score += 0.25 * (rubric["step"] in (numbers(lead) if behind else found))
    score += 0.15 * (right and bool(re.search(r"answer\s*:\s*\D{0,3}\d", text.lower())))
    own = ramp(variety(text), 0.3, 0.7) * (1 - ramp(copied(text, prompt), 0.3, 0.8))
    return score * own
