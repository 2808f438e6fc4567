"""Learning from a run through the command line: `run quick`, then `offline`, then `compare`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench import Workbench
from workbench.__main__ import main
from workbench.config.io import parse_text

# one worker, so that the run is made once
pytestmark = pytest.mark.xdist_group("offline_cli")

ROOT = Path(__file__).parent.parent
SHORT = [
    "steps=12",
    "evaluation={prompts: 56, num_generations: 2}",
    "probe={prompts: 7, every: 6, num_generations: 2}",
    "logging.checkpoint_every=0",
]


def workbench(folder, *words):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "workbench", *words]
    return subprocess.run(line, env=environment, capture_output=True, text=True, cwd=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished, shortened quick run."""
    path = tmp_path_factory.mktemp("offline-cli")
    done = workbench(path, "run", "quick", "--json", "--name", "first", "--set", *SHORT)
    assert done.returncode == 0, done.stderr
    return path


def test_rpo_from_a_run_beats_the_base_on_the_held_out_judge(folder):
    done = workbench(
        folder, "offline", "first", "--method", "rpo", "--name", "second", "--json",
        "--set", "steps=100", "update.warmup_steps=10",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["status"] == "finished" and outcome["step"] == 100
    assert outcome["judge_after"] > outcome["judge_before"] + 0.02
    wb = Workbench(folder / "runs")
    saved = wb.checkpoints("second")
    assert (folder / "runs" / outcome["run_id"] / saved["path"].iloc[-1]).is_dir()
    compared = workbench(folder, "compare", "first", "second", "second@before", "--json")
    assert compared.returncode == 0, compared.stderr
    listed = json.loads(workbench(folder, "list", "--json").stdout)
    assert {row["name"]: row["scalarizer"] for row in listed}["second"] == "rpo"


def test_print_shows_what_is_taken_over_from_the_source(folder, capsys):
    runs = str(folder / "runs")
    words = ["first", "--method", "dro", "--print", "--set", "dro.tau=2", "--runs-dir", runs]
    assert main(["offline", *words]) == 0
    config = parse_text(capsys.readouterr().out)
    assert config.offline.method == "dro" and config.offline.dro.tau == 2.0
    assert config.offline.source.runs == (Workbench(runs).resolve("first"),)
    assert config.evaluation.prompts == 56


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["frist"], "no run 'frist'"),
        (["rows.jsonl"], "rows.jsonl' does not exist"),
        (["annotations"], "no run has a rating or a vote"),
        (["first", "--set", "rpo.tua=2"], "offline.rpo.tua: unknown key"),
        (["first", "--set", "rpo.tau=0"], "offline.rpo.tau: 0 is not allowed"),
        (["first", "rows.jsonl"], "cannot be mixed"),
    ],
)
def test_refusals_are_one_line(folder, capsys, words, message):
    runs = str(folder / "runs")
    assert main(["offline", "--runs-dir", runs, "--method", "rpo", *words]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_an_unknown_method_is_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["offline", "first", "--method", "ppo"])
    assert ended.value.code == 2
    assert "invalid choice: 'ppo'" in capsys.readouterr().err
