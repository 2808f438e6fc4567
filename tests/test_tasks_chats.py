"""Chats: prompts in real English, and judges that a person would agree with."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.tasks import chats
from workbench.tasks.chats.measures import copied, fluency, prose, sentences, variety, words
from workbench.tasks.chats.translate import chrf

TASK = chats.load()
EVERY = TASK.train + TASK.calibration + TASK.report
BY_KIND = {kind: next(e for e in EVERY if e.kind == kind) for kind in chats.KINDS}


def find(kind: str, part: str):
    return next(e for e in EVERY if e.kind == kind and part in e.prompt[0]["content"])


def test_there_are_sixty_prompts_of_each_kind_and_no_split_shares_one():
    counts = Counter(e.kind for e in EVERY)
    assert set(counts) == set(chats.KINDS) and min(counts.values()) >= 60
    assert len({e.prompt_id for e in EVERY}) == len(EVERY)
    for split in (TASK.train, TASK.calibration, TASK.report):
        assert {e.kind for e in split} == set(chats.KINDS)


def test_the_seed_orders_and_never_moves_a_prompt_between_splits():
    other = chats.load(seed=1)
    assert [e.prompt_id for e in other.train] != [e.prompt_id for e in TASK.train]
    assert {e.prompt_id for e in other.report} == {e.prompt_id for e in TASK.report}


@pytest.mark.parametrize("example", EVERY, ids=lambda e: e.prompt_id)
def test_references_are_good_and_gamed_answers_are_not(example):
    prompt, reference = example.prompt[0]["content"], example.reference
    assert chats.judge(example, reference) >= 0.95
    gamed = {
        "empty": "",
        "copied prompt": prompt,
        "one word": "yes",
        "repeated word": " ".join(words(reference)[:1] * 30),
        "repeated reference": f"{reference} " * 8,
        "keywords": ", ".join(sorted({w for w in words(prompt) if len(w) > 4})),
    }
    paid = {name: chats.judge(example, text) for name, text in gamed.items()}
    assert max(paid.values()) <= 0.4, paid


GRADED = [
    (
        "reason", "12 loaves an hour for 5 hours and sells 48",
        ["12 x 5 = 60 loaves. 60 - 48 = 12. Answer: 12", "I think it is 12.", "Answer: 60"],
    ),
    (
        "belief", "Anna puts the phone in the drawer",
        [
            "She will look in the drawer first.",
            "She looks in the drawer, because she does not know that it is in the bag now.",
            "She will look in the bag.",
        ],
    ),
    (
        "fact", "capital of Portugal",
        ["Lisbon", "The capital of Portugal is the city of Lisbon.", "Lisbon, Rome or Oslo"],
    ),
    (
        "translate", 'Translate into French: "The book is on the table."',
        ["Le livre est sur la table.", "Le livre est la.", "The book is on the table."],
    ),
    (
        "comfort", "I failed my driving test this morning and I feel ashamed",
        [
            "I'm so sorry about your test. That must be hard for you. You could book another "
            "lesson when you feel ready.",
            "I am sorry that you feel this way today, my friend, it will be fine.",
            "You should have practised more. Get over it.",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "part", "texts"), GRADED, ids=[g[0] for g in GRADED])
def test_better_answers_score_higher(kind, part, texts):
    example = find(kind, part)
    scores = [chats.judge(example, text) for text in texts]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == len(scores), scores


def test_a_story_is_paid_for_sentences_that_tell_something_new():
    example = find("story", "afraid of the dark. A kite")
    good = (
        "The lighthouse keeper hated the night. One evening a kite landed on her balcony. She tied "
        "a lamp to its tail and let it climb. For once the sky was brighter than her fear."
    )
    dull = "The keeper had a kite. The keeper had a kite. The keeper had a kite. The keeper slept."
    assert chats.judge(example, good) == pytest.approx(1.0)
    assert chats.judge(example, dull) < 0.5
    assert chats.judge(example, good.replace("kite", "bird")) == pytest.approx(0.8)


def test_a_list_is_paid_by_its_lines():
    """Three of four good lines and one too long: 3/4; one line too few: 3/4 - 0.3."""
    example = find("instruct", "exactly four things to pack for a hike in the rain")
    lines = ["1. Rain jacket", "2. Waterproof boots", "3. Dry socks", "4. A map in a bag"]
    assert chats.judge(example, "\n".join(lines)) == 1.0
    long = "3. socks and other dry clothes that you will need in the evening"
    assert chats.judge(example, "\n".join([*lines[:2], long, lines[3]])) == pytest.approx(0.75)
    assert chats.judge(example, "\n".join(lines[:3])) == pytest.approx(0.45)
    assert chats.judge(example, "Sure!\n" + "\n".join(lines)) == pytest.approx(0.8)


def test_measures_on_small_texts():
    assert words("It's naïve\u2014isn\u2019t it?") == ["it's", "naïve", "isn't", "it"]
    assert sentences('He left. "Why?" she asked!\nYes, now') == [
        "He left.",
        "she asked!",
        "Yes, now",
    ]
    assert variety("a b a b a") == 2 / 4  # pairs ab ba ab ba
    assert copied("one two three four five six", "one two three four five") == 1 / 2
    assert prose("the cat and the dog are in a house") == 1.0
    assert prose("cat dog house tree river stone cloud bird") == 0.0
    assert chrf("abc", "abc") == 1.0 and chrf("xyz", "abc") == 0.0
    # one letter of two is right: precision = recall = (1/2 + 0) / 2 = 1/4
    assert chrf("ax", "ab") == pytest.approx(1 / 4)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(BY_KIND)), st.text(max_size=300))
def test_any_text_gets_a_score_between_zero_and_one(kind, text):
    assert 0.0 <= chats.judge(BY_KIND[kind], text) <= 1.0
    assert 0.0 <= fluency(text, "a prompt of some words") <= 1.0
