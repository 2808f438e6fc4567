import gzip
import json
import subprocess
import sys

import pandas as pd
import pyarrow as pa
import pytest

from workbench.config import TaskConfig
from workbench.config.io import ConfigError
from workbench.config.io import load as load_config
from workbench.runs.provenance import data_sha256
from workbench.runs.validation import check_config, with_absolute_paths
from workbench.tasks import load_task
from workbench.tasks.file import preview
from workbench.tasks.sources import read_rows


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
    with pytest.raises(
        ValueError, match=r"p.jsonl: column 'answer' of task.columns is missing in every"
    ):
        load(jsonl(tmp_path / "p.jsonl", numbered(4)), columns={"reference": "answer"})


def test_ids_given_twice_are_refused(tmp_path):
    rows = [{"prompt": "a", "prompt_id": 1}, {"prompt": "b", "prompt_id": 1}]
    with pytest.raises(ValueError, match=r"row 2: column 'prompt_id': '1' stands already in"):
        load(jsonl(tmp_path / "p.jsonl", rows))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", '{"prompt": "a"}\n{"prompt"\n', "p.jsonl, row 2: not valid JSON"),
        ("p.jsonl", "[1]\n", r"p.jsonl, row 1: a number \(1\) is not an object"),
        ("p.jsonl", "", "no rows"),
        ("p.csv", "", "p.csv: no rows"),
        ("p.txt", "a", r"type '.txt' unknown; allowed are .jsonl"),
        ("p.jsonl", '{"prompt": "a"}\n', "has 1 different prompts.*at least 3"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.jsonl"):
        load(tmp_path / "absent.jsonl")


# -- directories of datasets, and the hub ----------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the same rows as a file, as a saved Dataset in shards, and as a DatasetDict."""
    from datasets import Dataset, DatasetDict

    folder = tmp_path_factory.mktemp("saved")
    rows = [r | {"level": i} for i, r in enumerate(numbered(40))]
    data = Dataset.from_list(rows)
    data.save_to_disk(folder / "single", num_shards=3)
    other = Dataset.from_list([{"prompt": f"held {i}"} for i in range(6)])
    DatasetDict({"train": data.shuffle(seed=1), "test": other}).save_to_disk(folder / "splits")
    jsonl(folder / "p.jsonl", rows)
    return folder


def test_a_saved_data_set_gives_the_task_of_its_rows(saved):
    assert load(saved / "single") == load(saved / "p.jsonl")
    task = load(saved / "splits", eval_path=f"{saved}/splits@test")
    assert len(task.train) == 40 and len(task.calibration) + len(task.report) == 6
    assert {e.prompt for e in task.report} <= {f"held {i}" for i in range(6)}
    assert list(preview(saved / "splits@test", 2)["prompt"]) == ["held 0", "held 1"]


def test_a_row_of_a_saved_data_set_is_named(saved):
    with pytest.raises(
        ValueError, match=r"splits@test: column 'answer' of task.columns is missing"
    ):
        load(f"{saved}/splits@test", columns={"reference": "answer"})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("splits@valid", r"has no split 'valid'; write one of \['splits@train', 'splits@test'\]"),
        ("single@test", "a single data set has no split 'test'"),
        ("empty", r"no directory of rows; allowed is a file"),
    ],
)
def test_a_directory_that_is_none_is_refused(saved, source, message):
    (saved / "empty").mkdir(exist_ok=True)
    with pytest.raises(ValueError, match=message):
        load(saved / source)


def test_reading_a_saved_data_set_needs_no_heavy_library(saved):
    code = (
        "import sys; from workbench.tasks.file import preview; "
        f"print(len(preview({str(saved / 'single')!r}, 99)), 'datasets' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["40", "False"]


def test_a_data_set_of_the_hub_with_subset_and_split(monkeypatch):
    asked = []

    def load_dataset(name, subset, split):
        asked.append((name, subset, split))
        return [{"question": f"q {i}"} for i in range(5)]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    columns = {"prompt": "question"}
    task = load("hub:owner/name:main@test[:50]", columns=columns)
    assert len(everything(task)) == 5 and load("hub:name", columns=columns)
    assert asked == [("owner/name", "main", "test[:50]"), ("name", None, "train")]
    with pytest.raises(
        ValueError, match=r"hub:owner/name@train, row 1: column 'prompt' is missing"
    ):
        load("hub:owner/name@train")
    for wrong in ("hub:", "hub:a/b/c", "hub:/x"):
        with pytest.raises(ValueError, match="is no data set: write hub:OWNER/NAME"):
            load(wrong)


def test_without_network_the_hub_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"'nobody/none' cannot be loaded.*hf download nobody/none"):
        load("hub:nobody/none")
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # anything else is nobody's business here
        load("hub:nobody/none")


def test_a_source_is_checked_before_a_run_starts(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(saved)
    config = load_config({"task": {"name": "file", "path": "single", "eval_path": "splits@test"}})
    whole = with_absolute_paths(config)
    assert whole.task.eval_path == f"{saved}/splits@test"
    check_config(whole)
    assert set(data_sha256(whole)) == {"path", "eval_path"}
    hub = with_absolute_paths(load_config({"task": {"name": "file", "path": "hub:a/b"}}))
    check_config(hub)
    assert hub.task.path == "hub:a/b" and data_sha256(hub) == {}
    for path, message in (("absent", "does not exist; it must be a file"), ("hub:/", "is no data")):
        with pytest.raises(ConfigError, match=message):
            check_config(load_config({"task": {"name": "file", "path": path}}))


def test_preview_shows_rows_as_they_are_and_reads_no_further(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"q": "a", "n": 1}\n{"q": "b"}\nnot json\n')
    shown = preview(path, 2)
    assert list(shown.columns) == ["q", "n"] and list(shown["q"]) == ["a", "b"]
    with pytest.raises(ValueError, match="row 3"):
        preview(path, 3)


# -- any file that people have ---------------------------------------------------------------------


def read(path):
    return [row for _, row in read_rows(path)]


ROWS = [{"prompt": "say é", "n": "007"}, {"prompt": "two\nlines", "n": None}]


def packed(path, suffix):
    data = path.read_bytes()
    target = path.with_name(path.name + suffix)
    if suffix == ".gz":
        target.write_bytes(gzip.compress(data))
    else:
        with pa.output_stream(str(target), compression="zstd") as file:
            file.write(data)
    return target


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_the_same_rows_come_out_of_every_form(tmp_path, kind, suffix):
    frame, path = pd.DataFrame(ROWS), tmp_path / f"Rows.{kind.upper()}"
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind in ("csv", "tsv"):
        frame.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    else:
        jsonl(path, ROWS)
    assert read(packed(path, suffix) if suffix else path) == ROWS


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("indent", [None, 1])
def test_content_tells_an_array_from_one_object_a_line(tmp_path, name, indent):
    array, objects = tmp_path / name, tmp_path / f"o-{name}"
    array.write_text(json.dumps(ROWS, indent=indent))
    objects.write_text("\n".join(json.dumps(row, indent=indent) for row in ROWS))
    assert read(array) == read(objects) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_encodings_that_a_file_tells_are_read(tmp_path, encoding, kind):
    path = tmp_path / f"p.{kind}"
    text = '{"prompt": "é"}\n' if kind == "jsonl" else "prompt\né\n"
    path.write_bytes(text.encode(encoding))
    assert read(path) == [{"prompt": "é"}]


def test_text_of_a_csv_stays_as_it_was_written(tmp_path):
    values = ["NA", "None", "null", "007", "3.10", "true", "1e5", " x "]
    path = tmp_path / "p.csv"
    pd.DataFrame({"prompt": range(1000, 1008), "reference": values}).to_csv(path, index=False)
    assert [row["reference"] for row in read(path)] == values
    assert {e.prompt for e in everything(load(path))} == {str(n) for n in range(1000, 1008)}


def test_a_csv_with_semicolons_and_a_cell_of_a_megabyte(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("prompt;reference\n" + "x" * 1_000_000 + ";1,5\n")
    assert read(path) == [{"prompt": "x" * 1_000_000, "reference": "1,5"}]


BIG = json.dumps([{"prompt": f"q{i} " + "x" * 200} for i in range(2000)])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt": "\xe9"}\n', "row 2: byte 0xe9 is not UTF-8"),
        ("p.csv", b"prompt\nA\n\xe9\n", "line 3: byte 0xe9 is not UTF-8"),
        ("p.jsonl", BIG[:-5].encode(), "p.jsonl: not valid JSON"),
        ("p.jsonl", b'"' + b"y" * 500_000 + b'"\n', "row 1: a text .* is not an object"),
        ("p.jsonl", b"[" * 200_000, "nested too deeply"),
        ("p.csv", b"a,b\n1,2,3\n", "row 1: 3 values, but 2 columns"),
        ("p.csv", b'a,b\n"1,2\n', "row 1: not valid CSV"),
        ("p.csv", b"a,a\n1,2\n", "column 'a' stands twice"),
        ("p.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' * 9999)[:-20], "cannot be unpacked"),
        ("p.jsonl.zst", b"(\xb5/\xfd", "cannot be unpacked"),
        ("p.parquet", b"PAR1 and so on", "not valid Parquet"),
    ],
)
def test_a_damaged_file_is_told_in_three_short_lines(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as told:
        read(tmp_path / name)
    assert len(str(told.value)) < 300 and str(told.value).count("\n") < 3
    assert name in str(told.value)


def test_half_a_character_pair_becomes_a_question_mark(tmp_path):
    path = jsonl(tmp_path / "p.jsonl", [{"prompt": "q \ud83d", "x": ["\udc00", "\U0001f600"]}])
    assert read(path) == [{"prompt": "q ?", "x": ["?", "\U0001f600"]}]


def test_a_folder_of_files_is_a_data_set_with_splits(tmp_path):
    (tmp_path / "d" / "data").mkdir(parents=True)
    for i in range(2):
        name = f"train-0000{i}-of-00002.parquet"
        pd.DataFrame([{"prompt": f"q{i}"}]).to_parquet(tmp_path / "d" / "data" / name)
    jsonl(tmp_path / "d" / "data" / "test.jsonl", [{"prompt": "t"}])
    assert read(tmp_path / "d") == [{"prompt": "q0"}, {"prompt": "q1"}]
    assert read(f"{tmp_path / 'd'}@test") == [{"prompt": "t"}]
    with pytest.raises(ValueError, match=r"no split 'dev'; write one of \['d@test', 'd@train'\]"):
        read(f"{tmp_path / 'd'}@dev")


def test_a_template_composes_the_prompt_of_columns(tmp_path):
    rows = [
        {"STORY": f"s{i}", "OPTION-A": "a", "n\nR": i, "turns": ["x", "y"], "label": "L"}
        for i in range(9)
    ]
    path = jsonl(tmp_path / "p.jsonl", rows)
    template = "{STORY} {{A}} {OPTION-A} {n\nR} {turns[1]}\n{turns}"
    task = load(path, template=template, columns={"reference": "label"})
    first = next(e for e in everything(task) if e.prompt.startswith("s0 "))
    assert first.prompt == "s0 {A} a 0 y\nx\ny" and first.reference == "L"
    assert first.extra == {name: v for name, v in rows[0].items() if name != "label"}


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{nothing}", r"row 1: column 'nothing' of task.template is missing; there are \['n'"),
        ("{n.__class__}", "column 'n.__class__' of task.template is missing"),
        ("{n[5]}", r"row 1: column 'n' has no item \[5\]"),
        ("plain", "names no column"),
        ("{n", "task.template"),
        ("{n!r}", "write a column in braces"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(tmp_path, template, message):
    path = jsonl(tmp_path / "p.jsonl", [{"n": ["a"], "x": 1}] * 4)
    with pytest.raises(ValueError, match=message):
        load(path, template=template)


def test_duplicates_are_refused_with_their_number_or_kept(tmp_path):
    rows = [*numbered(20), {"prompt": "say 3", "reference": "b"}, {"prompt": "say 3"}]
    path = jsonl(tmp_path / "p.jsonl", rows)
    with pytest.raises(ValueError, match="row 21.*row 4, and 1 more.*keep_first or keep_all"):
        load(path)
    first = load(path, duplicates="keep_first")
    assert len(everything(first)) == 20 and "2 rows left out" in first.notes[0]
    both = load(path, duplicates="keep_all")
    same = [e for e in everything(both) if e.prompt == "say 3"]
    assert {e.reference for e in same} == {"3", "b", None}
    assert len({e.prompt_id for e in everything(both)}) == 22
    sides = [{e.prompt for e in getattr(both, s)} for s in ("train", "calibration", "report")]
    assert sum("say 3" in side for side in sides) == 1


def test_a_share_or_a_number_is_held_out(tmp_path):
    path = jsonl(tmp_path / "p.jsonl", numbered(200))
    number, share = load(path, held_out=50), load(path, held_out=0.5)
    assert len(number.calibration) + len(number.report) == 50 and len(number.train) == 150
    assert 70 <= len(share.train) <= 130
    assert "95 % intervals will be wide" in number.notes[0]
    with pytest.raises(ValueError, match="200 different prompts.*at least 201"):
        load(path, held_out=200)


@pytest.mark.parametrize("name", ["images", "image", "self", "completion", "log_extra"])
def test_columns_that_would_kill_or_mislead_the_run_are_refused(tmp_path, name):
    path = jsonl(tmp_path / "p.jsonl", [row | {name: "x"} for row in numbered(5)])
    with pytest.raises(ValueError, match=f"row 1: column '{name}' has a name.*task.columns"):
        load(path)
    config = load_config({"task": {"name": "file", "path": path}})
    with pytest.raises(ConfigError, match=f"task.path: .*column '{name}'"):
        check_config(config)


def test_nothing_to_train_on_is_refused(tmp_path):
    same = [{"prompt": "one", "prompt_id": str(i)} for i in range(10)]
    with pytest.raises(ValueError, match="1 different prompts.*at least 3"):
        load(jsonl(tmp_path / "p.jsonl", same))
    mixed = [*numbered(9), {"prompt": [{"role": "user", "content": "x"}]}]
    with pytest.raises(ValueError, match="row 10: .*chat messages, but text in m.jsonl, row 2"):
        load(jsonl(tmp_path / "m.jsonl", mixed))


def test_forms_of_trl_become_prompts(tmp_path):
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    chats = [{"messages": [{"role": "user", "content": f"{i}"}, turns[1]]} for i in range(5)]
    chat = load(jsonl(tmp_path / "m.jsonl", chats))
    assert {e.reference for e in everything(chat)} == {"yes"}
    assert {len(e.prompt) for e in everything(chat)} == {1}
    pairs = [
        {
            "chosen": f"\n\nHuman: {i}?\n\nAssistant: go",
            "rejected": f"\n\nHuman: {i}?\n\nAssistant: so",
        }
        for i in range(5)
    ]
    pair = load(jsonl(tmp_path / "c.jsonl", pairs))
    assert {e.prompt for e in everything(pair)} == {
        f"\n\nHuman: {i}?\n\nAssistant:" for i in range(5)
    }


def test_a_chat_template_sees_all_of_a_message(tmp_path):
    call = {"type": "function", "function": {"name": "add", "arguments": {"x": "1"}}}
    messages = [
        {"role": "user", "content": "add"},
        {"role": "assistant", "content": None, "tool_calls": [call], "name": None},
        {"role": "tool", "name": "add", "content": "2"},
    ]
    rows = [{"prompt": [*messages, {"role": "user", "content": str(i)}]} for i in range(4)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompt = load(path).train[0].prompt
    assert prompt[1] == {"role": "assistant", "content": "", "tool_calls": [call]}
    assert prompt[2] == messages[2]
