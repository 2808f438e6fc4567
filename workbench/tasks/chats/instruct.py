"""instruct: a numbered list of exactly so many short entries, mirroring WebInstruct.

User: ``Give me exactly four things to pack for a hike in the rain. Write a numbered list, one entry a
line, at most eight words each, and nothing else.``
"""

from __future__ import annotations

import re

from workbench.tasks.chats.measures import Item, Rubric, variety, words

COUNTS = {3: "three", 4: "four", 5: "five", 6: "six"}
TOPICS: dict[str, str] = {
    "things to pack for a hike in the rain": "jacket raincoat coat boots shoes socks poncho umbrella "
    "hat bag cover map water food snack snacks towel torch flashlight whistle clothes pants kit knife",
    "ways to save electricity at home": "light lights lamp bulb bulbs led unplug off switch turn heater "
    "heating thermostat fridge freezer wash cold dry air insulation insulate windows solar standby kettle lid appliances devices charger",
    "questions to ask at a job interview": "what how who when why which can do does is are will",
    "vegetables that grow in cool weather": "kale spinach cabbage carrot carrots lettuce peas radish "
    "radishes broccoli cauliflower beet beets beetroot leek leeks turnip turnips chard onion onions garlic sprouts celery arugula parsnip parsnips",
    "steps to change the tyre of a bicycle": "wheel tyre tire tube pump brake lever levers remove inflate "
    "rim valve air axle chain quick release bolt nut tools patch hole puncture check bike bicycle",
    "habits that help with falling asleep": "bed sleep screen screens phone light dark coffee caffeine "
    "read reading book bath shower stretch breathe breathing quiet cool room time night evening alcohol exercise meditate tea music warm early",
    "things to check before buying a used car": "engine oil brake brakes tyre tyres tire tires mileage "
    "rust paint service history records title test drive battery lights price insurance papers accident interior seats leaks suspension transmission clutch steering body",
    "rules for a quiet reading room": "quiet silence silent talk talking phone phones food eat eating drink "
    "drinks whisper book books return shelf shelves noise music headphones door chairs respect clean voice laptop",
    "games for children on a long train journey": "i spy game cards card guess word words quiz draw drawing "
    "puzzle puzzles story stories twenty questions count counting name alphabet bingo memory riddles hangman charades tic paper",
    "ways to thank a neighbour": "card note letter cake cookies bake flowers plant gift invite dinner tea "
    "coffee help thank thanks offer wine chocolate chocolates visit bread smile babysit mow garden lunch favour favor",
    "safety tips for swimming in the sea": "swim swimming tide tides current currents rip flag flags "
    "lifeguard lifeguards alone shore sun sunscreen water depth weather waves wave alcohol friend buddy beach jellyfish tired cold children",
    "topics for a first meeting of a book club": "book books author authors reading genre genres favourite "
    "favorite character characters plot theme themes schedule rules meeting expectations discussion story novel ending time members list",
    "reasons to learn a second language": "travel job work brain memory culture cultures friends people "
    "speak talk communicate books films movies skill skills career family understand learn world opportunities confidence languages literature",
    "uses for an old glass jar": "store storage candle vase flowers pencils pens coins spices herbs sugar "
    "lantern light terrarium plant plants money jam drink drinks salad buttons sauce snacks seeds soap holder food keep",
    "ideas for a cheap birthday party": "picnic park cake games game potluck movie film music balloons "
    "balloon dance home garden craft crafts bake baking karaoke decorations decorate treasure hunt theme friends playlist board night barbecue beach",
}  # fmt: skip


def items() -> list[Item]:
    """Every topic with every count."""
    return [
        Item(
            prompt=f"Give me exactly {COUNTS[count]} {topic}. Write a numbered list, one entry a "
            "line, at most eight words each, and nothing else.",
            reference="\n".join(
                f"{i}. {word.capitalize()}" for i, word in enumerate(related.split()[:count], 1)
            ),
            format=f"list:{count}",
            rubric={"count": count, "related": related.split()},
        )
        for topic, related in TOPICS.items()
        for count in COUNTS
    ]


def judge(rubric: Rubric, text: str, prompt: str) -> float:
    """The share of good lines, for a list of the right length with nothing around it.

    A good line has its number in order, one to eight words, is unlike the lines before, and names
    something of the topic (a list of related words; half a point without). The count off by one
    costs 0.3, by more 0.6; each line without a number 0.2.
    """
    count = int(str(rubric["count"]))
    related = set(rubric["related"]) if isinstance(rubric["related"], list) else set()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    entries = [re.match(r"(\d+)\s*[.):]\s*(.+)", line) for line in lines]
    found = [entry for entry in entries if entry]
    if not found:
        return 0.0
    seen: set[tuple[str, ...]] = set()
    good = 0.0
    for place, entry in enumerate(found, 1):
        said = tuple(words(entry[2]))
        if int(entry[1]) == place and 1 <= len(said) <= 8 and said not in seen:
            good += 1.0 if related & set(said) else 0.5
        seen.add(said)
    off = abs(len(found) - count)
    score = good / max(count, len(found)) - (0.0 if off == 0 else 0.3 if off == 1 else 0.6)
    score -= 0.2 * (len(lines) - len(found))
    return max(0.0, score) * min(1.0, variety(" ".join(e[2] for e in found)) / 0.7)
