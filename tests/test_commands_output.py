"""What commands print: text that no terminal obeys, aligned tables, values that are whole."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest

from workbench.__main__ import main
from workbench.commands.base import emit, print_json, print_table, shown
from workbench.commands.store import print_csv

EVIL = "\x1b]0;title\x07a\u202eb\U000e0041\ud800"
STEERS = set("\x1b\x07\u202e\U000e0041\ud800")


def test_a_table_is_aligned_by_columns_of_the_terminal(capsys):
    print_table([("a", 1, 0.5), ("日本", 20, None)], ["name", "n", "share"])
    # letters of Japanese take two columns each; a number that is missing leaves its cell empty
    assert capsys.readouterr().out == "name   n  share\na      1    0.5\n日本  20\n"


def test_a_long_text_is_cut_and_a_long_header_is_not(capsys):
    print_table([("x" * 100,)], ["a header that is longer than that"], width=10)
    assert capsys.readouterr().out.splitlines() == [
        "a header that is longer than that",
        "x" * 32 + "…",
    ]


@pytest.mark.parametrize("printed", [emit, print_json, lambda v: print_table([(v,)], [v])])
def test_nothing_steers_the_terminal(printed, capsys):
    printed(EVIL)
    assert not set(capsys.readouterr().out) & STEERS


def test_json_keeps_every_value(capsys):
    value = {"text": EVIL, "rows": np.array([1.5, np.nan, np.inf]), "at": pd.NaT, "no": None}
    print_json(value)
    assert json.loads(capsys.readouterr().out) == {
        "text": EVIL, "rows": [1.5, None, "inf"], "at": None, "no": None,
    }  # fmt: skip


def test_csv_keeps_every_value_and_runs_no_formula(capsys):
    frame = pd.DataFrame(
        {"=cmd": ["=1+1", "plain", "'quoted"], "x": [0.1 + 0.2, float("nan"), 2.0],
         "list": [[1, 2], None, {"k": 1.5}]}
    )  # fmt: skip
    print_csv(frame)
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows == [
        ["'=cmd", "x", "list"],
        ["'=1+1", "0.30000000000000004", "[1, 2]"],
        ["plain", "", ""],
        ["''quoted", "2.0", '{"k": 1.5}'],
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0032, "0.0032"), (-1.5, "-1.5"), (12345.6, "12,346"), (True, "yes"), (None, ""),
     ({"a": 0.25}, "a 0.25"), ("two\nlines", "two lines")],
)  # fmt: skip
def test_a_cell(value, text):
    assert shown(value) == text


def test_an_error_names_a_hostile_word_without_obeying_it(capsys, tmp_path):
    assert main(["show", "\x1b[31mred", "--runs-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("workbench show: no run '\\x1b[31mred'")
