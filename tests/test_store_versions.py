"""Stores of another place or another version: noticed, brought up, or refused with both named."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
from store_batches import RUN, fill, make_run, plain_count

from workbench.store.archive import archive
from workbench.store.catalog import store_path
from workbench.store.errors import StoreVersionError
from workbench.store.reader import Store
from workbench.store.schema import SCHEMA_VERSION


def test_a_moved_store_is_noticed_and_rebuilt(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    fill(make_run(old), range(2))
    archive(old, RUN)
    fill(old / RUN, range(2, 4))
    shutil.copytree(old, new)
    shutil.rmtree(old)
    store = Store(new)
    assert store.sql("SELECT count(*) n FROM rollouts").n[0] == 32
    assert any(str(old) in n and "archive" in n for n in store.notices)
    archive(new)
    assert plain_count(new, "rollouts") == 32
    assert store.sql("SELECT count(*) n FROM rollouts").n[0] == 32 and store.notices == []


def test_a_copied_store_answers_for_itself(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    fill(make_run(old), range(2))
    archive(old, RUN)
    shutil.copytree(old, new)
    archive(new)
    fill(new / RUN, range(2, 3))
    assert plain_count(old, "rollouts") == 16 and plain_count(new, "rollouts") == 24


def test_a_stored_file_of_schema_1_is_brought_up(tmp_path):
    packed = Path(__file__).with_name("store_schema1.duckdb.gz")
    store_path(tmp_path).write_bytes(gzip.decompress(packed.read_bytes()))
    rows = Store(tmp_path).sql("FROM rollouts ORDER BY step, prompt_id, sample")
    # three steps, two prompts, two samples: advantage is sample - 0.5, reward half the sample
    assert (
        len(rows) == 12
        and rows.prompt.tolist()[:4] == ["what color is the snow ?"] * 2 + ["list two tools"] * 2
    )
    assert rows.advantage.tolist() == [-0.5, 0.5] * 6
    assert rows.rewards[1] == {"format": 0.5, "length": 0.25}
    evaluation = Store(tmp_path).sql("FROM evaluations WHERE run_id = '20250101-000000-0001'")
    assert evaluation.prompt.tolist() == ["list two tools"]
    assert Store(tmp_path).runs().name.tolist() == ["old"]
    with duckdb.connect(str(store_path(tmp_path)), read_only=True) as con:
        (found,) = con.execute("SELECT value FROM archive.meta WHERE key = 'schema'").fetchall()
        assert found == (str(SCHEMA_VERSION),)
        assert len(con.execute("FROM rollouts").fetchall()) == 12


def test_a_stored_file_of_schema_2_is_brought_up(tmp_path):
    packed = Path(__file__).with_name("store_schema2.duckdb.gz")
    store_path(tmp_path).write_bytes(gzip.decompress(packed.read_bytes()))
    report = archive(tmp_path)
    assert f"schema 2 -> {SCHEMA_VERSION}" in str(report)
    rows = Store(tmp_path).sql("FROM rollouts ORDER BY step, prompt_id, sample")
    # three steps, two prompts, two samples: advantage is sample - 0.5, reward half the sample
    assert rows.advantage.tolist() == [-0.5, 0.5] * 6 and rows["mask"].isna().all()
    assert rows.prompt.tolist()[:4] == ["what color is the snow ?"] * 2 + ["list two tools"] * 2
    fill(make_run(tmp_path), range(1), mask=np.arange(8.0))
    archive(tmp_path, RUN)
    new = Store(tmp_path).sql("FROM rollouts WHERE run_id = ? ORDER BY group_id, sample", [RUN])
    assert new["mask"].tolist() == list(range(8)) and plain_count(tmp_path, "rollouts") == 20


def test_a_store_of_a_newer_workbench_is_refused_with_both_versions(tmp_path):
    fill(make_run(tmp_path), range(2))
    store = Store(tmp_path)
    with duckdb.connect(str(store_path(tmp_path))) as con:
        con.execute("UPDATE archive.meta SET value = '99' WHERE key = 'schema'")
    for ask in (store.runs, lambda: archive(tmp_path)):
        with pytest.raises(StoreVersionError, match=f"schema 99.*schema {SCHEMA_VERSION}"):
            ask()
    assert len(list((tmp_path / RUN / "segments" / "rollouts").iterdir())) == 2


def test_a_run_of_a_newer_workbench_stays_as_segments(tmp_path):
    run_dir = make_run(tmp_path, schema=SCHEMA_VERSION + 1)
    fill(run_dir, range(2))
    report = archive(tmp_path, RUN)
    assert report.segments == 0 and "newer" in report.messages[0]
    assert plain_count(tmp_path, "rollouts") == 16


def test_a_run_whose_directory_was_removed_by_hand_is_still_listed(tmp_path):
    fill(make_run(tmp_path), range(2))
    archive(tmp_path, RUN)
    shutil.rmtree(tmp_path / RUN)
    assert Store(tmp_path).runs().run_id.tolist() == [RUN]
    assert plain_count(tmp_path, "runs") == 1 and plain_count(tmp_path, "rollouts") == 16
