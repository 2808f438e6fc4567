"""Rows that cannot teach: every rule, counted, with the action it took."""

import math

import numpy as np
import pytest
from offline_rows_tiny import frame

from workbench.config.offline import RulesConfig
from workbench.train import offline_rules as rules
from workbench.train.offline_rows import RowsError

DEFAULT = RulesConfig()


def codes(findings):
    return {f.code: (f.rows, f.prompts, f.action) for f in findings}


def test_rows_without_reward_prompt_or_response_are_dropped_and_counted():
    rows = frame(
        ("a", "x", 1.0),
        ("a", "y", math.nan),
        ("b", "z", math.inf),
        ("b", "   ", 0.5),
        ("", "z", 0.5),
        ("b", "z", 0.0),
    )
    kept, findings = rules.clean(rows, DEFAULT)
    assert list(kept["response"]) == ["x", "z"]
    assert codes(findings) == {
        "missing_reward": (2, 2, "dropped"),
        "missing_prompt": (1, 1, "dropped"),
        "empty_response": (1, 1, "dropped"),
    }
    assert rules.counts(findings, 6, 2) == {
        "rows/total": 6,
        "rows/kept": 2,
        "rows/missing_reward": 2,
        "rows/missing_prompt": 1,
        "rows/empty_response": 1,
    }


def test_an_empty_response_can_be_kept():
    kept, findings = rules.clean(frame(("a", "", 1.0)), RulesConfig(empty_response="keep"))
    assert len(kept) == 1
    assert codes(findings) == {"empty_response": (1, 1, "kept")}


@pytest.mark.parametrize(
    ("field", "row"),
    [("missing_reward", ("a", "x", math.nan)), ("empty_response", ("a", "", 1.0))],
)
def test_refuse_names_rule_row_and_what_is_allowed(field, row):
    with pytest.raises(RowsError, match=rf"offline\.rules\.{field}: 1 rows.*'a' of test.*'drop'"):
        rules.clean(frame(("b", "y", 0.0), row), RulesConfig(**{field: "refuse"}))


def tokens(*lengths):
    rows = frame(*((f"p{i}", "r", float(i)) for i in range(len(lengths))))
    rows["prompt_ids"] = [list(range(p)) for p, _ in lengths]
    rows["response_ids"] = [list(range(r)) for _, r in lengths]
    return rows


def test_rows_longer_than_the_context():
    rows = tokens((3, 5), (3, 6), (8, 1), (7, 1))
    kept, findings = rules.fit(rows, DEFAULT, 8, joint=True)
    assert list(kept["prompt_id"]) == ["p0", "p3"]
    assert codes(findings) == {
        "prompt_too_long": (1, 1, "dropped"),
        "too_long": (1, 1, "dropped"),
    }
    kept, findings = rules.fit(rows, RulesConfig(too_long="truncate"), 8, joint=True)
    assert [len(ids) for ids in kept["response_ids"]] == [5, 5, 1]
    assert list(kept["truncated"]) == [False, True, False]
    assert codes(findings)["too_long"] == (1, 1, "cut")
    with pytest.raises(RowsError, match="too_long"):
        rules.fit(rows, RulesConfig(too_long="refuse"), 8, joint=True)


def test_an_encoder_decoder_has_one_context_for_each_side():
    kept, findings = rules.fit(tokens((8, 8), (9, 1), (1, 9)), DEFAULT, 8, joint=False)
    assert list(kept["prompt_id"]) == ["p0"]
    assert set(codes(findings)) == {"prompt_too_long", "too_long"}


def test_no_limit_leaves_all_rows():
    kept, findings = rules.fit(tokens((99, 99)), DEFAULT, None, joint=True)
    assert len(kept) == 1 and not findings


GROUPS = (
    ("one", "x", 1.0),
    ("flat", "x", 0.3),
    ("flat", "y", 0.1 + 0.2),  # 0.30000000000000004: float noise is no difference
    ("fine", "x", 0.0),
    ("fine", "y", 1.0),
    ("fine", "y", 1.0),
)


def test_single_rows_constant_rewards_and_duplicates_are_told():
    kept, findings = rules.group(frame(*GROUPS), DEFAULT, "rpo")
    assert len(kept) == 6
    assert codes(findings) == {
        "single_row": (1, 1, "kept"),
        "constant_rewards": (2, 1, "kept"),
        "duplicates": (1, 1, "kept"),
    }
    assert "pure pull to the reference" in str(findings[0])


def test_single_rows_and_constant_rewards_can_be_dropped_or_refused():
    dropping = RulesConfig(single_row="drop", constant_rewards="drop")
    kept, _ = rules.group(frame(*GROUPS), dropping, "rpo")
    assert set(kept["prompt"]) == {"fine"}
    for field in ("single_row", "constant_rewards"):
        with pytest.raises(RowsError, match=rf"offline\.rules\.{field}"):
            rules.group(frame(*GROUPS), RulesConfig(**{field: "refuse"}), "rpo")


@pytest.mark.parametrize("method", ["rpo", "dro", "kto"])
def test_rewards_that_are_all_the_same_are_refused(method):
    rows = frame(("a", "x", 0.7), ("a", "y", 0.7), ("b", "x", 0.7))
    with pytest.raises(RowsError, match="all 3 rewards are 0.7"):
        rules.group(rows, DEFAULT, method)


def test_sft_on_all_rows_needs_no_rewards_that_differ():
    kept, _ = rules.group(frame(("a", "x", 1.0), ("a", "y", 1.0)), DEFAULT, "sft")
    assert len(kept) == 2


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        ((("a", "x", 1.0), ("b", "x", 0.0)), "single_row"),
        ((("a", "x", 1.0), ("a", "y", 1.0), ("b", "x", 0.0), ("b", "y", 0.0)), "constant_rewards"),
    ],
)
def test_nothing_left_is_refused_with_the_rule_that_took_it(rows, field):
    with pytest.raises(RowsError, match=field):
        rules.group(frame(*rows), RulesConfig(**{field: "drop"}), "rpo")


def test_no_rows_at_all():
    with pytest.raises(RowsError, match="no row is left"):
        rules.group(frame(("a", "x", 1.0)).iloc[:0], DEFAULT, "rpo")


def test_prompts_may_be_messages():
    chat = [{"role": "user", "content": "hi"}]
    rows = frame(("a", "x", 1.0), ("a", "y", 0.0))
    rows["prompt"] = [chat, chat]
    kept, findings = rules.group(rows, DEFAULT, "rpo")
    assert len(kept) == 2 and not findings
    assert np.isfinite(kept["reward"]).all()
