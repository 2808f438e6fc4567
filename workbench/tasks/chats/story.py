"""story: a short tale with a given hero and a thing that must appear, mirroring SS-GEN.

User: ``Write a story of four to six sentences about a lighthouse keeper who is afraid of the dark. A
kite must appear in it.``
"""

from __future__ import annotations

from workbench.tasks.chats.measures import (
    FUNCTION_WORDS,
    Item,
    Rubric,
    fluency,
    mentions,
    ramp,
    sentences,
    words,
)

HEROES = (
    ("a lighthouse keeper who is afraid of the dark", "keeper", "The lighthouse keeper"),
    ("a baker who has lost her sense of taste", "baker", "The baker"),
    ("a postman who opens one wrong letter", "postman", "The postman"),
    ("two sisters who share one bicycle", "sisters", "The two sisters"),
    ("an old teacher on the last day of school", "teacher", "The old teacher"),
    ("a fox that wants to learn to read", "fox", "The fox"),
    ("a night nurse who hums the same song", "nurse", "The night nurse"),
    ("a boy who collects lost gloves", "boy", "The boy"),
    ("a clockmaker who is always late", "clockmaker", "The clockmaker"),
    ("a ferry captain in thick fog", "captain", "The ferry captain"),
)
THINGS = (
    "kite",
    "broken umbrella",
    "map",
    "jar of honey",
    "red scarf",
    "silver whistle",
    "lantern",
)


def items() -> list[Item]:
    """Every hero with every thing."""
    return [
        Item(
            prompt=f"Write a story of four to six sentences about {hero}. "
            f"A {thing} must appear in it.",
            reference=f"{name} found a {thing} beside the road one cold morning. It seemed worth "
            f"nothing, but it was hard to leave behind. By noon a storm came over the hill, and "
            f"the {thing} turned out to be the only help there was. When the sky cleared, "
            f"{name[0].lower() + name[1:]} went home with a smile.",
            format="story",
            rubric={"hero": word, "thing": thing},
        )
        for hero, word, name in HEROES
        for thing in THINGS
    ]


def judge(rubric: Rubric, text: str, prompt: str) -> float:
    """A fifth each for: the hero, the thing, four to six sentences, new words in each, an end.

    ``new words in each``: the mean share of content words of a sentence that no earlier sentence
    had, from 0.3 (nothing) to 0.7 (all). A count off by one or two gets half. The end is a mark that
    ends a sentence. All of it times ``fluency``; a text of fewer than 20 words gets half at most.
    """
    told = sentences(text)
    if not told:
        return 0.0
    seen: set[str] = set()
    fresh = []
    for sentence in told:
        content = {w for w in words(sentence) if w not in FUNCTION_WORDS}
        fresh.append(len(content - seen) / max(1, len(content)))
        seen |= content
    off = max(4 - len(told), len(told) - 6, 0)
    score = 0.2 * mentions(text, [str(rubric["hero"]), f"{rubric['hero']}s"])
    score += 0.2 * mentions(text, [str(rubric["thing"]), f"{rubric['thing']}s"])
    score += 0.2 if off == 0 else 0.1 if off <= 2 else 0.0
    score += 0.2 * ramp(sum(fresh) / len(fresh), 0.3, 0.7)
    score += 0.2 * text.rstrip(" \n\"'\u201d").endswith((".", "!", "?"))
    return score * fluency(text, prompt) * (1.0 if len(words(text)) >= 20 else 0.5)
