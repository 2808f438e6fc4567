"""Questions that pages ask: filtered, sorted and paged, over archived and live rows alike."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import duckdb
import numpy as np
import pytest
from store_batches import NAMES, RUN, fill, make_batch, make_run

from workbench.analysis import queries
from workbench.analysis.groups import GroupFilter, groups
from workbench.store import cache as cache_module
from workbench.store import session as session_module
from workbench.store import turns
from workbench.store.archive import archive
from workbench.store.errors import QueryError, StoreBusyError, StoreError
from workbench.store.reader import Store
from workbench.store.state import write_state
from workbench.store.writer import RunWriter

# Two groups of four at two steps, built by hand. Group g of step s has
#   rewards format = sample / 4 (mean 0.375), length = g, preference = s
#   weights: all on format in group 0, equal in group 1
#   advantage = -1.5, -0.5, 0.5, 1.5; the judge agrees with it in group 0 and not in group 1
ADVANTAGE = np.array([-1.5, -0.5, 0.5, 1.5])


def hand_made(step):
    rewards = np.array([[i % 4 / 4, i // 4, step] for i in range(8)], dtype=float)
    weights = np.array([[1.0, 0, 0]] * 4 + [[1 / 3] * 3] * 4)
    judge = np.concatenate([ADVANTAGE / 4 + 0.5, -ADVANTAGE / 4 + 0.5])
    return make_batch(
        step,
        rewards=rewards,
        weights=weights,
        policy=weights,
        scalars=rewards[:, 0],
        advantages=np.tile(ADVANTAGE, 2),
        judge=judge,
        prompts=["Why is snow WHITE?"] * 4 + ["tell a story"] * 4,
        completions=["because"] * 4 + ["once", "100% of_it", "Ünïcode", "end"],
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Step 0 archived, step 1 and a probe still in segments."""
    root = tmp_path_factory.mktemp("runs")
    run_dir = make_run(root, name="hand made")
    with RunWriter(run_dir) as writer:
        writer.rollouts(hand_made(0))
        writer.metrics(0, {"loss": 1.0, "kl": 0.5})
    archive(root, RUN)
    with RunWriter(run_dir) as writer:
        writer.rollouts(hand_made(1))
        writer.rollouts(make_batch(1, 4, split="probe", prompt_ids=["p0"] * 4))
        writer.metrics(1, {"loss": 0.5})
        writer.conductor_update(1, {"loss": 0.25, "policy": {"format": 1.0}})
        writer.warning(1, "collapse", "seen", "try")
        writer.evaluation({"step": [1], "phase": "after", "completion": ["x"], "judge": [0.5]})
    return Store(root)


def test_runs_show_identity_and_state(store):
    (row,) = store.runs().to_dict("records")
    assert (row["run_id"], row["name"], row["status"]) == (RUN, "hand made", "running")
    assert row["task"] == "etudes" and row["scalarizer"] == "conductor"
    assert queries.objectives(store, RUN) == list(NAMES)
    assert queries.objectives(store, "nobody") == []


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (GroupFilter(), {"train-000000-000", "train-000000-001", "train-000001-000",
                         "train-000001-001", "probe-000001-000"}),
        (GroupFilter(kind="story"), {"train-000000-001", "train-000001-001"}),
        (GroupFilter(split="probe"), {"probe-000001-000"}),
        (GroupFilter(step=0), {"train-000000-000", "train-000000-001"}),
        (GroupFilter(text="snow white"), {"train-000000-000", "train-000001-000"}),
        (GroupFilter(text="ÜNÏ"), {"train-000000-001", "train-000001-001"}),
        (GroupFilter(text="0% of_"), {"train-000000-001", "train-000001-001"}),
        (GroupFilter(text="%"), {"train-000000-001", "train-000001-001"}),
        (GroupFilter(split="train", where="preference > 0.5"),
         {"train-000001-000", "train-000001-001"}),
        (GroupFilter(prompt_id="p1"), {"train-000000-001", "train-000001-001"}),
        (GroupFilter(text="nowhere"), set()),
    ],
)  # fmt: skip
def test_a_list_shows_what_its_filter_says(store, where, expected):
    rows = groups(store, RUN, where)
    assert set(rows.group_id) == expected and set(rows.total) <= {len(expected)}


def test_a_group_has_means_spread_and_disagreement(store):
    rows = groups(store, RUN, GroupFilter(split="train", step=0)).set_index("group_id")
    first, second = rows.loc["train-000000-000"], rows.loc["train-000000-001"]
    assert first.weights == {"format": 1.0, "length": 0.0, "preference": 0.0}
    # largest minus smallest weight: 1 with all on one, 0 with equal weights
    assert (first.weight_spread, second.weight_spread) == (1.0, 0.0)
    # the judge is the advantage over 4, plus 1/2 (correlation 1), and its mirror (-1)
    assert first.disagreement == pytest.approx(0) and second.disagreement == pytest.approx(2)
    assert first.scalar == 0.375 and first.judge == 0.5 and first.completions == 4


@pytest.mark.parametrize(
    ("sort", "descending", "first"),
    [
        ("weight_spread", True, "train-000000-000"),
        ("weight_spread", False, "train-000000-001"),
        ("disagreement", True, "train-000000-001"),
        ("reward:length", True, "train-000000-001"),
        ("reward:length", False, "train-000000-000"),
    ],
)
def test_a_list_is_sorted(store, sort, descending, first):
    where = GroupFilter(split="train", step=0)
    rows = groups(store, RUN, where, sort=sort, descending=descending, limit=1)
    assert rows.group_id.tolist() == [first] and rows.total.tolist() == [2]


def test_pages_follow_each_other_and_end(store):
    pages = [groups(store, RUN, offset=o, limit=2) for o in (0, 2, 4, 6)]
    ids = [i for page in pages for i in page.group_id]
    assert len(ids) == len(set(ids)) == 5


@pytest.mark.parametrize("where", [{"kind": "poem"}, {"split": "test"}])
def test_what_the_run_does_not_have_is_refused(store, where):
    with pytest.raises(ValueError, match="unknown; there are (fact, story|probe, train)"):
        groups(store, RUN, GroupFilter(**where))
    with pytest.raises(ValueError, match="unknown; there are"):
        queries.rollouts(store, RUN, **where)


def test_one_group(store):
    group = queries.rollouts(store, RUN, group_id="train-000001-001")
    assert group["sample"].tolist() == [0, 1, 2, 3]
    assert group.advantage.tolist() == ADVANTAGE.tolist()
    assert group.token_ids[2].tolist() == list(range(6))
    assert queries.group(store, RUN, "p0").split.tolist() == ["train"] * 4


def test_weights_are_means_by_step_and_objective(store):
    means = queries.weights(store, RUN, by=("step",)).set_index(["step", "objective"])
    # rewards by hand: format 0, .25, .5, .75 twice; length 0 and 1; preference is the step
    assert means.reward.to_dict() == {
        (s, o): {"format": 0.375, "length": 0.5, "preference": float(s)}[o]
        for s in (0, 1)
        for o in NAMES
    }
    # half the rows weigh format 1, half 1/3
    assert means.weight[0, "format"] == pytest.approx(2 / 3)
    kinds = queries.weights(store, RUN).set_index(["step", "kind", "objective"])
    assert kinds.weight[1, "fact", "format"] == 1 and len(kinds) == 2 * 2 * 3
    with pytest.raises(ValueError, match="split 'test' unknown; there are probe, train"):
        queries.weights(store, RUN, split="test")


def test_a_reward_that_does_not_apply_is_left_out_of_means(tmp_path):
    batch = make_batch(0)
    batch.rewards[:, 0] = [1, np.nan, 3, np.nan, np.nan, np.nan, np.nan, np.nan]
    batch.rewards[:, 1] = np.nan
    with RunWriter(make_run(tmp_path)) as writer:
        writer.rollouts(batch)
    store = Store(tmp_path)
    means = queries.weights(store, RUN, by=("step",)).set_index("objective")
    assert means.reward["format"] == 2 and np.isnan(means.reward["length"])
    curves = queries.reward_curves(store, RUN).set_index("name")["value"]
    assert curves["format"] == 2 and "length" not in curves


def test_curves_that_were_not_measured_are_refused(store):
    assert queries.curves(store, RUN).value.tolist() == [0.5, 1.0, 0.5]
    assert queries.curves(store, RUN, "kl").value.tolist() == [0.5]
    with pytest.raises(ValueError, match="curves .'no-such'. unknown; there are kl, loss"):
        queries.curves(store, RUN, ["kl", "no-such"])
    assert queries.curves(store, "nobody", "kl").empty  # nothing was measured yet


def test_contexts_come_back_as_they_were(store):
    contexts = store.contexts(RUN, steps=(1, 1))
    assert np.array_equal(np.stack(contexts.context), hand_made(1).contexts.astype(np.float32))


def test_contexts_are_the_newest_attempts_and_never_fill_the_memory(tmp_path, monkeypatch):
    run_dir = make_run(tmp_path)
    for contexts in (np.zeros((8, 3)), np.ones((8, 3))):
        with RunWriter(run_dir) as writer:
            writer.rollouts(make_batch(0, contexts=contexts.astype(np.float16)))
    store = Store(tmp_path)
    assert np.stack(store.contexts(RUN).context).tolist() == np.ones((8, 3)).tolist()
    assert len(store.contexts(RUN, "probe")) == len(store.contexts("nobody")) == 0
    assert store.sql("SELECT count(*) AS n FROM contexts").n[0] == 8
    monkeypatch.setattr(cache_module, "MEMORY_BYTES", 10)
    with pytest.raises(StoreError, match="Store.contexts"):
        store.sql("FROM contexts")


def test_a_query_is_capped_and_says_so(store):
    answer = store.query("SELECT * FROM rollouts ORDER BY step DESC, sample", limit=3)
    assert len(answer.rows) == 3 and answer.rows.step.tolist() == [1] * 3
    assert "first 3 rows" in answer.notice
    assert store.query("SELECT 1 -- done", limit=1).notice is None
    assert store.sql("SELECT ? + 1 AS n", [2]).n[0] == 3


ESCAPES = [
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_blob('{store}')",
    "SELECT * FROM read_parquet('{root}/*/segments/rollouts/*.parquet')",
    "SELECT * FROM parquet_metadata('{root}/x.parquet')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '/etc/passwd'",
    'SELECT * FROM "{store}"',
    "SELECT (SELECT max(file) FROM glob('/*'))",
    "WITH a AS (FROM read_text('/etc/passwd')) FROM a",
    "SELECT 1 UNION ALL SELECT content FROM read_text('/etc/passwd')",
    "FROM query('SELECT 1')",
    "FROM query_table('rollouts')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT getenv('HOME')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "COPY (SELECT 1) TO '/tmp/escaped.csv'",
    "COPY rollouts FROM '/etc/passwd'",
    "ATTACH '/tmp/escaped.duckdb'",
    "DETACH store",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CREATE TABLE escaped (i INTEGER)",
    "CREATE MACRO escaped() AS 1",
    "INSERT INTO live.rollouts BY NAME SELECT 'x' AS run_id",
    "DELETE FROM live.rollouts",
    "UPDATE live.runs SET run_id = 'x'",
    "DROP VIEW rollouts",
    "EXPORT DATABASE '/tmp/escaped'",
    "IMPORT DATABASE '/tmp/escaped'",
    "CHECKPOINT store",
    "EXPLAIN ANALYZE SELECT 1",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '/tmp/escaped.csv'",
    "SELECT * FROM store_frame",
    "",
    "-- nothing",
]


OUTSIDE = [e for e in ESCAPES if any(w in e for w in ("read_", "COPY", "SET en", "RESET", "LOAD"))]


@pytest.mark.parametrize("sql", ESCAPES)
def test_no_query_escapes(store, sql):
    store_frame = store.runs()  # a DataFrame of this frame must not be reachable by its name
    assert len(store_frame) == 1
    sql = sql.replace("{root}", str(store.runs_dir)).replace(
        "{store}", str(store.runs_dir / "workbench.duckdb")
    )
    with pytest.raises(QueryError):
        store.query(sql)
    assert store.sql("SELECT count(*) AS n FROM rollouts").n[0] == 20


@pytest.mark.parametrize("sql", OUTSIDE)
def test_the_settings_alone_would_hold_too(store, sql):
    """Without the parser's check DuckDB's own settings still refuse the world outside."""
    inside = sql.replace("{root}", str(store.runs_dir)).replace("{store}", "/etc/hostname")
    with store._session.attached() as cursor, pytest.raises(duckdb.Error):
        cursor.execute(inside).fetchall()


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW TABLES",
        "DESCRIBE rollouts",
        "SUMMARIZE metrics",
        "FROM runs",
        "VALUES (1), (2)",
        "SELECT * FROM range(3)",
        "SELECT unnest(map_keys(rewards)) FROM rollouts",
        "WITH r AS (FROM rollouts) SELECT step, avg(advantage) FROM r GROUP BY ALL;",
        "SELECT list_transform([1, 2], lambda x: x + 1)",
    ],
)
def test_honest_queries_pass(store, sql):
    assert len(store.query(sql).rows) > 0


def test_a_query_that_takes_too_long_is_ended(store):
    endless = "SELECT count(*) FROM range(1000000) a, range(1000000) b"
    with pytest.raises(QueryError, match="longer than 0.2 s"):
        store.query(endless, seconds=0.2)


def test_a_reader_waits_for_an_archive_and_then_says_so(tmp_path, monkeypatch):
    make_run(tmp_path)
    store = Store(tmp_path)
    code = (
        "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('held', flush=True); "
        "time.sleep(float(sys.argv[2]))"
    )

    def hold(seconds):
        command = [sys.executable, "-c", code, str(tmp_path / "workbench.duckdb"), str(seconds)]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert holder.stdout.readline() == "held\n"
        return holder

    with hold(0.5):
        assert len(store.runs()) == 1
    turns.reading_mark(tmp_path).unlink()
    monkeypatch.setattr(session_module, "BUSY_SECONDS", 0.1)
    with hold(60) as holder:
        assert not turns.reader_waits(tmp_path)
        with pytest.raises(StoreBusyError, match="archived"):
            store.runs()
        assert turns.reader_waits(tmp_path)  # what an archive looks at between two holds
        holder.kill()
    assert len(store.runs()) == 1


def test_many_threads_ask_at_once(store):
    with ThreadPoolExecutor(8) as pool:
        counts = pool.map(
            lambda _: int(store.sql("SELECT count(*) n FROM rollouts").n[0]), range(40)
        )
        assert set(counts) == {20}


def test_a_reader_starts_over_and_nobody_notices(tmp_path, monkeypatch):
    """Every second question in a database made anew, eight threads at once; rows on both sides."""
    run = make_run(tmp_path)
    fill(run, range(2))
    archive(tmp_path, RUN)
    fill(run, range(2, 4))
    bad = run / "segments" / "rollouts" / "s0009-000000-dead.parquet"
    bad.write_bytes(b"PAR1 no")
    monkeypatch.setattr(session_module, "RENEW_AFTER", 2)
    made, connect = [], session_module.Session._connect

    def counted(session):
        made.append(session)
        connect(session)

    monkeypatch.setattr(session_module.Session, "_connect", counted)
    store = Store(tmp_path)
    question = "SELECT step, count(*) AS n FROM rollouts GROUP BY 1 ORDER BY 1"
    one_by_one = [store.sql(question).n.tolist() for _ in range(10)]
    with ThreadPoolExecutor(8) as pool:
        at_once = list(pool.map(lambda _: store.sql(question).n.tolist(), range(40)))
    assert [*one_by_one, *at_once] == [[8] * 4] * 50
    assert len(made) >= 5
    assert any(bad.name in problem for problem in store.notices)


def test_the_reader_needs_no_heavy_library():
    code = (
        "import sys, workbench.store.reader, workbench.store.archive, workbench.store.export, "
        "workbench.store.imports, workbench.store.doctor, workbench.store.writer; "
        "print({'torch', 'trl', 'transformers', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_archived_rows_leave_memory_though_others_stay(tmp_path):
    """DuckDB keeps the memory of deleted rows; an app that watches for a day would only grow."""
    long, short = make_run(tmp_path), make_run(tmp_path, "20260101-000000-beef")
    fill(long, range(80), contexts=None, rows=64)
    fill(short, range(1))
    store = Store(tmp_path)
    counted = "SELECT run_id, count(*) AS n FROM rollouts GROUP BY 1 ORDER BY 1"
    before = store.sql(counted)
    used = "SELECT sum(memory_usage_bytes) AS b FROM duckdb_memory() WHERE tag = 'IN_MEMORY_TABLE'"
    full, held = store._session._con.execute(used).fetchone()[0], store.waiting
    write_state(long, status="finished")
    archive(tmp_path)
    assert store.sql(counted).equals(before)
    assert held == 81 and store.waiting == 1
    assert store._session._con.execute(used).fetchone()[0] < full / 3


def test_watching_a_run_keeps_one_state_of_it(tmp_path):
    """A run says its state with every step: 300 of them must not stay in the reader's memory."""
    run = make_run(tmp_path, summary={"note": "n" * 20_000})
    store = Store(tmp_path)
    used = "SELECT sum(memory_usage_bytes) AS b FROM duckdb_memory()"
    held = []
    for step in range(301):
        write_state(run, step=step)
        assert store.sql("SELECT step FROM runs").step[0] == step
        held.append(store._session._con.execute(used).fetchone()[0])
    assert held[300] <= held[1] + 262_144  # one block of DuckDB's; 300 identities are 6 MB
