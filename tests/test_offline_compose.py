"""From "learn from that" to a whole configuration, and when logged log-probabilities are reused."""

import json
from pathlib import Path

import numpy as np
import pytest
from offline_rows_tiny import frame

from workbench.config.io import ConfigError, load, parse_text
from workbench.config.text import dump
from workbench.runs import rundir
from workbench.runs.offline_config import STEPS, offline_run
from workbench.train.offline_child import logged_reference, source_runs


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    """Two runs without rows, and one that learns from the first."""
    path = tmp_path_factory.mktemp("runs")
    changes = {
        "one": ["task.kinds=[fact]", "objectives=[length]", "grpo.max_completion_length=20"],
        "two": ["evaluation.prompts=7"],
        "three": ["offline={source: {runs: [one]}}"],
    }
    for name, sets in changes.items():
        config = load("quick", [f"name={name}", *sets])
        rundir.create(path, config, token=None, parent=None, cwd=Path.cwd())
    return path


def test_what_is_not_said_is_the_first_sources(runs_dir):
    config = offline_run(["one", "two"], "dro", runs_dir, name="new")
    source = load("quick", ["task.kinds=[fact]", "objectives=[length]"])
    assert (config.task, config.objectives) == (source.task, source.objectives)
    assert config.grpo.max_completion_length == 20
    assert config.steps == STEPS and config.probe.every == STEPS // 3
    assert config.offline.method == "dro" and config.offline.signal == "objectives"
    ids = [rundir.resolve(runs_dir, name).name for name in ("one", "two")]
    assert list(config.offline.source.runs) == ids
    assert parse_text(dump(config)) == config


def test_keys_of_the_section_go_without_its_name(runs_dir):
    sets = ["steps=7", "rpo.tau=2", "update.learning_rate=1e-4", "offline.rules.too_long=truncate"]
    config = offline_run("one", "rpo", runs_dir, sets=sets)
    offline = config.offline
    assert config.steps == 7 and offline.rpo.tau == 2.0
    assert offline.update.learning_rate == 1e-4 and offline.rules.too_long == "truncate"


def test_a_file_brings_no_task_of_its_own(runs_dir):
    config = offline_run("rows.jsonl", "kto", runs_dir)
    assert config.offline.source.path == "rows.jsonl" and config.offline.signal == "column"
    assert config.evaluation.prompts == config.probe.prompts == 0
    judged = offline_run("rows.jsonl", "kto", runs_dir, sets=["evaluation.prompts=14"])
    assert judged.evaluation.prompts == 14


def test_annotations_stand_for_the_runs_that_people_voted_on(runs_dir):
    config = offline_run("annotations", "rpo", runs_dir, annotated=lambda: ["two"])
    assert config.offline.signal == "votes" and config.evaluation.prompts == 7
    some = offline_run(["annotations", "one"], "rpo", runs_dir)
    assert list(some.offline.source.runs) == [rundir.resolve(runs_dir, "one").name]
    with pytest.raises(ValueError, match="no run has a rating or a vote"):
        offline_run("annotations", "rpo", runs_dir)


@pytest.mark.parametrize(
    ("source", "sets", "error", "message"),
    [
        ([], [], ValueError, "none given"),
        (["a.jsonl", "one"], [], ValueError, "cannot be mixed"),
        (["nobody"], [], rundir.UnknownRunError, "no run 'nobody'"),
        (["one"], ["rpo.tau=-1"], ConfigError, "offline.rpo.tau: -1 is not allowed"),
        (["one"], ["reward.signal=column"], ConfigError, "'column' needs source.path"),
        (["one"], ["reward.weighting=by_kind"], ConfigError, "by_kind is missing"),
        (["one"], ["reward.conductor=two"], ConfigError, "read only where reward.weighting"),
        (
            ["one"],
            ["reward={weighting: conductor, conductor: nobody@3}"],
            rundir.UnknownRunError,
            "no run 'nobody'",
        ),
        (["a.csv"], ["reward.signal=judge"], ConfigError, "'judge' needs runs"),
        (["one"], ["source.first_step=5", "source.last_step=2"], ConfigError, "5 is after"),
        (["one"], ["update.gradient_accumulation_steps=5"], ConfigError, "no multiple"),
    ],
)
def test_refusals(runs_dir, source, sets, error, message):
    with pytest.raises(error, match=message):
        offline_run(source, "rpo", runs_dir, sets=sets)


def test_votes_without_runs_look_at_every_run_that_samples(runs_dir):
    votes = load("quick", ["offline.reward.signal=votes"]).offline
    assert sorted(run.name for run in source_runs(votes, runs_dir).values()) == ["one", "two"]


def test_logged_reference_log_probabilities_are_reused_only_where_they_are_this_runs():
    rows = frame(("p", "x", 1.0), ("p", "y", 0.0), reference_logp=[-1.0, -2.0])
    config = load("quick")
    same = {"a": load("quick", ["steps=7", "grpo.learning_rate=0.1"])}
    np.testing.assert_array_equal(logged_reference(rows, same, config, True), [-1.0, -2.0])
    assert logged_reference(rows, same, config, False) is None  # tokenised anew, or cut
    assert logged_reference(rows, {}, config, True) is None  # a file knows no reference
    for change in (
        "policy.dtype=bfloat16",
        "grpo.temperature=0.7",
        "grpo.reference_sync_every=6",
        "offline={source: {runs: [a]}}",
    ):
        runs = same | {"b": load("quick", [change])}
        assert logged_reference(rows, runs, config, True) is None, change
    missing = frame(("p", "x", 1.0), ("p", "y", 0.0), reference_logp=[-1.0, np.nan])
    assert logged_reference(missing, same, config, True) is None


def test_the_summary_of_such_a_run_names_its_method(runs_dir):
    identity = json.loads((rundir.resolve(runs_dir, "three") / "run.json").read_text())
    assert identity["kind"] == "offline" and identity["summary"]["scalarizer"] == "dro"
