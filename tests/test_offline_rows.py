"""Where rows come from: rollouts of runs, votes, files; and the one reward of each."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from offline_rows_tiny import frame

from workbench.config.io import load
from workbench.config.offline import OfflineConfig, RewardConfig, SourceConfig
from workbench.store.annotations import annotate
from workbench.store.reader import Store
from workbench.store.writer import RunWriter
from workbench.tasks.offline_file import file_rows
from workbench.train import offline_rows as rows
from workbench.train.saved_conductor import Guide
from workbench.types import RolloutBatch

NAMES = ("good", "noise")
RUN = load({"name": "source", "objectives": [{"name": "good"}, {"name": "noise", "sign": -1}]})
REWARDS = np.array([[1.0, 0.5], [0.0, np.nan], [0.5, 0.0], [0.25, 1.0]])
WEIGHTS = np.array([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25], [0.0, 1.0]])
POLICY = np.array([[0.25, 0.75], [0.75, 0.25], [0.5, 0.5], [1.0, 0.0]])


def batch(step, split="train", policy=POLICY):
    return RolloutBatch(
        step=step,
        split=split,
        objectives=NAMES,
        num_generations=2,
        prompts=["p q", "p q", "r s", "r s"],
        prompt_ids=["a", "a", "b", "b"],
        kinds=["even", "even", "odd", "odd"],
        completions=[f"w{step}", "w2", "w3", "w4"],
        num_tokens=np.array([2, 2, 2, 2]),
        truncated=np.array([False, True, False, False]),
        rewards=REWARDS,
        weights=WEIGHTS,
        scalars=np.zeros(4),
        advantages=np.zeros(4),
        policy=policy,
        behaviour_logp=np.array([-1.0, -2.0, -3.0, -4.0]),
        judge=np.array([0.5, np.nan, 0.25, 1.0]),
        token_ids=[[3, 2], [4, 5], [6, 2], [7, 2]],
    )


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "run-1"
    run_dir.mkdir()
    with RunWriter(run_dir) as writer:
        for step in (0, 1, 2):
            writer.rollouts(batch(step))
        writer.rollouts(batch(2, "probe"))
    return run_dir.parent


def read(runs_dir, run=RUN, **sections):
    config = OfflineConfig(
        source=SourceConfig(runs=("run-1",), **sections.pop("source", {})), **sections
    )
    return rows.load_rows(config, {"run-1": run}, Store(runs_dir).sql)


def test_rows_of_a_run_with_everything_that_is_known_of_them(runs_dir):
    found = read(runs_dir, reward=RewardConfig(signal="judge"))
    assert tuple(found.columns) == rows.COLUMNS
    assert len(found) == 12  # 3 training steps of 4; probes are left out
    first = found.iloc[1]
    assert (first["prompt"], first["prompt_id"], first["kind"]) == ("p q", "a", "even")
    assert (first["response"], first["origin"], first["step"]) == ("w2", "run-1", 0)
    assert bool(first["truncated"]) and list(first["token_ids"]) == [4, 5]
    assert first["behaviour_logp"] == -2.0 and math.isnan(first["reference_logp"])
    np.testing.assert_array_equal(found["reward"][:4], [0.5, np.nan, 0.25, 1.0])


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        ({"first_step": 1}, [1] * 4 + [2] * 4),
        ({"last_step": 0}, [0] * 4),
        ({"first_step": 1, "last_step": 1, "kinds": ("odd",)}, [1] * 2),
        ({"splits": ("probe",)}, [2] * 4),
    ],
)
def test_filters(runs_dir, source, steps):
    found = read(runs_dir, source=source, reward=RewardConfig(signal="judge"))
    assert sorted(found["step"]) == steps


def test_static_weights_of_raw_rewards(runs_dir):
    # sign -1 on noise; the NaN is left out of the sum
    reward = RewardConfig(weights={"good": 1.0, "noise": 0.5}, standardize_objectives=False)
    found = read(runs_dir, reward=reward, source={"last_step": 0})
    np.testing.assert_allclose(found["reward"], [1 - 0.25, 0.0, 0.5, 0.25 - 0.5])


def test_weights_per_kind(runs_dir):
    reward = RewardConfig(
        weighting="by_kind",
        by_kind={"odd": {"noise": 1.0}},
        weights={"good": 1.0},
        standardize_objectives=False,
    )
    found = read(runs_dir, reward=reward, source={"last_step": 0})
    np.testing.assert_allclose(found["reward"], [1.0, 0.0, -0.0, -1.0])


def test_logged_weights_are_those_that_trained_the_row(runs_dir):
    found = read(runs_dir, reward=RewardConfig(weighting="logged"), source={"last_step": 0})
    expected = [0.5 - 0.25, 0.0, 0.375 - 0.0, 0.0 - 1.0]
    np.testing.assert_allclose(found["reward"], expected)


def test_a_conductors_weights_are_its_mean_over_the_group(runs_dir):
    # group a: mean (0.5, 0.5); group b: mean (0.75, 0.25)
    found = read(runs_dir, reward=RewardConfig(weighting="conductor"), source={"last_step": 0})
    np.testing.assert_allclose(found["reward"], [0.5 - 0.25, 0.0, 0.375, 0.1875 - 0.25])


def test_a_run_without_a_conductor_says_so(tmp_path):
    run_dir = tmp_path / "run-1"
    run_dir.mkdir()
    with RunWriter(run_dir) as writer:
        writer.rollouts(batch(0, policy=None))
    with pytest.raises(rows.RowsError, match="logged no Conductor's distribution"):
        read(tmp_path, reward=RewardConfig(weighting="conductor"))


STATE = {
    "prompt_context": np.array(False),
    "normalize_hidden": np.array(False),
    "log_temperature": np.array(0.0),
    "weight": np.array([[1.0, 0.0], [0.0, 0.0]]),
    "bias": np.zeros(2),
}


def guide(names=NAMES, contexts=None):
    """A Conductor that gives objective 1 the odds e^{h_1}; contexts of two of four rows."""
    if contexts is None:
        contexts = pd.DataFrame(
            {
                "step": [0, 0],
                "group_id": ["train-000000-000", "train-000000-001"],
                "sample": [0, 1],
                "context": [np.array([np.log(3.0), 0.0]), np.array([0.0, 5.0])],
            }
        )
    return Guide("teacher", tuple(names), STATE, lambda run_id, split: contexts)


def test_another_runs_conductor_weighs_logged_contexts(runs_dir):
    # odds 3 : 1 for the first row, 1 : 1 for the last; nobody logged the others' contexts
    reward = RewardConfig(weighting="conductor", conductor="teacher")
    source = SourceConfig(runs=("run-1",), last_step=0)
    config = OfflineConfig(source=source, reward=reward)
    found = rows.load_rows(config, {"run-1": RUN}, Store(runs_dir).sql, guide())["reward"]
    expected = [0.75 - 0.25 * 0.5, np.nan, np.nan, 0.5 * 0.25 - 0.5]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("conductor", "message"),
    [
        (guide(("good", "other")), r"'teacher' weighs \['good', 'other'\].*run-1 have"),
        (
            guide(contexts=pd.DataFrame(columns=["step", "group_id", "sample", "context"])),
            "logged no",
        ),
    ],
)
def test_a_conductor_that_does_not_fit_the_rows_is_refused(runs_dir, conductor, message):
    config = OfflineConfig(
        source=SourceConfig(runs=("run-1",)),
        reward=RewardConfig(weighting="conductor", conductor="teacher"),
    )
    with pytest.raises(ValueError, match=message):
        rows.load_rows(config, {"run-1": RUN}, Store(runs_dir).sql, conductor)


def test_votes_and_ratings_become_one_reward(runs_dir):
    where = {"split": "train", "step": 0, "prompt_id": "a", "group_id": "train-000000-000"}
    other = {**where, "prompt_id": "b", "group_id": "train-000000-001"}
    annotate(runs_dir, "run-1", "rating", rater="ann", score=0.8, sample=0, **where)
    annotate(runs_dir, "run-1", "rating", rater="bob", score=0.4, sample=0, **where)
    annotate(runs_dir, "run-1", "vote", rater="ann", score=1.0, sample=1, **other)
    annotate(runs_dir, "run-1", "vote", rater="bob", score=0.0, sample=None, **other)
    annotate(runs_dir, "run-1", "note", rater="bob", text="hm", sample=0, **other)
    found = read(runs_dir, reward=RewardConfig(signal="votes"))
    by_text = dict(zip(found["response"], found["reward"], strict=True))
    assert by_text == {"w0": pytest.approx(0.6), "w3": 0.0, "w4": 0.5}
    only = read(runs_dir, reward=RewardConfig(signal="votes"), source={"raters": ("ann",)})
    assert dict(zip(only["response"], only["reward"], strict=True)) == {
        "w0": 0.8,
        "w3": 0.0,
        "w4": 1.0,
    }
    with pytest.raises(rows.RowsError, match="no rating or vote.*'zoe'"):
        read(runs_dir, reward=RewardConfig(signal="votes"), source={"raters": ("zoe",)})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"reward": RewardConfig(weights={"goood": 1.0})}, r"\['goood'\] unknown.*good"),
        ({"reward": RewardConfig(weights={"good": 0.0})}, "all 0"),
        ({"source": {"kinds": ("prime",)}}, r"\['prime'\] unknown.*'even', 'odd'"),
        ({"source": {"first_step": 9}}, "no rows in runs.*steps 9"),
    ],
)
def test_refusals_name_the_value_and_what_is_there(runs_dir, sections, message):
    with pytest.raises(rows.RowsError, match=message):
        read(runs_dir, **sections)


def test_a_file_of_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [
        {"question": "p", "response": "x", "stars": 5, "kind": "k", "prompt_id": 7},
        {"question": [{"role": "user", "content": "q"}], "response": "y", "stars": None},
        {"question": "p", "response": None, "stars": "1.5", "behaviour_logp": -3},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    found = file_rows(path, {"prompt": "question", "reward": "stars"})
    assert list(found["reward"].fillna(-1)) == [5.0, -1.0, 1.5]
    assert list(found["response"]) == ["x", "y", ""]
    assert found["prompt"][1] == [{"role": "user", "content": "q"}]
    assert list(found["kind"]) == ["k", "default", "default"]
    assert found["prompt_id"][0] == "7" and found["behaviour_logp"][2] == -3.0


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_csv_and_parquet(tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    table = pd.DataFrame({"prompt": ["p", "p"], "completion": ["x", "y"], "score": [1.0, None]})
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    found = file_rows(path, {})
    assert list(found["response"]) == ["x", "y"]
    assert found["reward"][0] == 1.0 and math.isnan(found["reward"][1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "p", "reward": 1}', "column 'response' is missing"),
        ('{"prompt": "p", "response": "x", "reward": "much"}', "row 1: reward 'much' is no number"),
        ('{"prompt": 3, "response": "x", "reward": 1}', "row 1: prompt 3 is neither"),
    ],
)
def test_bad_files_name_the_row(tmp_path, text, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(ValueError, match=message):
        file_rows(path, {})


def test_draws_are_the_seeds_and_keep_the_order():
    table = frame(*((f"p{i % 3}", f"r{i}", float(i)) for i in range(12)))
    few = rows.draw(table, SourceConfig(runs=("r",), rows_per_prompt=2), 0)
    assert few.groupby("prompt").size().tolist() == [2, 2, 2]
    assert few["reward"].is_monotonic_increasing
    again = rows.draw(table, SourceConfig(runs=("r",), rows_per_prompt=2), 0)
    other = rows.draw(table, SourceConfig(runs=("r",), rows_per_prompt=2), 1)
    assert list(few["response"]) == list(again["response"]) != list(other["response"])
    assert len(rows.draw(table, SourceConfig(runs=("r",), limit=5), 0)) == 5


def test_standardising():
    # mean 1, population deviation sqrt(2/3)
    found = rows.standardized(np.array([0.0, 1.0, 2.0, np.nan]))
    np.testing.assert_allclose(found, [-(1.5**0.5), 0, 1.5**0.5, np.nan])
    np.testing.assert_array_equal(rows.standardized(np.array([0.1, 0.1, 0.1])), [0, 0, 0])


def test_objectives_on_other_scales_count_alike_once_standardised():
    # z of (0, 2) and of (100, -100) is (-1, 1) and (1, -1): equal weights cancel
    found = rows.weighted(
        np.array([[0.0, 100.0], [2.0, -100.0]]), NAMES, ["k", "k"], RewardConfig()
    )
    np.testing.assert_allclose(found, [0.0, 0.0], atol=1e-12)
