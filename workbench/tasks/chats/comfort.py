"""comfort: an answer to a person who feels bad, mirroring EmoBench.

User: ``I failed my driving test this morning and I feel ashamed.``
Good: ``I'm so sorry about the test; that must feel awful. Many people fail the first time, and it says
little about how you will drive. Would it help to talk it through? You could book another lesson.``
"""

from __future__ import annotations

from workbench.tasks.chats.measures import Item, Rubric, fluency, mentions, sentences, words

CAUSES = (
    ("I failed my driving test this morning", ("test", "driving", "exam")),
    ("my best friend moved to another country", ("friend", "moved", "move")),
    ("my cat died last night", ("cat", "loss", "died", "pet")),
    ("I did not get the job that I wanted", ("job", "application", "interview")),
    ("my sister has not spoken to me for a month", ("sister", "spoken", "silence")),
    ("I forgot my mother's birthday", ("mother", "mom", "mum", "birthday")),
    ("my flat was broken into", ("flat", "broken", "home", "break-in", "apartment")),
    ("my boss shouted at me in front of everybody", ("boss", "shouted", "work", "colleagues")),
    ("I lost my grandmother's ring", ("ring", "grandmother")),
    ("I have to give a speech tomorrow", ("speech", "tomorrow", "audience")),
)
FEELINGS = ("ashamed", "lonely", "scared", "angry", "hopeless", "sad")
EMPATHY = (
    "sorry", "that must", "it must", "sounds", "i understand", "i can imagine", "it makes sense",
    "understandable", "it's okay", "it is okay", "it's normal", "you're not alone", "natural to",
    "i hear you", "that's hard", "that is hard", "tough", "difficult", "painful", "awful",
)  # fmt: skip
STEPS = (
    "you could", "you can", "you might", "maybe", "perhaps", "would it help", "try to", "try",
    "would you like", "do you want", "have you", "one idea", "consider", "it may help", "let's",
)  # fmt: skip
COLD = (
    "get over it", "your fault", "not my problem", "stop crying", "you should have", "don't be silly",
    "calm down", "who cares", "stop whining", "pull yourself together",
)  # fmt: skip


def items() -> list[Item]:
    """Every cause with every feeling."""
    return [
        Item(
            prompt=f"{cause[0].upper()}{cause[1:]} and I feel {feeling}.",
            reference=f"I'm so sorry that you feel {feeling}; with what happened ({about[0]}) that "
            "is easy to understand. You are not alone with it. Would it help to talk about it with "
            "a person you trust? You could start small today and be kind to yourself.",
            format="sentence",
            rubric={"feeling": feeling, "about": list(about)},
        )
        for cause, about in CAUSES
        for feeling in FEELINGS
    ]


def judge(rubric: Rubric, text: str, prompt: str) -> float:
    """A quarter each for: understanding, what happened, speaking to the person, a next step.

    Understanding is a phrase of ``EMPATHY`` in a whole sentence; what happened is a word of the cause
    in a sentence that is not copied from the prompt; speaking to the person is ``you`` in two
    sentences or more; a next step is a phrase of ``STEPS``. A cold phrase costs half. All of it times
    ``fluency``; fewer than 15 words get half at most.
    """
    told = [s for s in sentences(text) if len(words(s)) >= 4]
    if not told:
        return 0.0
    about = [str(word) for word in rubric["about"]]  # type: ignore[union-attr]
    score = 0.25 * any(mentions(s, EMPATHY) for s in told)
    score += 0.25 * any(mentions(s, about) for s in told)
    score += 0.25 * (sum(bool({"you", "your", "you're"} & set(words(s))) for s in told) >= 2)
    score += 0.25 * any(mentions(s, STEPS) for s in told)
    score -= 0.5 * mentions(text, COLD)
    return max(0.0, score) * fluency(text, prompt) * (1.0 if len(words(text)) >= 15 else 0.5)
