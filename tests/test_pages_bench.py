"""The benchmark of the app, whole but small: it measures what it says it does."""

import json

import pytest

from workbench.api.workbench import Workbench
from workbench.bench.app import main
from workbench.bench.app_world import make


@pytest.mark.slow
def test_the_whole_benchmark_on_a_small_store(tmp_path, capsys):
    words = ["--runs", "3", "--rollouts", "600", "--repeats", "1", "--pairs", "1", "--seconds", "4"]
    assert main(["--dir", str(tmp_path), *words, "--json", str(tmp_path / "app.json")]) == 0
    found = json.loads((tmp_path / "app.json").read_text())
    assert set(found["pages"]) == {"launch", "runs", "inspect", "compare", "rate"}
    assert found["start"]["cpu"] > 0 and found["megabytes"] > 50
    assert found["watching"]["pairs"] == 1
    assert "| ten tabs watching: training slower by |" in capsys.readouterr().out
    assert Workbench(tmp_path / "watched").runs().empty, "the watched run is gone"


@pytest.mark.slow
def test_a_made_up_store_is_as_large_as_it_was_asked_for(tmp_path):
    ids = make(tmp_path, runs=3, rollouts=600)
    wb = Workbench(tmp_path)
    # 600 / 3 = 200 a run = 4 steps of 64, rounded up
    assert wb.sql("SELECT count(*) AS n FROM rollouts")["n"].iloc[0] == 3 * 4 * 64
    assert len(wb.compare(["synthetic-0@before", "synthetic-2@after"]).texts) == 140
    assert wb.config(ids[1]).name == "synthetic-1"
