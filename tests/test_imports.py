"""Rows that other trainers wrote become runs like any other, however little they say."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from workbench.api.workbench import Workbench
from workbench.runs.imports import rollout_tables
from workbench.store.errors import StoreError


@pytest.fixture
def wb(tmp_path):
    return Workbench(tmp_path / "runs")


def read(path, rewards=None):
    """The rows that an import would store, without a store."""
    ((table, said),) = rollout_tables(path, rewards)
    return pd.DataFrame(table.to_pylist(maps_as_pydicts="strict")), said


def rows_file(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def trl(folder, name="completions_00001.parquet", **columns):
    """A completion table as TRL writes it: two prompts, two completions each."""
    folder.mkdir(parents=True, exist_ok=True)
    base = {"step": [1] * 4, "prompt": ["p", "p", "q", "q"], "completion": list("abcd")}
    frame = pd.DataFrame({**base, **columns})
    frame.to_parquet(folder / name)
    return folder


ONE = {"correct": [1.0, 0.0, 1.0, 0.0], "advantage": [1.0, -1.0, 1.0, -1.0]}


@pytest.mark.parametrize(
    ("columns", "rewards"),
    [
        (ONE, ["correct"]),
        # the user's own columns stand between the rewards and the advantage
        ({"correct": ONE["correct"], "latency": [0.1, None, 0.3, 0.2], "confidence": [0.5] * 4,
          "gold": list("wxyz"), "advantage": ONE["advantage"]}, ["correct"]),
        # two rewards weighted 1 and 2, divided by their deviation:
        # 1*[1,0,.5,0] + 2*[0,1,.5,0] = [1,2,1.5,0]; centred -.5,.5 and .75,-.75
        ({"a": [1.0, 0.0, 0.5, 0.0], "b": [0.0, 1.0, 0.5, 0.0], "note": [3.0, 1.0, 2.0, 5.0],
          "advantage": [-0.7, 0.7, 0.7, -0.7]}, ["a", "b"]),
        # a constant reward explains nothing, but its name says what it is
        ({"ok_reward": ONE["correct"], "format_reward": [1.0] * 4, "x": [9.0, 8.0, 9.5, 7.0],
          "advantage": ONE["advantage"]}, ["ok_reward", "format_reward"]),
        # no advantage (older tables): the names tell
        ({"length_reward": [0.5] * 4, "seconds": [1.0] * 4}, ["length_reward"]),
        # older still: one sum beside its parts
        ({"reward": [1.5, 0.0, 1.0, 0.5], "a": [1.0, 0.0, 1.0, 0.0], "b": [0.5, 0.0, 0.0, 0.5]},
         ["a", "b"]),
        ({"reward": [1.0, 0.0, 1.0, 0.0]}, ["reward"]),
        # rewards that are called like columns of ours
        ({"judge": ONE["correct"], "advantage": ONE["advantage"]}, ["judge"]),
        ({"kind": ONE["correct"], "advantage": ONE["advantage"]}, ["kind"]),
    ],
)  # fmt: skip
def test_rewards_of_a_trl_table_are_told_from_what_stands_beside(tmp_path, columns, rewards):
    rows, said = read(trl(tmp_path / "t", **columns))
    assert list(rows.rewards[0]) == rewards
    assert rows.weights[0] == dict.fromkeys(rewards, 1 / len(rewards))
    assert rows.kind.tolist() == ["default"] * 4 and rows.judge.isna().all()
    left = set(columns) - set(rewards) - {"advantage", "reward"}
    assert all(name in (said or "") for name in left)


def test_rewards_can_be_named_and_a_trainers_log_names_them(tmp_path):
    more = {"a": [0.0, 0.0, 0.0, 1.0], "b": [0.0, 1.0, 2.0, 3.0]}
    folder = trl(tmp_path / "out" / "completions", **more, **ONE)
    assert list(read(folder, ["b"])[0].rewards[0]) == ["b"]
    with pytest.raises(StoreError, match=r"\['z'\] unknown; there are \['a', 'b', 'correct'\]"):
        read(folder, ["z"])
    state = {"log_history": [{"rewards/a/mean": 0.5, "rewards/b/mean": 0.1, "loss": 1}]}
    (tmp_path / "out" / "trainer_state.json").write_text(json.dumps(state))
    assert list(read(folder)[0].rewards[0]) == ["a", "b"]


@pytest.mark.parametrize("step", [["3"] * 4, [3.0] * 4, ["3.0"] * 4, [np.int64(3)] * 4])
def test_a_step_is_a_whole_number_however_it_is_written(tmp_path, step):
    rows, _ = read(trl(tmp_path / "t", **ONE | {"step": step}))
    assert rows.step.tolist() == [3] * 4 and rows.group_id[0] == "train-000003-000"


@pytest.mark.parametrize("step", ["three", 1.5, -1, True, 2**40])
def test_a_step_that_is_none_names_file_row_and_column(tmp_path, step):
    path = rows_file(
        tmp_path / "x.jsonl",
        [{"prompt": "p", "completion": "c", "rewards": 1}] * 2
        + [{"prompt": "p", "completion": "c", "rewards": 1, "step": step}],
    )
    with pytest.raises(StoreError, match="x.jsonl, row 3: column 'step'"):
        read(path)


def test_groups_are_prompts_of_one_file_wherever_their_rows_stand(tmp_path):
    # a b a b: two groups of two; a a b b a a in one table: a was drawn twice
    mixed = {"prompt": ["a", "b", "a", "b"]} | ONE
    rows = read(trl(tmp_path / "mixed", **mixed))[0].sort_values("completion")
    assert rows.group_id.str[-3:].tolist() == ["000", "001", "000", "001"]
    assert rows["sample"].tolist() == [0, 0, 1, 1]
    twice = [
        {"step": 0, "prompt": p, "completion": str(i), "rewards": 1} for i, p in enumerate("aabbaa")
    ]
    groups = read(rows_file(tmp_path / "twice.jsonl", twice))[0].group_id.str[-3:]
    assert groups.tolist() == ["000", "000", "001", "001", "002", "002"]


def test_training_and_evaluation_of_one_step_stay_apart(tmp_path):
    trl(tmp_path / "t", **ONE)
    trl(tmp_path / "t", name="completions_eval_00001.parquet", **ONE)
    rows, _ = read(tmp_path / "t")
    assert rows.groupby("split").group_id.nunique().to_dict() == {"eval": 2, "train": 2}
    assert rows.groupby(["split", "group_id"]).size().tolist() == [2] * 4


def test_texts_that_are_missing_stay_empty_and_tool_calls_are_kept(tmp_path):
    call = {"function": {"name": "f", "arguments": "{}"}}
    base = {"step": 0, "rewards": {"a": 1.0}}
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "4"},
    ]
    rows = [
        base | {"prompt": None, "completion": None},
        base | {"prompt": "p", "completion": turns},
    ]
    found, _ = read(rows_file(tmp_path / "x.jsonl", rows))
    assert found.prompt.tolist() == ["", "p"] and found.completion[0] == ""
    assert found.completion[1].splitlines() == [
        "user: look [image]", f"assistant: [tool call] {json.dumps(call)}", "tool: 4"
    ]  # fmt: skip


FORMS = {
    "verl": ("5.jsonl", {"input": "q", "output": "a", "gts": "4", "score": 0.5, "acc": True}),
    "openrlhf": ("x.jsonl", {"input": "q", "output": "a", "reward": 0.5}),
    "prime-rl": (
        "rollouts/step_5/train_rollouts.jsonl",
        {"prompt": [{"role": "user", "content": "q"}], "reward": 0.5, "task": "math",
         "completion": [{"role": "assistant", "content": "a"}], "example_id": 7,
         "is_truncated": True, "advantage": 0.25, "metrics": {"fmt": 1.0}},
    ),
    "trackio": (
        "x.jsonl",
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
         "metadata": {"reward": 0.5, "step": 5}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_other_trainers_come_in(tmp_path, form):
    name, row = FORMS[form]
    rows_file(tmp_path / "out" / name, [row, row])
    found = read(tmp_path / "out")[0].iloc[0]
    assert found.prompt in ("q", "user: q") and found.completion in ("a", "assistant: a")
    assert list(found.rewards.values()) == [0.5]
    assert found.step == (0 if form == "openrlhf" else 5)
    if form == "prime-rl":
        assert (found.kind, found.prompt_id, found.truncated, found.advantage) == (
            "math", "7", True, 0.25,
        )  # fmt: skip


def test_a_folder_of_steps_is_read_in_their_order(wb, tmp_path):
    for step in (10, 2, 1):
        row = {"input": "q", "output": str(step), "score": 1.0, "step": step}
        rows_file(tmp_path / "verl" / f"{step}.jsonl", [row])
    wb.import_(tmp_path / "verl")
    assert wb.rollouts("verl").completion.tolist() == ["1", "2", "10"]
    assert (wb.state("verl")["step"], wb.state("verl")["status"]) == (10, "finished")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"action": "zzz"},
            r"row 2: column 'action': 'zzz' is no reward .*\['a', 'b'\]",
        ),
        ({"weights": {"c": 1.0}}, "row 2: column 'weights': 'c' is no reward"),
        ({"rewards": {"a": "x" * 10**6}}, "row 2: column 'rewards'.*is no mapping of names"),
        ({"rewards": {}}, "row 2: column 'rewards' is empty"),
        ({"num_tokens": "many"}, "row 2: column 'num_tokens': 'many' is no whole number"),
        ({"truncated": 7}, "row 2: column 'truncated': 7 is no true or false"),
        ({"token_ids": 3}, "row 2: column 'token_ids': 3 is no list"),
        ({"kind": {"a": 1}}, "row 2: column 'kind'.*is no text"),
    ],
)
def test_a_value_that_is_none_names_file_row_and_column(tmp_path, change, message):
    base = {"prompt": "p", "completion": "c", "rewards": {"a": 1.0, "b": 0.0}}
    with pytest.raises(StoreError, match=message) as told:
        read(rows_file(tmp_path / "x.jsonl", [base, base | change]))
    assert len(str(told.value)) < 300


def test_what_a_row_leaves_open_is_filled_in(wb, tmp_path):
    base = {"prompt": "p", "completion": "c", "rewards": {"a": 1.0, "b": None}}
    wb.import_(rows_file(tmp_path / "x.jsonl", [base | {"kind": None, "weights": {"a": 1}}]), "x")
    row = wb.rollouts("x").iloc[0]
    assert (row.kind, row.split, row.step, row.truncated) == ("default", "train", 0, False)
    assert row.weights == {"a": 1.0, "b": 0.0} and math.isnan(row.rewards["b"])
    assert wb.state("x")["attempt"] == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_imports_are_read_as_task_files_are(tmp_path, encoding):
    row = {"prompt": "p \ud83d", "completion": "é", "rewards": 1}
    (tmp_path / "x.json").write_text(json.dumps([row], ensure_ascii=True), encoding=encoding)
    assert read(tmp_path / "x.json")[0][["prompt", "completion"]].values.tolist() == [["p ?", "é"]]


def test_a_folder_of_nothing_says_what_is_allowed(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="none of: a runs directory"):
        read(tmp_path / "empty")
