"""Data leaves and comes back to the last bit; text from elsewhere never becomes a formula."""

from __future__ import annotations

import csv
import json
import math

import duckdb
import numpy as np
import pandas as pd
import pytest
from store_batches import NAMES, RUN, make_batch, make_run

from workbench.analysis.queries import rollouts
from workbench.runs.imports import import_path
from workbench.store.annotations import annotate
from workbench.store.archive import archive
from workbench.store.errors import StoreError
from workbench.store.export import EXPORTED, export, neutral
from workbench.store.reader import Store
from workbench.store.writer import RunWriter

OTHER = "20260101-000000-beef"
ODD = [5e-324, 1.7976931348623157e308, -0.0, 0.1 + 0.2, math.inf, -math.inf, math.nan, 1 / 3]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two runs with different objectives and every odd number, one archived and one not."""
    root = tmp_path_factory.mktemp("source")
    for run, names in ((RUN, NAMES), (OTHER, ("alpha",))):
        run_dir = make_run(root, run)
        (run_dir / "config.yaml").write_text("seed: 0\n")
        batch = make_batch(0, names=names, actions=None, advantages=np.array(ODD))
        batch.rewards[:, 0] = ODD
        with RunWriter(run_dir) as writer:
            writer.rollouts(batch)
            writer.rollouts(make_batch(1, 4, split="probe", names=names, actions=None))
            writer.metrics(0, {"loss": 0.1, "bad": math.nan})
            writer.conductor_update(0, {"loss": 0.1, "policy": {names[0]: 0.1}, "more": 1e-300})
            writer.checkpoint(1, run_dir / "checkpoints" / "step-000001", {"score": 0.5})
            writer.warning(1, "code", "message", "advice")
            writer.evaluation({"step": [0], "phase": "before", "completion": ["x"], "judge": [0.1]})
            writer.state(status="finished", step=1, steps=1, headline=0.25)
        annotate(root, run, "rating", score=0.1, rater="ann")
    archive(root, RUN)
    return root


def rows_of(root, view, run=RUN):
    """Every value of a view as text that tells every bit of it."""
    order = {"metrics": "name", "rollouts": "group_id, sample"}.get(view, "run_id")
    frame = Store(root).sql(f"FROM {view} WHERE run_id = ? ORDER BY {order}", [run])
    keep = ["run_id", "name", "status", "step", "steps", "headline", "objectives", "task"]
    frame = frame[keep] if view == "runs" else frame
    return [[repr(_plain(v)) for v in row] for row in frame.values.tolist()]


def _plain(value):
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if value is pd.NA or (isinstance(value, float) and math.isnan(value)) else value


def test_a_duckdb_export_is_whole_by_itself_and_comes_back(source, tmp_path):
    (path,) = export(source, [RUN, OTHER], tmp_path / "out.duckdb", "duckdb")
    with duckdb.connect(str(path), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM rollouts").fetchall() == [(24,)]
        assert con.execute("SELECT count(*) FROM rollout_objectives").fetchall() == [(48,)]
        tables = con.execute("SELECT count(*) FROM duckdb_tables()").fetchall()
        assert tables == [(len(EXPORTED),)]
        bare = con.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal "
            "AND comment IS NULL AND table_name IN (SELECT table_name FROM duckdb_tables())"
        ).fetchall()
        assert bare == [("runs", "config")]
        tags = con.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchall()
        # DuckDB 1.4 and every later release read it, the one before today's among them
        assert [t["storage_version"] for (t,) in tags] == ["v1.4.0+"]
    assert set(import_path(tmp_path / "new", path)) == {RUN, OTHER}
    for view in EXPORTED:
        for run in (RUN, OTHER):
            assert rows_of(tmp_path / "new", view, run) == rows_of(source, view, run), view
    assert (tmp_path / "new" / RUN / "config.yaml").read_text() == "seed: 0\n"
    archive(tmp_path / "new")
    assert rows_of(tmp_path / "new", "rollouts") == rows_of(source, "rollouts")


def test_another_runs_directory_comes_in_whole(source, tmp_path):
    assert set(import_path(tmp_path, source)) == {RUN, OTHER}
    for view in EXPORTED:
        assert rows_of(tmp_path, view, OTHER) == rows_of(source, view, OTHER), view
    with pytest.raises(StoreError, match="here already"):
        import_path(tmp_path, source)
    assert len(Store(tmp_path).runs()) == 2


def test_json_lines_come_back_to_the_last_bit(source, tmp_path):
    files = export(source, [RUN], tmp_path / "out", "jsonl")
    (path,) = [f for f in files if f.name == "rollouts.jsonl"]
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    (run_id,) = import_path(tmp_path / "new", path, name="back")
    before, after = rows_of(source, "rollouts"), rows_of(tmp_path / "new", "rollouts", run_id)
    assert [r[1:] for r in after] == [r[1:] for r in before]
    assert Store(tmp_path / "new").runs().name.tolist() == ["back"]


def test_parquet_holds_every_bit(source, tmp_path):
    files = export(source, [RUN, OTHER], tmp_path / "out", "parquet")
    (path,) = [f for f in files if f.name == "rollouts.parquet"]
    query = f"SELECT advantage, rewards FROM '{path}' WHERE split = 'train' ORDER BY run_id, sample"
    found = duckdb.execute(query).fetchall()
    assert len(found) == 16 and {repr(a) for a, _ in found} == {repr(v) for v in ODD}
    assert all(repr(r[NAMES[0]]) in map(repr, ODD) for _, r in found if NAMES[0] in r)


def test_csv_neutralises_formulas_and_keeps_numbers(tmp_path):
    texts = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "plain", "a=b"]
    with RunWriter(make_run(tmp_path, name="=cmd")) as writer:
        writer.rollouts(make_batch(0, completions=texts, kinds=texts, advantages=np.array(ODD)))
    files = export(tmp_path, [RUN], tmp_path / "out", "csv")
    (path,) = [f for f in files if f.name == "rollouts.csv"]
    with path.open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda r: (r["group_id"], int(r["sample"])))
    assert [r["completion"] for r in rows] == [f"'{t}" for t in texts[:6]] + texts[6:]
    assert [r["kind"] for r in rows] == [r["completion"] for r in rows]
    assert [float(r["advantage"] or "nan") for r in rows[:6]] == ODD[:6]
    assert float(rows[0]["rewards.format"]) == make_batch(0).rewards[0, 0]
    assert neutral("=x") == "'=x" and neutral("x") == "x" and neutral("") == ""
    assert "'=cmd" in (tmp_path / "out" / "runs.csv").read_text()


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv", "duckdb"])
def test_every_export_comes_back_to_the_last_bit(tmp_path, form):
    source, new = tmp_path / "source", tmp_path / "new"
    texts = ["=1+1", "'", "", "a\rb", 'q"', "é\n", "NA", "nan"]
    entropies = [[0.25, math.nan], [math.inf], [], [1e-30], [1.5], [0.1], [0.2], [0.3]]
    make_run(source, name="back", seed=7)
    with RunWriter(source / RUN) as writer:
        writer.rollouts(
            make_batch(
                0,
                completions=texts,
                advantages=np.array([*ODD, *ODD][:8]),
                token_entropies=entropies,
                token_ids=[[1]] * 8,
                contexts=np.array([ODD[:2]] * 8, dtype=np.float16),
            )
        )
        writer.metrics(0, {"loss": math.inf, "x": math.nan})
        writer.conductor_update(0, {"loss": 0.1, "policy": {"format": 0.25}, "odd": 3.0})
        writer.checkpoint(0, source / RUN / "checkpoints" / "step-0", {"score": 0.5})
        writer.state(status="finished", step=1, steps=1, attempt=1)
    annotate(source, RUN, "note", text="", rater="'me")
    path = tmp_path / ("x.duckdb" if form == "duckdb" else "x")
    export(source, [RUN], path, form)
    import_path(new, path)
    for view in EXPORTED:
        if view not in ("runs", "contexts"):
            assert rows_of(new, view, RUN) == rows_of(source, view, RUN), view
    bits = [np.array(list(Store(d).contexts(RUN)["context"])).tobytes() for d in (source, new)]
    assert len(bits[0]) and bits[0] == bits[1]
    known = ["name", "seed", "status", "step", "steps", "attempt", "objectives"]
    before, after = (Store(d).runs()[known].iloc[0].astype(str).tolist() for d in (source, new))
    assert before == after


def test_a_file_of_an_export_comes_back_alone(tmp_path):
    with RunWriter(make_run(tmp_path / "source")) as writer:
        writer.rollouts(make_batch(0))
    for form in ("parquet", "jsonl", "csv"):
        export(tmp_path / "source", [RUN], tmp_path / form, form)
        (run,) = import_path(tmp_path / f"new-{form}", tmp_path / form / f"rollouts.{form}")
        rows = rows_of(tmp_path / f"new-{form}", "rollouts", run)
        assert [r[1:] for r in rows] == [r[1:] for r in rows_of(tmp_path / "source", "rollouts")]


def test_trl_tables_come_in(tmp_path):
    folder = tmp_path / "completions"
    folder.mkdir()
    for step in (1, 2):
        pd.DataFrame(
            {
                "step": [step] * 4,
                "prompt": ["a", "a", "b", "b"],
                "completion": [f"{step}{i}" for i in range(4)],
                "format_reward": [0.1, 0.2, None, 0.4],
                "length_reward": ODD[4 * (step - 1) : 4 * step],
                "advantage": [0.5, -0.5, 0.25, -0.25],
            }
        ).to_parquet(folder / f"completions_{step:05d}.parquet")
    (run_id,) = import_path(tmp_path / "runs", folder)
    rows = rollouts(Store(tmp_path / "runs"), run_id)
    assert rows.group_id.tolist() == [
        f"train-{s:06d}-{g:03d}" for s in (1, 2) for g in (0, 0, 1, 1)
    ]
    assert rows["sample"].tolist() == [0, 1] * 4 and rows.advantage[3] == -0.25
    assert rows.rewards[1] == {"format_reward": 0.2, "length_reward": ODD[1]}
    assert [repr(r["length_reward"]) for r in rows.rewards] == [repr(v) for v in ODD]
    assert math.isnan(rows.rewards[2]["format_reward"]) and rows.prompt_id.nunique() == 2
    (run,) = Store(tmp_path / "runs").runs().to_dict("records")
    assert (run["kind"], run["status"], run["step"]) == ("imported", "finished", 2)


def test_chat_messages_become_readable_text(tmp_path):
    path = tmp_path / "chat.jsonl"
    prompt = [{"role": "user", "content": "hi"}]
    answer = [{"role": "assistant", "content": "hello"}]
    path.write_text(json.dumps({"prompt": prompt, "completion": answer, "rewards": 0.5}))
    (run_id,) = import_path(tmp_path / "runs", path)
    (row,) = rollouts(Store(tmp_path / "runs"), run_id).to_dict("records")
    assert (row["prompt"], row["completion"]) == ("user: hi", "assistant: hello")
    assert row["rewards"] == {"reward": 0.5}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "row 1"),
        ('{"prompt": "a", "completion": "b", "rewards": 1}\n{"prompt": "a"}', "row 2: no compl"),
        (
            '{"prompt": "a", "completion": "b", "rewards": {"x": "high"}}',
            "row 1: column 'rewards'.*high",
        ),
        (
            '{"prompt": "a", "completion": "b", "rewards": 1, "step": "two"}',
            "row 1: column 'step': 'two' is no whole number",
        ),
        ("[1]", "row 1"),
        ("", "no rows"),
    ],
)
def test_malformed_lines_are_named_and_nothing_is_left(tmp_path, text, complaint):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(StoreError, match=complaint):
        import_path(tmp_path / "runs", path)
    assert not list((tmp_path / "runs").glob("2*")) and not list((tmp_path / "runs").glob(".imp*"))


def test_refusals_name_what_is_wrong(source, tmp_path):
    with pytest.raises(StoreError, match="'nobody'"):
        export(source, ["nobody"], tmp_path / "a", "csv")
    with pytest.raises(StoreError, match="xlsx.*parquet"):
        export(source, [RUN], tmp_path / "a", "xlsx")
    with pytest.raises(StoreError, match="exists"):
        export(source, [RUN], tmp_path, "csv")
    for name in ("nothing.jsonl", "odd.txt", "no.duckdb", "bad.parquet"):
        path = tmp_path / name
        if name != "nothing.jsonl":
            path.write_text("odd")
        if name == "bad.parquet":
            pd.DataFrame({"a": [1]}).to_parquet(path)
        with pytest.raises(StoreError, match=name):
            import_path(tmp_path / "runs", path)
    assert not (tmp_path / "a").exists()
