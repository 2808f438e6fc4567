import json

import pandas as pd
import pytest

from workbench.config import TaskConfig
from workbench.tasks import load_task
from workbench.tasks.file import preview


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def numbered(count):
    return [{"prompt": f"say {i}", "reference": str(i), "kind": "say"} for i in range(count)]


def load(path, **settings):
    return load_task(TaskConfig(name="file", path=str(path), **settings))


def everything(task):
    return [*task.train, *task.calibration, *task.report]


def test_rows_become_examples_with_their_further_columns(tmp_path):
    rows = numbered(30)
    rows[0] |= {"format": "list:3", "level": 2, "prompt_id": "first"}
    task = load(jsonl(tmp_path / "p.jsonl", rows))
    assert task.judge is None and task.name == "file"
    first = next(e for e in everything(task) if e.prompt == "say 0")
    assert (first.prompt_id, first.kind, first.reference) == ("first", "say", "0")
    assert first.extra == {"format": "list:3", "level": 2}
    assert {e.prompt for e in everything(task)} == {r["prompt"] for r in rows}


def test_the_three_file_types_give_the_same_task(tmp_path):
    rows = numbered(40)
    pd.DataFrame(rows).to_parquet(tmp_path / "p.parquet")
    pd.DataFrame(rows).to_csv(tmp_path / "p.csv", index=False)
    tasks = [
        load(jsonl(tmp_path / "p.jsonl", rows)),
        load(tmp_path / "p.parquet"),
        load(tmp_path / "p.csv"),
    ]
    assert tasks[0] == tasks[1] == tasks[2]


def test_about_a_tenth_is_held_out_and_splits_share_no_prompt(tmp_path):
    task = load(jsonl(tmp_path / "p.jsonl", numbered(1000)))
    assert 60 <= len(task.calibration) + len(task.report) <= 140
    assert min(len(task.calibration), len(task.report)) >= 20
    assert len({e.prompt for e in everything(task)}) == 1000


def test_a_prompt_keeps_its_side_when_rows_are_added(tmp_path):
    small = load(jsonl(tmp_path / "a.jsonl", numbered(300)))
    large = load(jsonl(tmp_path / "b.jsonl", numbered(600)))
    for split in ("train", "calibration", "report"):
        kept = {e.prompt for e in getattr(large, split)}
        assert {e.prompt for e in getattr(small, split)} <= kept


@pytest.mark.parametrize("count", range(3, 9))
def test_few_rows_still_fill_every_split(tmp_path, count):
    task = load(jsonl(tmp_path / "p.jsonl", numbered(count)))
    assert len(task.train) == count - 2
    assert len(task.calibration) == len(task.report) == 1


def test_an_eval_file_is_held_out_as_it_is(tmp_path):
    held = [{"prompt": f"held {i}"} for i in range(20)]
    task = load(
        jsonl(tmp_path / "p.jsonl", numbered(5)), eval_path=jsonl(tmp_path / "e.jsonl", held)
    )
    assert len(task.train) == 5
    assert {e.prompt for e in (*task.calibration, *task.report)} == {r["prompt"] for r in held}
    assert task.calibration and task.report


def test_a_held_out_prompt_cannot_be_trained_on(tmp_path):
    path = jsonl(tmp_path / "p.jsonl", numbered(5))
    held = jsonl(tmp_path / "e.jsonl", [{"prompt": "x"}, {"prompt": "say 3"}])
    with pytest.raises(ValueError, match=r"p.jsonl, row 4.*'prompt'.*e.jsonl, row 2"):
        load(path, eval_path=held)


def test_columns_are_renamed(tmp_path):
    rows = [{"question": f"q{i}", "answer": i} for i in range(5)]
    path = jsonl(tmp_path / "p.jsonl", rows)
    task = load(path, columns={"prompt": "question", "reference": "answer"})
    assert {(e.prompt, e.reference) for e in everything(task)} == {
        (f"q{i}", str(i)) for i in range(5)
    }
    assert all(e.extra == {} for e in everything(task))


def test_chat_prompts_stay_messages(tmp_path):
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    rows = [{"prompt": [*turns, {"role": "user", "content": str(i)}]} for i in range(4)]
    task = load(jsonl(tmp_path / "p.jsonl", rows))
    assert all(e.prompt[0] == turns[0] and len(e.prompt) == 3 for e in everything(task))
    pd.DataFrame([{"prompt": json.dumps(r["prompt"])} for r in rows]).to_csv(
        tmp_path / "p.csv", index=False
    )
    from_csv = load(tmp_path / "p.csv")
    assert {e.prompt_id for e in everything(from_csv)} == {e.prompt_id for e in everything(task)}


def test_kinds_and_limit(tmp_path):
    rows = numbered(40) + [{"prompt": f"ask {i}"} for i in range(40)]
    path = jsonl(tmp_path / "p.jsonl", rows)
    task = load(path, kinds=("say",), limit=7)
    assert len(task.train) == 7 and {e.kind for e in everything(task)} == {"say"}
    with pytest.raises(ValueError, match=r"'sing'.*unknown.*'default', 'say'"):
        load(path, kinds=("sing",))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "x"}, r"row 4: column 'prompt' is missing; there are \['question'\]"),
        ({"prompt": "  "}, r"row 4: column 'prompt': '  ' is neither text nor"),
        ({"prompt": 7}, "row 4: column 'prompt': 7 is neither"),
        ({"prompt": [{"role": "user"}]}, r"row 4: column 'prompt': \{'role': 'user'\} is no chat"),
        ({"prompt": "say 1"}, r"row 4: column 'prompt': the same prompt stands already in .*row 2"),
        ({"prompt": "x", "reference": ["y"]}, r"row 4: column 'reference': \['y'\] is not text"),
        ({"prompt": "x", "scores": 1}, "row 4: column 'scores' has a name"),
    ],
)
def test_a_bad_row_is_named_with_its_column(tmp_path, row, message):
    path = jsonl(tmp_path / "p.jsonl", [*numbered(3), row])
    with pytest.raises(ValueError, match=r"p.jsonl, " + message):
        load(path)


def test_a_missing_mapped_column_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"row 1: column 'answer' is missing; there are"):
        load(jsonl(tmp_path / "p.jsonl", numbered(4)), columns={"reference": "answer"})


def test_ids_given_twice_are_refused(tmp_path):
    rows = [{"prompt": "a", "prompt_id": 1}, {"prompt": "b", "prompt_id": 1}]
    with pytest.raises(ValueError, match=r"row 2: column 'prompt_id': '1' stands already in"):
        load(jsonl(tmp_path / "p.jsonl", rows))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", '{"prompt": "a"}\n{"prompt"\n', "p.jsonl, row 2: not valid JSON"),
        ("p.jsonl", "[1]\n", r"p.jsonl, row 1: \[1\] is not an object"),
        ("p.jsonl", "", "no rows"),
        ("p.csv", "", "p.csv: no rows"),
        ("p.txt", "a", r"type '.txt' unknown; allowed are \['.jsonl'"),
        ("p.jsonl", '{"prompt": "a"}\n', "has 1 prompts.*at least 3"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.jsonl"):
        load(tmp_path / "absent.jsonl")


def test_preview_shows_rows_as_they_are_and_reads_no_further(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"q": "a", "n": 1}\n{"q": "b"}\nnot json\n')
    shown = preview(path, 2)
    assert list(shown.columns) == ["q", "n"] and list(shown["q"]) == ["a", "b"]
    with pytest.raises(ValueError, match="row 3"):
        preview(path, 3)
