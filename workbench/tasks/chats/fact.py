"""fact: one right word or number, and nothing else, mirroring GeneralThoughts.

User: ``What is the capital of Portugal? Answer with the name only.``
Good: ``Lisbon``
"""

from __future__ import annotations

from collections.abc import Iterable

from workbench.tasks.chats.measures import Item, Rubric, mentions, ramp, variety, words

CAPITALS = {
    "Portugal": "Lisbon", "Norway": "Oslo", "Greece": "Athens", "Austria": "Vienna",
    "Hungary": "Budapest", "Finland": "Helsinki", "Ireland": "Dublin", "Poland": "Warsaw",
    "Egypt": "Cairo", "Kenya": "Nairobi", "Japan": "Tokyo", "Thailand": "Bangkok",
    "Cuba": "Havana", "Peru": "Lima", "Chile": "Santiago", "Canada": "Ottawa",
    "Spain": "Madrid", "Italy": "Rome", "Sweden": "Stockholm", "Denmark": "Copenhagen",
}  # fmt: skip
ELEMENTS = {
    "gold": "Au", "silver": "Ag", "iron": "Fe", "sodium": "Na", "potassium": "K", "lead": "Pb",
    "tin": "Sn", "copper": "Cu", "mercury": "Hg", "helium": "He", "carbon": "C", "oxygen": "O",
}  # fmt: skip
COUNTS = {
    "How many legs does a spider have?": ("8", "eight"),
    "How many sides does a hexagon have?": ("6", "six"),
    "How many minutes are in two hours?": ("120", "one hundred and twenty"),
    "How many days does a leap year have?": ("366", "three hundred and sixty-six"),
    "How many strings does a violin have?": ("4", "four"),
    "How many planets orbit the Sun?": ("8", "eight"),
    "How many months have 30 days?": ("4", "four"),
    "How many letters are in the English alphabet?": ("26", "twenty-six"),
    "How many players does a football team have on the pitch?": ("11", "eleven"),
    "How many colours does a rainbow have?": ("7", "seven"),
    "How many cents are in a quarter of a dollar?": ("25", "twenty-five"),
    "How many hours are in three days?": ("72", "seventy-two"),
}
THINGS = {
    "Which planet is closest to the Sun?": "Mercury",
    "Which planet is the largest in the solar system?": "Jupiter",
    "Which ocean is the largest?": "Pacific",
    "Which river flows through London?": "Thames",
    "Which river flows through Paris?": "Seine",
    "Which metal is liquid at room temperature?": "Mercury",
    "Which animal is the tallest?": "Giraffe",
    "Which bird cannot fly and lives in the Antarctic?": "Penguin",
    "Which gas do plants take in from the air?": "Carbon dioxide",
    "Which language is spoken in Brazil?": "Portuguese",
    "Which country has the shape of a boot?": "Italy",
    "Which instrument has 88 keys?": "Piano",
    "Which season comes after winter?": "Spring",
    "Which organ pumps blood through the body?": "Heart",
    "Which day comes before Friday?": "Thursday",
    "Which continent is the largest?": "Asia",
}
ONLY = " Answer with the name only."


def items() -> list[Item]:
    """Capitals, symbols of elements, counts and things: 60 questions."""
    found = [
        _item(f"What is the capital of {c}?{ONLY}", (name,), CAPITALS.values())
        for c, name in CAPITALS.items()
    ]
    found += [
        _item(
            f"What is the chemical symbol of {name}? Answer with the symbol only.",
            (symbol,),
            ELEMENTS.values(),
        )
        for name, symbol in ELEMENTS.items()
    ]
    found += [
        _item(f"{question} Answer with the number only.", answers, ())
        for question, answers in COUNTS.items()
    ]
    found += [_item(f"{q}{ONLY}", (answer,), THINGS.values()) for q, answer in THINGS.items()]
    return found


def _item(prompt: str, answers: tuple[str, ...], pool: Iterable[str]) -> Item:
    return Item(
        prompt=prompt,
        reference=answers[0],
        format=r"regex:\s*[^\s.!?]+(\s[^\s.!?]+){0,4}\s*[.!]?\s*",
        rubric={"answers": list(answers), "others": sorted(set(pool) - set(answers))},
    )


def judge(rubric: Rubric, text: str, prompt: str) -> float:
    """1 for the right answer in five words or fewer, 0.6 in up to fifteen, 0.3 in more.

    Nothing where another answer of the same sort is named too, or where different numbers stand
    beside the right one: a list of guesses is no answer. A symbol of an element must have its capital
    letters right.
    """
    answers, others = list(rubric["answers"]), list(rubric["others"])  # type: ignore[call-overload]
    said = words(text)
    if len(answers[0]) <= 2 and not answers[0].isdigit():  # a symbol: "Au"
        tokens = text.replace(".", " ").replace(",", " ").replace("*", " ").split()
        right = answers[0] in tokens
        wrong = any(o in tokens for o in others)
    else:
        right = mentions(text, answers)
        wrong = mentions(text, others)
        if answers[0].isdigit():
            wrong = len({w for w in said if w.isdigit()} - {answers[0]}) > 0
    if not right or wrong:
        return 0.0
    short = 1.0 if len(said) <= 5 else 0.6 if len(said) <= 15 else 0.3
    return short * ramp(variety(text), 0.3, 0.7)
