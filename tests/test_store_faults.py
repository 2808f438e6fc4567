"""What a store does when the world misbehaves: nothing whole is lost, and the fault has a name."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import time

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_batches import RUN, make_batch, make_run

from workbench.analysis.groups import GroupFilter, groups
from workbench.store import writer as writer_module
from workbench.store.archive import archive
from workbench.store.catalog import store_path
from workbench.store.doctor import examine
from workbench.store.encode import encode_rollouts
from workbench.store.errors import StoreError, StoreVersionError, StoreWarning
from workbench.store.quarantine import quarantined
from workbench.store.reader import Store
from workbench.store.segments import write_segment
from workbench.store.state import read_state, write_state
from workbench.store.writer import RunWriter


def publish_steps(run_dir, steps):
    with RunWriter(run_dir, flush_seconds=0) as writer:
        for step in steps:
            writer.rollouts(make_batch(step, contexts=None))
            writer.flush()
    return sorted((run_dir / "segments" / "rollouts").iterdir())


def steps_seen(runs_dir):
    rows = Store(runs_dir).sql("SELECT step, count(*) n FROM rollouts GROUP BY step ORDER BY step")
    assert set(rows.n) <= {8}
    return rows.step.tolist()


pytestmark = pytest.mark.filterwarnings("ignore::workbench.store.errors.StoreWarning")

DAMAGE = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "no footer": lambda data: data[:-8],
    "garbage": lambda data: b"PAR1" + os.urandom(500) + b"PAR1",
    "flipped": lambda data: data[:300] + bytes(b ^ 0xFF for b in data[300:900]) + data[900:],
    "another file": lambda data: b"not a segment at all",
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("who", ["reader", "archiver", "doctor"])
def test_a_damaged_segment_is_quarantined_and_named(tmp_path, kind, who):
    run_dir = make_run(tmp_path)
    files = publish_steps(run_dir, range(3))
    files[1].write_bytes(DAMAGE[kind](files[1].read_bytes()))
    if who == "reader":
        store = Store(tmp_path)
        assert steps_seen(tmp_path) == [0, 2]
        assert files[1].name in store.notices[0]
    elif who == "archiver":
        report = archive(tmp_path, RUN)
        assert files[1].name in str(report) and report.rows == 16
    else:
        health = examine(tmp_path)
        assert not health.healthy and any(files[1].name in p for p in health.problems)
    (found,) = quarantined(tmp_path)
    assert found.path.name == files[1].name and found.moved_to.exists() and found.reason
    assert steps_seen(tmp_path) == [0, 2]
    with duckdb.connect(str(store_path(tmp_path)), read_only=True) as plain:
        assert plain.execute("SELECT count(*) FROM rollouts").fetchall() == [(16,)]


def test_a_segment_of_another_shape_is_damage_only_where_it_contradicts(tmp_path):
    run_dir = make_run(tmp_path)
    publish_steps(run_dir, range(2))
    rows, _ = encode_rollouts(make_batch(2), RUN, 1, 0.0)
    folder = run_dir / "segments" / "rollouts"
    older = rows.drop_columns(["scaled", "token_entropies"])
    newer = rows.append_column("colour", pa.array(["red"] * 8))
    write_segment(older, folder / "s0001-000008-old.parquet")
    write_segment(
        newer.set_column(2, "step", pa.array([3] * 8)), folder / "s0001-000009-new.parquet"
    )
    text = rows.set_column(2, "step", pa.array(["four"] * 8))
    write_segment(text, folder / "s0001-000010-bad.parquet")
    store = Store(tmp_path)
    assert steps_seen(tmp_path) == [0, 1, 2, 3]
    assert "s0001-000010-bad.parquet" in store.notices[0]
    archive(tmp_path, RUN)
    assert steps_seen(tmp_path) == [0, 1, 2, 3]


def test_a_segment_of_a_newer_workbench_is_not_taken_for_damage(tmp_path):
    (path,) = publish_steps(make_run(tmp_path), range(1))
    rows = pq.read_table(path)
    text = rows.set_column(2, "step", pa.array(["a newer idea of a step"] * 8))
    write_segment(text.replace_schema_metadata({"workbench_schema": "99"}), path)
    with pytest.raises(StoreVersionError, match=f"{path.name} has schema 99"):
        Store(tmp_path).sql("FROM rollouts")
    assert path.exists()


def test_a_segment_that_vanishes_takes_only_its_own_rows(tmp_path):
    run_dir = make_run(tmp_path)
    files = publish_steps(run_dir, range(3))
    assert steps_seen(tmp_path) == [0, 1, 2]
    files[1].unlink()
    assert steps_seen(tmp_path) == [0, 2]
    assert archive(tmp_path, RUN).rows == 16
    assert quarantined(tmp_path) == []


def test_a_segment_that_vanishes_between_listing_and_reading_is_no_error(tmp_path, monkeypatch):
    run_dir = make_run(tmp_path)
    files = publish_steps(run_dir, range(3))
    store = Store(tmp_path)
    read = type(store._session.cache)._read
    gone = []

    def read_late(self, table, numbers):
        if not gone:
            gone.append(files[0])
            files[0].unlink()
        return read(self, table, numbers)

    monkeypatch.setattr(type(store._session.cache), "_read", read_late)
    assert steps_seen(tmp_path) == [1, 2] and store.notices == []


def test_half_written_segments_of_a_killed_writer_are_never_seen(tmp_path):
    run_dir = make_run(tmp_path)
    (whole, *_) = publish_steps(run_dir, range(1))
    left = whole.with_name(f".{whole.name}.ab12.tmp")
    left.write_bytes(whole.read_bytes()[:100])
    assert steps_seen(tmp_path) == [0]
    assert any(str(left) in p and "never finished" in p for p in examine(tmp_path).problems)
    mended = examine(tmp_path, mend=True)
    assert mended.healthy and not left.exists() and whole.exists()


def _train_on_a_small_disk(run_dir, result):
    """A process that may write no file beyond 6 kB, until the disk "is cleaned"."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer_module.RETRY_SECONDS = 0.1
    writer = RunWriter(run_dir, flush_seconds=0)
    writer.rollouts(make_batch(0))
    first = writer.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, unlimited[1]))
    for step in range(1, 4):
        writer.rollouts(make_batch(step))
        writer.metrics(step, {"loss": 1.0})
    while_full = writer.flush(timeout=10)
    problems = list(writer.problems)
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    writer.rollouts(make_batch(4))
    deadline = time.monotonic() + 20
    while not writer.flush(timeout=5) and time.monotonic() < deadline:
        time.sleep(0.05)
    writer.close()
    result.put((first, while_full, problems))


def test_a_full_disk_delays_and_loses_nothing(tmp_path):
    run_dir = make_run(tmp_path)
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    child = context.Process(target=_train_on_a_small_disk, args=(run_dir, result))
    child.start()
    first, while_full, problems = result.get(timeout=120)
    child.join()
    assert first and not while_full
    assert len(problems) == 1 and "File too large" in problems[0]
    assert steps_seen(tmp_path) == [0, 1, 2, 3, 4]
    assert len(Store(tmp_path).contexts(RUN)) == 40
    assert list(run_dir.glob("segments/*/.*.tmp")) == []


def test_a_directory_that_cannot_be_written_is_told_and_training_goes_on(tmp_path):
    run_dir = make_run(tmp_path)
    # a file where the folder should be refuses every write, whoever asks: even the superuser
    (run_dir / "segments").write_text("")
    (run_dir / "attempts").write_text("")
    writer = RunWriter(run_dir, flush_seconds=0)
    for step in range(3):
        writer.rollouts(make_batch(step))
    assert not writer.flush(timeout=10)
    writer.state(message=writer.problems[-1])
    (run_dir / "segments").unlink()
    deadline = time.monotonic() + 20
    while not writer.flush(timeout=5) and time.monotonic() < deadline:
        time.sleep(0.05)
    writer.close()
    assert any("attempt 1 is not on record" in p for p in writer.problems)
    assert "Error" in read_state(run_dir)["message"]
    assert steps_seen(tmp_path) == [0, 1, 2]


def test_rows_that_could_never_be_written_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.01)
    run_dir = make_run(tmp_path)
    (run_dir / "segments").write_text("")
    with RunWriter(run_dir, flush_seconds=0) as writer:
        writer.rollouts(make_batch(0, contexts=None))
    assert any("8 rows could not be written" in p for p in writer.problems)


def test_a_damaged_segment_that_cannot_be_moved_is_left_out_and_named(tmp_path):
    run_dir = make_run(tmp_path)
    files = publish_steps(run_dir, range(2))
    files[0].write_bytes(b"")
    (run_dir / "quarantine").write_text("")
    with pytest.warns(StoreWarning, match=f"{files[0].name} is damaged .*cannot be moved"):
        assert steps_seen(tmp_path) == [1]
    assert steps_seen(tmp_path) == [1] and files[0].exists()
    assert len(Store(tmp_path).notices) == 1
    report = archive(tmp_path, RUN)
    assert report.rows == 8 and files[0].exists()
    assert not examine(tmp_path).healthy


def test_a_store_that_cannot_be_made_says_where(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="no store in .*file"):
        Store(tmp_path / "file")
    store_path(tmp_path).write_bytes(b"this is no database, and long enough to look like one" * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="cannot be opened"):
        archive(tmp_path, patience=0)
    with pytest.raises(FileNotFoundError):
        examine(tmp_path / "nowhere")


def test_damaged_run_files_hide_nobody_else(tmp_path):
    for run in (RUN, "20260101-000000-0002", "20260101-000000-0003"):
        publish_steps(make_run(tmp_path, run), range(1))
    (tmp_path / RUN / "run.json").write_bytes(b"\xff\xfe{")
    (tmp_path / "20260101-000000-0002" / "state.json").write_text("{")
    names = Store(tmp_path).runs().run_id.tolist()
    assert set(names) == {"20260101-000000-0002", "20260101-000000-0003"}
    with duckdb.connect(str(store_path(tmp_path)), read_only=True) as plain:
        found = {r[0] for r in plain.execute("SELECT run_id FROM runs").fetchall()}
        assert found >= set(names)
        assert plain.execute("SELECT count(*) FROM rollouts").fetchall() == [(24,)]
    assert any("run.json is damaged" in p for p in examine(tmp_path).problems)


def test_a_store_in_which_everything_is_removed_under_a_reader(tmp_path):
    root = tmp_path / "runs"
    publish_steps(make_run(root), range(2))
    store = Store(root)
    assert steps_seen(root) == [0, 1]
    shutil.rmtree(root / RUN)
    assert steps_seen(root) == [] and len(store.runs()) == 0


def test_the_doctor_sees_a_healthy_store_and_a_silent_run(tmp_path):
    run_dir = make_run(tmp_path)
    publish_steps(run_dir, range(2))
    health = examine(tmp_path)
    assert health.healthy and health.rollouts == 16 and health.runs == {"running": 1}
    assert "healthy" in str(health) and health.as_dict()["healthy"]
    write_state(run_dir)
    state = (run_dir / "state.json").read_text()
    (run_dir / "state.json").write_text(
        state.replace('"heartbeat": ', '"heartbeat": 1'[:-1] + "0.0")
    )
    write_state(run_dir, status="finished")
    archive(tmp_path)
    health = examine(tmp_path)
    assert health.archived["rollouts"] == 16 and sum(health.segments.values()) == 0
    assert "bytes a rollout" in str(health)


HOSTILE = [
    "<script>alert(1)</script>",
    "'; DROP VIEW rollouts; --",
    "%_*?[a]",
    "\u202eright to left\u202c",
    "zero\u200bwidth \ufeff",
    "nul \x00 bell \x07 escape \x1b[31m",
    "\ud800 lone surrogate",
    "👩‍👩‍👧‍👦 e\u0301",
    "=HYPERLINK(1)",
    "",
    "line\r\nbreak\u2028",
    "a" * 100_000,
]


def test_hostile_text_comes_back_as_it_was(tmp_path):
    run_dir = make_run(tmp_path, name=HOSTILE[1])
    batch = make_batch(
        0,
        rows=len(HOSTILE),
        completions=HOSTILE,
        prompts=HOSTILE,
        kinds=HOSTILE,
        prompt_ids=HOSTILE,
    )
    with RunWriter(run_dir) as writer:
        writer.rollouts(batch)
    expected = [t.encode("utf-8", "replace").decode() for t in HOSTILE]
    for _ in range(2):
        rows = Store(tmp_path).sql("FROM rollouts ORDER BY group_id, sample")
        for column in ("completion", "prompt", "kind", "prompt_id"):
            assert rows[column].tolist() == expected
        for i, text in enumerate(expected[:-1]):
            if text:
                store = Store(tmp_path)
                assert len(groups(store, RUN, GroupFilter(text=text)))
                page = groups(store, RUN, GroupFilter(kind=text))
                assert page.prompt_id.tolist() in ([expected[i]], [expected[i // 4 * 4]], [])
        assert Store(tmp_path).runs().name[0] == HOSTILE[1]
        archive(tmp_path, RUN)


@pytest.fixture(scope="module")
def one_step(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    return publish_steps(make_run(root), range(1))[0]


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 10_000), st.integers(0, 400))
def test_no_bytes_whatsoever_take_a_reader_down(one_step, data, start, length):
    """Bytes made up, and the bytes of a whole segment with a stretch of it overwritten."""
    whole = one_step.read_bytes()
    start %= len(whole)
    for i, content in enumerate((data, whole[:start] + data[:length] + whole[start + length :])):
        fuzzed = one_step.with_name(f"s0001-000007-{i}.parquet")
        fuzzed.write_bytes(content)
        root = one_step.parents[3]
        rows = Store(root).sql("SELECT count(*) n FROM rollouts WHERE completion IS NOT NULL")
        assert rows.n[0] >= 8  # an overwritten stretch may hit only bytes that nobody reads
        fuzzed.unlink(missing_ok=True)


def test_names_of_runs_with_quotes_and_spaces_are_only_names(tmp_path):
    root = tmp_path / "it's a [folder] with 100%"
    run = "20260101-000000-o'b"
    publish_steps(make_run(root, run), range(2))
    assert Store(root).sql("SELECT DISTINCT run_id FROM rollouts").run_id.tolist() == [run]
    archive(root, run)
    samples = Store(root).sql(
        "SELECT sample FROM rollouts WHERE group_id = 'train-000001-000' ORDER BY sample"
    )
    assert samples["sample"].tolist() == [0, 1, 2, 3]
