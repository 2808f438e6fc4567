"""When rows are archived: runs that ended, or more waiting segments than memory should hold."""

import time

import pytest
from store_batches import fill, make_run

from workbench.api.workbench import Workbench
from workbench.runs import archiving
from workbench.runs.archiving import CROWDED, PAUSE_SECONDS, Housekeeper


@pytest.fixture
def started(monkeypatch, tmp_path):
    runs: list = []
    monkeypatch.setattr(archiving, "archive_later", runs.append)
    return runs


def test_runs_that_ended_are_archived_at_once_and_crowds_once_a_minute(
    started, tmp_path, monkeypatch
):
    clock = [1000.0]
    monkeypatch.setattr(archiving.time, "monotonic", lambda: clock[0])
    keeper = Housekeeper(tmp_path)
    assert not keeper.look(0, CROWDED - 1)
    assert keeper.look(0, CROWDED)
    assert not keeper.look(0, 2 * CROWDED), "the archiver is at work"
    assert keeper.look(1, 0)
    clock[0] += PAUSE_SECONDS
    assert keeper.look(0, CROWDED)
    assert started == [tmp_path] * 3


def test_a_list_of_runs_opens_no_store_to_ask(started, tmp_path):
    make_run(tmp_path)
    wb = Workbench(tmp_path)
    assert len(wb.runs()) == 1 and "store" not in wb.__dict__ and started == []


def test_who_watches_a_long_run_has_its_rows_archived_while_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(archiving, "CROWDED", 100)
    fill(make_run(tmp_path), range(100), contexts=None)
    wb = Workbench(tmp_path)
    before = len(wb.rollouts("name-20260101-000000-abcd"))
    assert wb.store.waiting == 100
    wb.runs()
    deadline = time.monotonic() + 60
    while wb.store.waiting >= 100 and time.monotonic() < deadline:
        time.sleep(0.2)
        assert len(wb.rollouts("name-20260101-000000-abcd")) == before
    assert wb.store.waiting < 100
