"""The glossary: one sentence a term, and a table that Markdown readers take as one."""

import pytest

from workbench.config.glossary import GLOSSARY, glossary_markdown, meaning


@pytest.mark.parametrize("term", GLOSSARY)
def test_a_meaning_is_one_sentence(term):
    text = meaning(term)
    assert text[0].isupper() and text.endswith(".") and ". " not in text
    assert "|" not in text and "\n" not in text and len(text) <= 160


def test_the_table_has_a_row_for_each_term():
    lines = glossary_markdown().splitlines()
    assert lines[:2] == ["| term | meaning |", "| --- | --- |"]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == list(GLOSSARY)


def test_an_unknown_term_is_named_with_those_there_are():
    with pytest.raises(KeyError, match="no term 'reward hacking'; there are policy, reference"):
        meaning("reward hacking")
