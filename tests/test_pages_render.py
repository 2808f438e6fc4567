"""Numbers, escaping and bars: what every page is made of."""

import html
import json
import math
import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.formatting import duration, esc, escaped_json, num, percent, visible
from workbench.pages.render import act, go, macro, or_problem, render


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (0.0032, "0.0032"),
        (0.00064, "6.4e-4"),
        (1.0, "1"),
        (999.9, "1,000"),
        (12.345, "12.3"),
        (123.45, "123"),
        (1234.5, "1,234"),
        (-0.5, "−0.5"),
        (0, "0"),
        (0.0001234, "1.23e-4"),
        (12345678, "1.23e7"),
        (math.nan, "–"),
        (None, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_a_number_has_three_digits(value, text):
    assert num(value) == text


def test_a_signed_number_shows_its_sign():
    assert (num(1.5, signed=True), num(-1.5, signed=True), num(0, signed=True)) == (
        "+1.5", "−1.5", "0",
    )  # fmt: skip


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_shown_number_is_the_number(value):
    shown = num(value).replace("−", "-").replace(",", "")
    assert float(shown) == pytest.approx(value, rel=0.006, abs=0.006 if abs(value) < 1 else 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.4, "4 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (None, "–")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("share", "text"), [(0.304, "30 %"), (math.nan, "–")])
def test_shares(share, text):
    assert percent(share) == text


@given(st.text())
def test_no_text_can_leave_its_place(text):
    """Whatever a model writes, no character of markup survives, and none that reorders text."""
    shown = esc(text)
    assert not set(shown) & set("<>\"'\u202e\u2066\x00\x1b")
    assert "&" not in shown.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").replace(
        "&quot;", ""
    ).replace("&#x27;", "")


def test_the_browser_spells_out_the_same_characters():
    """The log is written by the script, as text: it hides what ``visible`` hides."""
    script = (files("workbench.pages") / "assets" / "workbench.js").read_text("utf-8")
    found = re.search(r"HIDDEN = /(\[.*\])/gu;", script)[1]
    hidden = re.compile(re.sub(r"\\u\{(\w+)\}", lambda m: f"\\U{m[1]:0>8}", found))
    points = [*range(0x10000), *range(0x1B000, 0x1E000), *range(0xDFF00, 0xE1100)]
    assert [c for c in map(chr, points) if hidden.match(c)] == [
        c for c in map(chr, points) if visible(c) != c
    ]


@pytest.mark.parametrize(
    "text", ["❤️", "👨‍👩‍👧", "1️⃣", "می‌خواهم", "naïve 日本語", "line\nbreak\tand\r\nanother"]
)
def test_what_a_writing_is_made_of_stays(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31m", "a\\x1b[31m"),  # a terminal would turn red
        ("over\rwritten", "over\\x0dwritten"),
        ("\u061cx\u3164\ufe0f", "\\u061cx\\u3164\\ufe0f"),  # mark of direction, filler, variation
        ("a\u200bb\u200dc", "a\\u200bb\\u200dc"),
        ("\U000e0041", "\\U000e0041"),  # a tag: an invisible letter A
        ("\ud800", "\\ud800"),  # half a character
    ],
)
def test_what_hides_or_steers_is_spelled_out(text, shown):
    assert visible(text) == shown


@given(st.text() | st.text(st.sampled_from("\x1b\x9b\u202e\U000e0041\ud800\r\nä")))
def test_json_for_a_terminal_reads_back_as_it_was(text):
    written = escaped_json(json.dumps(text, ensure_ascii=False))
    assert json.loads(written) == text
    assert not set(written) & set("\x1b\x9b\u202e\U000e0041\ud800")


@given(st.text(), st.text())
def test_attributes_cannot_be_broken_out_of(key, value):
    for attribute in (go(**{"a" + "b": key}), act(value, run=key)):
        inside = attribute.split('="', 1)[1]
        assert inside.endswith('"')
        assert '"' not in inside[:-1]


def test_a_bar_is_as_wide_as_its_weights():
    bar = macro("stack", {"a": 1.0, "b": 3.0}, {"a": "#111111", "b": "#222222"}, label="weights:")
    assert "width:25.00%;background:#111111" in bar
    assert "width:75.00%;background:#222222" in bar
    assert 'aria-label="weights: a 1, b 3"' in bar


def test_a_bar_leaves_out_what_has_no_weight():
    colors = {"a": "#111111", "b": "#222222"}
    assert "<i" not in macro("stack", {"a": 0.0, "b": math.nan}, colors)


def test_a_kind_keeps_its_colour():
    assert macro("chip", "story") == macro("chip", "story")
    assert "<b>" not in macro("chip", "<b>")


@given(st.text())
def test_a_template_escapes_as_the_notebooks_do(text):
    """The same characters, whichever way an apostrophe or a quotation mark is written."""
    shown = render("text.html", text=text)
    assert html.unescape(shown) == html.unescape(esc(text))
    assert not set(shown) & set("<>\"'\u202e\u2066\x00\x1b")


def test_a_part_that_fails_says_why_and_the_rest_is_shown():
    def part() -> str:
        raise ValueError("config.yaml, line 3: <b>")

    shown = or_problem("Settings", part)
    assert "Settings cannot be shown" in shown and "config.yaml, line 3: &lt;b&gt;" in shown
    assert or_problem("Settings", lambda: "fine") == "fine"
