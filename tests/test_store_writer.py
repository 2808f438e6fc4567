"""A run publishes: whole segments, exact numbers, never an exception into training."""

from __future__ import annotations

import json
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest
from store_batches import NAMES, RUN, make_batch, make_run

from workbench.store.schema import TABLES
from workbench.store.segments import claim_attempt
from workbench.store.state import read_state, write_state
from workbench.store.writer import RunWriter


def rows_of(run_dir, table):
    files = sorted((run_dir / "segments" / table).glob("*.parquet"))
    return [row for f in files for row in pq.read_table(f).to_pylist()]


def test_a_batch_comes_back_to_the_last_bit(tmp_path):
    run_dir = make_run(tmp_path)
    batch = make_batch(3)
    batch.rewards[0, 1] = np.nan
    batch.rewards[1, 0] = 5e-324  # the smallest double
    with RunWriter(run_dir) as writer:
        writer.rollouts(batch)
    rows = rows_of(run_dir, "rollouts")
    assert [dict(r["rewards"])["preference"] for r in rows] == batch.rewards[:, 2].tolist()
    assert np.isnan(dict(rows[0]["rewards"])["length"])
    assert dict(rows[1]["rewards"])["format"] == 5e-324
    assert [r["advantage"] for r in rows] == batch.advantages.tolist()
    assert [[v for _, v in r["weights"]] for r in rows] == batch.weights.tolist()
    assert rows[0]["scaled"] is None
    # nobody asked the judge about odd rows: NULL, not NaN
    assert [r["judge"] is None for r in rows] == [False, True] * 4
    # actions -1, 0, 1, 2: nothing sampled, then each objective in order
    assert [r["action"] for r in rows[:4]] == [None, *NAMES]
    assert {r["group_id"] for r in rows} == {"train-000003-000", "train-000003-001"}
    assert [r["sample"] for r in rows] == [0, 1, 2, 3] * 2
    assert [len(r["token_ids"]) for r in rows] == list(range(8))
    contexts = rows_of(run_dir, "contexts")
    assert np.array_equal([r["context"] for r in contexts], batch.contexts)
    assert all(r["run_id"] == RUN and r["attempt"] == 1 for r in rows)


def test_what_is_queued_together_becomes_one_segment_a_table(tmp_path):
    run_dir = make_run(tmp_path)
    writer = RunWriter(run_dir, flush_seconds=30)
    for step in range(5):
        writer.rollouts(make_batch(step))
        writer.metrics(step, {"loss": 1.0 / (step + 1), "missing": None})
    assert writer.flush()
    assert len(list((run_dir / "segments" / "rollouts").iterdir())) == 1
    assert [r["value"] for r in rows_of(run_dir, "metrics")] == [1, 0.5, 1 / 3, 0.25, 0.2]
    writer.close()


def test_every_table_keeps_what_it_was_given(tmp_path):
    run_dir = make_run(tmp_path)
    with RunWriter(run_dir) as writer:
        writer.conductor_update(
            2, {"loss": 0.5, "policy": {"format": 0.25, "length": 0.75}, "odd": 3, "none": None}
        )
        writer.checkpoint(2, run_dir / "checkpoints" / "step-000002", {"score": 0.5})
        writer.warning(2, "collapse", "one objective has all the weight", "raise entropy_coef")
        writer.evaluation(
            {
                "step": [0, 0],
                "phase": "before",
                "completion": ["a", "b"],
                "rewards": (NAMES, np.array([[1, 2, 3], [4, 5, np.nan]])),
                "weights": [{"format": 1.0}, None],
                "judge": [0.25, float("nan")],
            }
        )
    (update,) = rows_of(run_dir, "conductor_updates")
    assert update["policy"] == [("format", 0.25), ("length", 0.75)]
    assert update["other"] == [("odd", 3.0)]
    (checkpoint,) = rows_of(run_dir, "checkpoints")
    assert checkpoint["path"] == "checkpoints/step-000002" and checkpoint["score"] == 0.5
    assert rows_of(run_dir, "warnings")[0]["advice"] == "raise entropy_coef"
    first, second = rows_of(run_dir, "evaluations")
    assert dict(first["rewards"]) == {"format": 1, "length": 2, "preference": 3}
    assert first["judge"] == 0.25 and second["judge"] is None and second["weights"] is None


def test_an_unknown_evaluation_column_is_refused_by_name(tmp_path):
    with RunWriter(make_run(tmp_path)) as writer, pytest.raises(KeyError, match="colour"):
        writer.evaluation({"completion": ["a"], "colour": ["red"]})


def test_a_malformed_batch_is_named_and_what_follows_is_kept(tmp_path):
    run_dir = make_run(tmp_path)
    with RunWriter(run_dir) as writer:
        writer.rollouts(make_batch(1, rewards=np.zeros((8, 2))))
        writer.rollouts(make_batch(2))
        writer.state(message=object())
        writer.state(step=2)
    assert {r["step"] for r in rows_of(run_dir, "rollouts")} == {2}
    assert len(writer.problems) == 2
    assert "(8, 2)" in writer.problems[0] and "object" in writer.problems[1]
    assert read_state(run_dir)["step"] == 2


def test_state_never_runs_ahead_of_what_is_published(tmp_path):
    run_dir = make_run(tmp_path)
    stop = threading.Event()
    ahead = []

    def watch():
        while not stop.is_set():
            step = read_state(run_dir)["step"]
            ahead.extend({step} - {0} - {r["step"] for r in rows_of(run_dir, "rollouts")})

    watcher = threading.Thread(target=watch)
    watcher.start()
    with RunWriter(run_dir, flush_seconds=0.01) as writer:
        for step in range(1, 40):
            writer.rollouts(make_batch(step))
            writer.state(step=step)
            writer.flush()
    stop.set()
    watcher.join()
    assert ahead == []
    assert read_state(run_dir) | {"heartbeat": 0} == {
        "status": "running",
        "step": 39,
        "steps": 10,
        "attempt": 1,
        "heartbeat": 0,
    }


def test_numbers_that_json_lacks_become_null_in_the_state(tmp_path):
    run_dir = make_run(tmp_path)
    write_state(run_dir, headline=np.float32(0.5), eta_seconds=float("inf"), step=np.int64(3))
    text = (run_dir / "state.json").read_text()
    assert "Infinity" not in text
    assert json.loads(text)["headline"] == 0.5 and json.loads(text)["eta_seconds"] is None


def test_a_damaged_state_reads_as_a_failed_run(tmp_path):
    run_dir = make_run(tmp_path)
    (run_dir / "state.json").write_text('{"status": "runn')
    assert read_state(run_dir)["status"] == "failed"
    assert read_state(tmp_path / "nowhere") == {}


def test_no_two_starts_share_an_attempt(tmp_path):
    run_dir = make_run(tmp_path)
    claimed = []
    threads = [
        threading.Thread(target=lambda: claimed.append(claim_attempt(run_dir))) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(1, 17))


def test_segments_have_the_columns_of_the_schema(tmp_path):
    run_dir = make_run(tmp_path)
    with RunWriter(run_dir) as writer:
        writer.rollouts(make_batch(0))
    (path,) = (run_dir / "segments" / "rollouts").iterdir()
    assert pq.read_schema(path).equals(TABLES["rollouts"].arrow, check_metadata=False)
    assert pq.read_schema(path).metadata[b"workbench_schema"]
