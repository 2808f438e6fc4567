"""The closed vocabulary of the etudes: word that a prompt, a reference or a model can use.

Words are grouped by what they stand for; the families draw from these groups, the judge reads them
back. The whole vocabulary is the union, in the order given here, so that token ids are stable.
"""

from __future__ import annotations

NAMES = ("anna", "tom", "mia", "sam", "lily", "ben")
ROOMS = ("kitchen", "garden", "hall", "cellar", "attic", "barn")
CONTAINERS = ("box", "bag", "basket", "drawer")
OBJECTS = ("key", "coin", "letter", "ring", "lamp", "book")
ANIMALS = ("hen", "cat", "frog", "crow", "goat", "fox", "owl", "mouse")
FRUITS = ("lemon", "cherry", "plum", "pear")
COLORS = ("red", "blue", "green", "yellow", "white", "black", "brown", "purple")
TOOLS = ("hammer", "saw", "rope", "spade")
CHARACTERS = ("kind", "brave", "old", "clever", "shy", "small")
FEELINGS = ("sad", "angry", "scared", "lonely", "tired", "worried")
HOMES = ("tree", "pond", "hill", "forest", "house", "hole")
NUMBERS = ("one", "two", "three", "four")
DIGITS = ("1", "2", "3", "4")

CATEGORIES: dict[str, tuple[str, ...]] = {
    "colors": COLORS,
    "animals": ANIMALS,
    "fruits": FRUITS,
    "tools": TOOLS,
    "rooms": ROOMS,
    "names": NAMES,
    "feelings": FEELINGS,
}
"""What a list can be asked for, with the items that count as right."""

TOY: dict[str, str] = {
    "bamo": "hen",
    "kiru": "cat",
    "fepa": "frog",
    "gado": "goat",
    "voxi": "fox",
    "miri": "mouse",
    "suno": "small",
    "antu": "old",
    "ruda": "red",
    "dorme": "sleeps",
    "salta": "jumps",
    "canta": "sings",
    "vida": "sees",
    "kokina": "kitchen",
    "jarda": "garden",
    "celo": "cellar",
}
"""The toy language of the translations, word for word."""

PUNCTUATION = (".", ",", "?", ":", ";")

STORY_VERBS = ("found", "saw", "lost", "loved", "hid")
STORY_MOVES = ("ran", "walked", "jumped", "slept", "sat")
STORY_PLACES = ("river", *HOMES)
STORY_MOODS = ("golden", "quiet", "bright", "warm", "happy", "strange")

WARM = ("thank", "dear", "friend", "lovely", "glad", "sorry", "hope", "help")
"""Words of politeness and warmth."""

HEDGES = ("maybe", "or", "think")
"""Words that leave an answer open."""

GLUE = tuple(
    """
    the a is are was in of to and so but because i you she it my me am for not what where
    which how many does has have legs live lives color room put left stayed moved will look
    thinks tell story about list name write wants give asks say asking question can know do
    need here feel translate answer one day then end there lose hard new buy that problem test
    failed ask broke stop crying this snow coal grass by
    """.split()
)
"""What holds the sentences together."""

VOCABULARY: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            *PUNCTUATION,
            *DIGITS,
            *NUMBERS,
            *GLUE,
            *WARM,
            *HEDGES,
            *NAMES,
            *ROOMS,
            *CONTAINERS,
            *OBJECTS,
            *ANIMALS,
            *FRUITS,
            *COLORS,
            *TOOLS,
            *CHARACTERS,
            *FEELINGS,
            *HOMES,
            *CATEGORIES,
            *TOY,
            *TOY.values(),
            *STORY_VERBS,
            *STORY_MOVES,
            *STORY_PLACES,
            *STORY_MOODS,
        )
    )
)
"""Every word, without doubles, in a fixed order."""
