"""Rows move from segments into native tables: each is seen exactly once, before and after."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from store_batches import RUN, fill, make_batch, make_run, plain_count

from workbench.store import archive as archive_module
from workbench.store.annotations import annotate, retract, tombstone
from workbench.store.archive import archive
from workbench.store.catalog import VIEWS, store_path
from workbench.store.reader import Store
from workbench.store.retention import Checkpoint, surplus
from workbench.store.state import write_state
from workbench.store.writer import RunWriter


def everything(runs_dir, view):
    frame = Store(runs_dir).sql(f"FROM {view} ORDER BY ALL")
    return frame.astype(str).values.tolist()


def test_archiving_changes_nothing_that_anybody_sees(tmp_path):
    run_dir = make_run(tmp_path)
    fill(run_dir, range(6))
    fill(make_run(tmp_path, "20260101-000000-beef"), range(3), names=("a", "b"))
    before = {view: everything(tmp_path, view) for view in VIEWS}
    counts = {view: plain_count(tmp_path, view) for view in VIEWS}
    assert counts["rollouts"] == 72 and counts["rollout_objectives"] == 6 * 24 + 3 * 16
    write_state(run_dir, status="finished")
    write_state(tmp_path / "20260101-000000-beef", status="failed")
    before["runs"] = everything(tmp_path, "runs")
    report = archive(tmp_path)
    assert report.rows == 72 + 2 * 9 and not report.busy and len(report.runs) == 2
    assert list(run_dir.glob("segments/rollouts/*")) == []
    assert {view: everything(tmp_path, view) for view in VIEWS} == before
    assert {view: plain_count(tmp_path, view) for view in VIEWS} == counts
    assert archive(tmp_path).segments == 0


@pytest.mark.parametrize(("seconds", "portions"), [(9.0, [1] * 6), (0.001, [1, 1, 2, 2])])
def test_a_slow_machine_gets_short_transactions(tmp_path, monkeypatch, seconds, portions):
    fill(make_run(tmp_path), range(12), contexts=None)
    real, moved = archive_module.move, []
    monkeypatch.setattr(archive_module, "BATCH_FILES", 6)
    monkeypatch.setattr(archive_module, "PORTION_FILES", 24)
    monkeypatch.setattr(archive_module, "move", lambda *a: (moved.append(len(a[2])), real(*a)))
    monkeypatch.setattr(archive_module._Pace, "took", _took(seconds))
    archive(tmp_path, RUN)
    # 36 segments are 6 batches: first a quarter of 24 files, which is known to be fast when the
    # second portion is already read; then twice as many, then all that are left
    assert moved == portions
    assert plain_count(tmp_path, "rollouts") == 96


def _took(seconds):
    """A clock on which every transaction takes so long."""
    real = archive_module._Pace.took
    return lambda pace, _: real(pace, seconds)


def test_a_live_run_keeps_few_segments_and_gives_many(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "LIVE_SEGMENTS", 4)
    run_dir = make_run(tmp_path)
    fill(run_dir, range(3))
    assert archive(tmp_path).segments == 0
    fill(run_dir, range(3, 5))
    assert archive(tmp_path).rows == 40 + 5 + 5
    assert plain_count(tmp_path, "rollouts") == 40


def test_where_attempts_overlap_the_newest_wins_step_by_step(tmp_path):
    run_dir = make_run(tmp_path)
    fill(run_dir, range(6))  # attempt 1 reached step 5
    fill(run_dir, range(4, 5))  # attempt 2 resumed from step 4
    expected = [(s, 2 if s == 4 else 1, 8) for s in range(6)]
    query = "SELECT step, attempt, count(*) FROM rollouts GROUP BY ALL ORDER BY ALL"

    def seen():
        with duckdb.connect(str(store_path(tmp_path)), read_only=True) as con:
            plain = con.execute(query).fetchall()
        frame = Store(tmp_path).sql(query)
        assert [tuple(r) for r in frame.values.tolist()] == plain
        return plain

    Store(tmp_path)
    assert seen() == expected
    archive(tmp_path, RUN)
    assert seen() == expected
    fill(run_dir, range(5, 7))  # attempt 3, while older attempts are native rows
    expected = [(s, {4: 2, 5: 3, 6: 3}.get(s, 1), 8) for s in range(7)]
    assert seen() == expected
    archive(tmp_path, RUN)
    assert seen() == expected
    for view in ("metrics", "conductor_updates"):
        assert plain_count(tmp_path, view) == 7


def test_a_probe_of_a_new_attempt_leaves_training_rows_alone(tmp_path):
    run_dir = make_run(tmp_path)
    fill(run_dir, range(3))
    fill(run_dir, range(2, 3), split="probe")
    for _ in range(2):
        rows = Store(tmp_path).sql("SELECT split, count(*) n FROM rollouts GROUP BY 1 ORDER BY 1")
        assert rows.values.tolist() == [["probe", 8], ["train", 24]]
        archive(tmp_path)


@pytest.mark.parametrize("moment", ["commit", "half", "all"])
def test_an_archive_that_dies_between_commit_and_cleaning_loses_and_doubles_nothing(
    tmp_path, monkeypatch, moment
):
    run_dir = make_run(tmp_path)
    fill(run_dir, range(4))
    files = sorted((run_dir / "segments" / "rollouts").iterdir())
    real = Path.unlink
    survivors = {"commit": files, "half": files[2:], "all": []}[moment]

    def unlink(self, missing_ok=False):
        if self in survivors:
            raise KeyboardInterrupt
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    if survivors:
        with pytest.raises(KeyboardInterrupt):
            archive(tmp_path, RUN)
    else:
        archive(tmp_path, RUN)
    monkeypatch.undo()
    assert [f for f in files if f.exists()] == survivors
    assert plain_count(tmp_path, "rollouts") == 32
    assert Store(tmp_path).sql("SELECT count(*) n FROM rollouts").n[0] == 32
    archive(tmp_path, RUN)
    assert not any(f.exists() for f in files)
    assert plain_count(tmp_path, "rollouts") == 32


CHECKPOINT = """
import duckdb, os, sys
con = duckdb.connect(sys.argv[1])
con.execute("SET checkpoint_threshold = '1GB'; SET debug_checkpoint_abort = 'before_header'")
con.execute("CREATE TABLE more AS FROM range(1000)")
try:
    con.execute("CHECKPOINT")
finally:
    os._exit(0)
"""


def test_a_checkpoint_that_was_cut_short_is_read_and_finished(tmp_path):
    fill(make_run(tmp_path), range(2))
    archive(tmp_path, RUN)
    fill(tmp_path / RUN, range(2, 3))
    path = store_path(tmp_path)
    subprocess.run([sys.executable, "-c", CHECKPOINT, str(path)], check=True, capture_output=True)
    left = path.with_name(path.name + ".wal")
    assert left.exists()
    assert Store(tmp_path).sql("SELECT count(*) n FROM rollouts").n[0] == 24
    assert plain_count(tmp_path, "rollouts") == 24
    archive(tmp_path, RUN)
    assert not left.exists() and plain_count(tmp_path, "archive.rollouts") == 24


SMALL_DISK = """
import resource, signal, sys
from workbench.store.archive import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))
sys.exit(main(sys.argv[1:]))
"""


def test_a_disk_that_is_full_stops_the_archive_and_loses_nothing(tmp_path):
    fill(make_run(tmp_path), range(3))
    Store(tmp_path)
    command = [sys.executable, "-c", SMALL_DISK, str(tmp_path), "--run", RUN]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "" and done.stdout.count("\n") == 1
    for words in ("archive failed", "workbench.duckdb", "File too large", "stays readable"):
        assert words in done.stdout
    assert plain_count(tmp_path, "rollouts") == len(everything(tmp_path, "rollouts")) == 24
    assert archive(tmp_path, RUN).rows == 30
    assert plain_count(tmp_path, "archive.rollouts") == 24


def test_somebody_who_has_the_store_open_only_postpones(tmp_path):
    run_dir = make_run(tmp_path)
    fill(run_dir, range(2))
    Store(tmp_path)
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); "
        "print(c.execute('select count(*) from rollouts').fetchall(), flush=True); "
        "sys.stdin.read(); print(c.execute('select count(*) from rollouts').fetchall())"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(store_path(tmp_path))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "[(16,)]\n"
    report = archive(tmp_path, RUN, patience=0.2)
    assert report.busy and report.segments == 0
    assert Store(tmp_path).sql("SELECT count(*) n FROM rollouts").n[0] == 16
    out, _ = holder.communicate("")
    assert out == "[(16,)]\n"
    assert archive(tmp_path, RUN).rows == 16 + 2 + 2


def test_a_notebook_of_this_process_keeps_its_lock_when_the_reader_lets_go(tmp_path):
    fill(make_run(tmp_path), range(2))
    store = Store(tmp_path)
    with duckdb.connect(str(store_path(tmp_path)), read_only=True) as notebook:
        assert store.sql("SELECT count(*) n FROM rollouts").n[0] == 16
        command = [sys.executable, "-m", "workbench.store.archive", str(tmp_path)]
        done = subprocess.run(
            [*command, "--run", RUN, "--patience", "0.2"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "open elsewhere" in done.stdout
        assert notebook.execute("SELECT count(*) FROM rollouts").fetchall() == [(16,)]
    assert store.sql("SELECT count(*) n FROM rollouts").n[0] == 16
    assert archive(tmp_path, RUN).rows == 20


def test_deleted_runs_vanish_at_once_and_for_good(tmp_path):
    run_dir = make_run(tmp_path)
    fill(run_dir, range(2))
    fill(make_run(tmp_path, "20260101-000000-beef"), range(2))
    archive(tmp_path, "20260101-000000-beef")
    for run_id in (RUN, "20260101-000000-beef"):
        tombstone(tmp_path, run_id)
    for view in ("runs", "rollouts", "metrics", "conductor_updates"):
        assert plain_count(tmp_path, view) == 0 and everything(tmp_path, view) == []
    archive(tmp_path)
    assert plain_count(tmp_path, "archive.rollouts") == 0
    assert plain_count(tmp_path, "rollouts") == 0


def test_annotations_are_replaced_and_taken_back(tmp_path):
    make_run(tmp_path)
    vote = annotate(tmp_path, RUN, "rating", score=0.5, rater="ann", group_id="g", sample=1)
    annotate(tmp_path, RUN, "tag", text="<b>tag</b>")
    annotate(tmp_path, RUN, "rating", annotation_id=vote, score=0.75, rater="ann")
    for _ in range(2):
        rows = Store(tmp_path).sql("FROM annotations WHERE run_id = $1 ORDER BY time", [RUN])
        assert rows["type"].tolist() == ["tag", "rating"] and rows.score.tolist()[1] == 0.75
        archive(tmp_path, RUN)
    retract(tmp_path, RUN, vote)
    assert Store(tmp_path).sql("FROM annotations")["type"].tolist() == ["tag"]
    with pytest.raises(ValueError, match="1.5"):
        annotate(tmp_path, RUN, "rating", score=1.5)
    with pytest.raises(ValueError, match="no run"):
        annotate(tmp_path, "nobody", "note", text="x")


def test_checkpoints_that_may_go_are_neither_best_nor_last():
    made = [
        Checkpoint(s, 1, f"c{s}", score)
        for s, score in [(10, 0.9), (20, None), (30, 0.4), (40, 0.5), (50, 0.1)]
    ]
    assert [c.step for c in surplus(made, 2)] == [20, 30]  # 10 is best, 40 and 50 are kept
    assert [c.step for c in surplus(made, 1)] == [20, 30, 40]
    assert surplus(made, 5) == [] and surplus([], 1) == []


def test_retention_deletes_and_says_so(tmp_path):
    run_dir = make_run(tmp_path)
    (run_dir / "config.yaml").write_text("logging: {keep_checkpoints: 1, contexts_mb: 0.001}\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    with RunWriter(run_dir, flush_seconds=0) as writer:
        for step, score in [(1, 0.9), (2, 0.1), (3, 0.5)]:
            path = run_dir / "checkpoints" / f"step-{step:06d}"
            path.mkdir(parents=True)
            writer.checkpoint(step, path, {"score": score})
            writer.rollouts(make_batch(step))
            writer.flush()
        writer.checkpoint(0, outside, {})
    write_state(run_dir, status="finished")
    report = archive(tmp_path)
    kept = Store(tmp_path).sql("FROM checkpoints WHERE NOT removed ORDER BY step")
    assert kept.step.tolist() == [0, 1, 3]
    assert [p.name for p in report.checkpoints_removed] == ["step-000002"]
    assert not (run_dir / "checkpoints" / "step-000002").exists() and outside.exists()
    assert report.freed_bytes > 0
    # the newest context segment stays even where it alone is over the budget
    assert Store(tmp_path).contexts(RUN).step.unique().tolist() == [3]


def test_the_command_reports_and_fails_in_one_line(tmp_path):
    fill(make_run(tmp_path), range(2))
    command = [sys.executable, "-m", "workbench.store.archive"]
    done = subprocess.run([*command, str(tmp_path), "--run", RUN], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("archived 6 segments (20 rows) of 1 run")
    (tmp_path / "file").write_text("")
    done = subprocess.run([*command, str(tmp_path / "file")], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.startswith("archive failed:")
    assert json.loads((tmp_path / RUN / "run.json").read_text())["run_id"] == RUN
