"""`workbench bench` as a person calls it: real cells through the command line, and refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from workbench.__main__ import main
from workbench.store.reader import Store

CALM = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", "bench", *words]
    return subprocess.run(command, capture_output=True, text=True, env=CALM, timeout=280)


def test_a_small_grid_leaves_rows_tables_and_figures_and_is_not_run_twice(tmp_path: Path) -> None:
    words = ("--tier", "language", "--methods", "equal,judge-only", "--seeds", "1", "--steps", "2")
    words = (*words, "--quick", "--jobs", "2", "--json", "--runs-dir", str(tmp_path))
    first = bench(*words)
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    by = {row["method"]: row for row in found["methods"]}
    assert list(by) == ["base", "equal", "judge-only"]
    assert all(0 <= row["mean"] <= 1 for row in by.values())
    # two steps of eight groups of eight; one group in eight judged
    assert by["judge-only"]["judge_calls"] == 2 * 8 and by["equal"]["judge_calls"] == 0
    assert by["equal"]["tokens"] > 2 * 64
    names = {"methods.csv", "methods.md", "methods.html", "families.html", "cells.csv"}
    assert names <= {p.name for p in (tmp_path / "bench").iterdir()}
    assert len(pd.read_csv(tmp_path / "bench" / "cells.csv")) == 3 * 7
    counted = Store(tmp_path).sql(
        "SELECT count(DISTINCT run_id) AS runs, count(*) AS n FROM evaluations"
    )
    assert counted["runs"][0] == 3 and counted["n"][0] == 3 * 84 * 4
    again = bench(*words)
    assert again.returncode == 0 and "3 of 3 cells are done already" in again.stderr
    assert json.loads(again.stdout)["methods"] == found["methods"]
    report = bench("--report", "--json", "--runs-dir", str(tmp_path))
    assert json.loads(report.stdout)["methods"] == found["methods"]


MINE = """
import numpy as np
from workbench.core.scalarizer_input import Stateless, Weighting

class First(Stateless):
    def __init__(self, objectives):
        self.weights = np.eye(len(objectives))[0]

    def choose(self, scene, rng, explore=True):
        return Weighting(np.tile(self.weights, (len(scene.rewards), 1)))
"""


def test_a_scalarizer_from_outside_joins_the_table_with_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    words = ("--method", "outside:First", "--methods", "equal", "--tier", "language", "--json")
    budget = ("--seeds", "1", "--steps", "1", "--quick", "--jobs", "1", "--runs-dir", "runs")
    result = bench(*words, *budget)
    assert result.returncode == 0, result.stderr
    rows = {row["method"]: row for row in json.loads(result.stdout)["methods"]}
    assert list(rows) == ["base", "equal", "outside.first"]
    assert rows["outside.first"]["label"] == "First" and rows["outside.first"]["seeds"] == 1
    weights = Store(tmp_path / "runs").sql(
        "SELECT DISTINCT weights FROM rollouts JOIN runs USING (run_id) "
        "WHERE name LIKE 'bench-outside.first%' AND split = 'train'"
    )
    assert [sorted(dict(w).values()) for w in weights["weights"]] == [[0, 0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "mine"], "method: 'mine' is not allowed; it must be package.module:Class"),
        (["--method", "nowhere:A"], "'nowhere:A' cannot be imported"),
        (["--methods", "majic"], "methods: ['majic'] unknown"),
        (["--sensitivity", "rho"], "setting: 'rho' unknown"),
        (["--sensitivity", "fraction", "--report"], "none of these 12 cells has finished in "),
        (["--report"], "no cell of a benchmark has finished in "),
        (["--jobs", "0", "--methods", "equal", "--tier", "language"], "jobs: 0 is not allowed"),
    ],
)
def test_refusals_are_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words, "--runs-dir", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert said in err
