"""Which text a token wrote: words of the shipped policy, bytes of a byte-level one."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from workbench.pages.group_view import shaded_text
from workbench.pages.token_text import aligned, pieces
from workbench.tasks.etudes import POLICY_DIR


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return Tokenizer.from_file(str(POLICY_DIR / "tokenizer.json"))


@pytest.fixture(scope="module")
def letters() -> Tokenizer:
    """One token a byte, but "he" is one token: h-e, l, l, o, and é is two."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate([*alphabet, "he"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("h", "e")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_words_keep_their_spaces_and_the_end_token_writes_nothing(words):
    ids = [words.token_to_id(t) for t in ("the", "hen", "the", "<eos>")]
    assert pieces(words, ids) == ["the", " hen", " the", ""]


def test_a_character_of_two_tokens_belongs_to_the_second(letters):
    ids = letters.encode("hello é!").ids
    assert len(ids) == 8  # he l l o _ é(2) !
    assert pieces(letters, ids) == ["he", "l", "l", "o", " ", "", "é", "!"]


def test_the_entropy_of_an_unfinished_character_counts_for_the_whole_one(letters):
    ids = letters.encode("é!").ids
    assert aligned(letters, ids, [0.9, 0.2, 0.1], "é!") == [("é", 0.9), ("!", 0.1)]


def test_without_a_tokenizer_a_token_a_word_is_tried_and_then_nothing():
    assert aligned(None, [1, 2, 3], [0.1, 0.2, 0.3], "a b") == [("a", 0.1), (" b", 0.2)]
    assert aligned(None, [1, 2, 3, 4], [0.1] * 4, "a b") is None


def test_tokens_that_say_something_else_are_not_believed(words):
    """The ids are those of "the hen", the text is not: one token a word."""
    ids = [words.token_to_id(t) for t in ("the", "hen")]
    assert aligned(words, ids, [0.5, 0.6], "a cow") == [("a", 0.5), (" cow", 0.6)]


def test_shaded_text_is_the_text_and_markup_stays_text():
    shown = shaded_text("<b> x", [("<b>", 2.0), (" x", 0.5)])
    assert shown == (
        '<span class="wb-tok" style="--h:1.00" title="entropy 2 nats">&lt;b&gt;</span> '
        '<span class="wb-tok" style="--h:0.25" title="entropy 0.5 nats">x</span>'
    )
    assert shaded_text("<b>", None) == "&lt;b&gt;"
