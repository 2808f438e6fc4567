"""The benchmark of learning from rows: how rows are spoiled, what is compared, what tables say."""

import json

import numpy as np
import pandas as pd
import pytest

from workbench.bench import offline_grid as grid
from workbench.bench.offline_report import (
    claims,
    distinct,
    label,
    markdown,
    overview,
    summary,
)
from workbench.bench.offline_rows import spoil, write_rows
from workbench.store.state import write_state


def judged(prompts=4, samples=8):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {"prompt_id": f"p{i}", "response": f"r{i}{j}", "reward": float(rng.random())}
            for i in range(prompts)
            for j in range(samples)
        ]
    )


def test_fresh_rows_stay_as_they_are():
    rows = judged()
    pd.testing.assert_frame_equal(spoil(rows, grid.CONDITIONS["fresh"], 3), rows)


@pytest.mark.parametrize(("name", "size"), [("few", 2), ("single", 1)])
def test_fewer_rows_of_each_prompt(name, size):
    found = spoil(judged(), grid.CONDITIONS[name], 0)
    assert found.groupby("prompt_id").size().tolist() == [size] * 4
    assert list(found["response"])[:size] == ["r00", "r01"][:size]


def test_votes_leave_one_winner_a_prompt_and_ties_draw_lots():
    rows = judged()
    found = spoil(rows, grid.CONDITIONS["votes"], 0)
    assert set(found["reward"]) == {0.0, 1.0}
    best = rows.loc[rows.groupby("prompt_id")["reward"].idxmax(), "response"]
    assert set(found.loc[found["reward"] == 1.0, "response"]) == set(best)
    tied = rows.assign(reward=0.5)
    winners = {
        tuple(f.loc[f["reward"] == 1.0, "response"])
        for f in (spoil(tied, grid.CONDITIONS["votes"], seed) for seed in range(6))
    }
    assert len(winners) > 1 and all(len(w) == 4 for w in winners)


def test_noise_follows_from_the_seed():
    rows = judged(50)
    noisy = grid.CONDITIONS["noisy"]
    found = spoil(rows, noisy, 1)
    difference = found["reward"] - rows["reward"]
    assert difference.std() == pytest.approx(0.3, abs=0.05)
    pd.testing.assert_frame_equal(found, spoil(rows, noisy, 1))
    assert not np.allclose(found["reward"], spoil(rows, noisy, 2)["reward"])


def test_rows_are_written_whole(tmp_path):
    path = tmp_path / "rows" / "fresh-s0.jsonl"
    write_rows(judged(1, 2), path)
    assert [json.loads(line)["response"] for line in path.read_text().splitlines()] == [
        "r00",
        "r01",
    ]


def test_all_methods_share_rows_updates_and_evaluation():
    source = {"path": "/rows/fresh-s0.jsonl"}
    cells = [
        grid.learner_cell(f"fresh-{key}", learner, 0, grid.OFFLINE, source)
        for key, learner in {**grid.LEARNERS, **grid.VARIANTS}.items()
    ]
    for name in ("steps", "seed", "policy", "evaluation", "task", "objectives"):
        assert len({repr(getattr(c.config, name)) for c in cells}) == 1, name
    sections = [c.config.offline for c in cells]
    assert all(s.source == sections[0].source for s in sections)
    assert all(s.update == sections[0].update for s in sections)
    assert all(s.reward == sections[0].reward for s in sections)
    assert len({c.name for c in cells}) == len(cells)
    assert {s.method for s in sections[:4]} == {"rpo", "dro", "kto", "sft"}


def test_distinct_grams():
    assert distinct(["a b a b", "a b"], 1) == pytest.approx(2 / 6)
    # bigrams: ab ba ab, ab -> 2 of 4
    assert distinct(["a b a b", "a b"], 2) == pytest.approx(2 / 4)
    assert distinct(["a", ""], 2) == 0.0


def collected(scores):
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "seed": seed,
                "kind": kind,
                "judge": value + (0.1 if kind == "fact" else 0.0),
                "distinct_1": 0.5,
                "distinct_2": 0.4,
                "kl": 2.0,
                "seconds": seconds,
                "mb": 100.0,
            }
            for arm, (values, seconds) in scores.items()
            for seed, value in enumerate(values)
            for kind in ("fact", "story")
        ]
    )


SCORES = {
    "base": ([0.3, 0.3, 0.3], np.nan),
    "fresh-rpo": ([0.70, 0.71, 0.72], 5.0),
    "fresh-dro": ([0.60, 0.58, 0.65], 6.0),
    "fresh-kto": ([0.80, 0.79, 0.83], 9.0),
    "fresh-sft": ([0.69, 0.72, 0.72], 5.0),
}


def test_summary_and_claims():
    table = summary(collected(SCORES))
    known = table.set_index("arm")
    assert known.loc["fresh-rpo", "judge"] == pytest.approx(0.76)
    assert known.loc["fresh-rpo", "spread"] == pytest.approx(0.01)
    assert known.loc["fresh-rpo", "low"] <= 0.76 <= known.loc["fresh-rpo", "high"]
    assert list(table["arm"])[0] == "fresh-kto"
    found = claims(table)
    assert found["fresh: RPO better than DRO"].startswith("holds")
    assert found["fresh: RPO better than KTO"].startswith("refuted")
    assert found["fresh: RPO better than SFT"].startswith("open")
    assert found["fresh: RPO steadier than DRO"].startswith("holds (0.01 against")
    assert found["fresh: RPO faster than DRO"].startswith("holds")
    assert found["fresh: RPO smaller than DRO"].startswith("refuted (100 against 100")


def test_the_table_shows_every_seed_and_every_loser():
    text = markdown(summary(collected(SCORES)))
    assert "| start | warm start | 0.350" in text
    assert "0.750 0.760 0.770" in text
    assert text.count("\n") == 2 + len(SCORES)


def test_the_overview_has_a_row_a_condition_and_marks_the_best():
    table = summary(collected(SCORES))
    few = table[table["arm"] == "fresh-rpo"].assign(arm="few-rpo")
    lines = overview(pd.concat([table, few])).splitlines()
    assert lines[0] == "| rows | RPO | DRO | KTO | SFT |" and len(lines) == 4
    first, second = lines[2:]
    assert first.startswith("| fresh: 8 rows a prompt") and first.count("**") == 2
    assert "**0.86** (" in first and "| 0.76 (" in first
    assert second.startswith("| few: 2 rows a prompt | **0.76**") and second.endswith("|  |  |  |")


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ("base", ("start", "warm start")),
        ("single-rpo", ("single", "RPO")),
        ("chain-sft", ("chain", "SFT, best row of each prompt")),
        ("chain-more-grpo", ("chain", "more GRPO")),
        ("fresh-rpo-sum", ("fresh", "RPO, summed log-probabilities, tau 1")),
    ],
)
def test_arms_in_words(arm, words):
    assert label(arm) == words


def test_more_grpo_gets_the_seconds_that_rpo_took(tmp_path):
    from workbench.bench.offline_study import extra_steps
    from workbench.store.encode import table_of
    from workbench.store.segments import write_segment
    from workbench.store.writer import RunWriter

    run, learned = tmp_path / "run-a", tmp_path / "run-b"
    for path in (run, learned):
        path.mkdir()
        write_state(path, status="finished")
    with RunWriter(learned) as writer:
        writer.metrics(300, {"train_seconds": 6.0})
    # one update a quarter of a second: 6 s are 24 of them
    rows = table_of(
        "metrics",
        5,
        {
            "run_id": "run-a",
            "attempt": 1,
            "step": [0, 1, 2, 3, 4],
            "split": "train",
            "name": "loss",
            "value": [0.0] * 5,
            "time": [100.0, 100.25, 100.5, 100.75, 101.0],
        },
    )
    write_segment(rows, run / "segments" / "metrics" / "a0001-000000-00ff.parquet")
    assert extra_steps(tmp_path / "bench", 0, run, learned) == 24
    kept = json.loads((tmp_path / "bench" / "rows" / "chain-s0.json").read_text())
    assert kept["extra_steps"] == 24 and kept["rpo_seconds"] == 6.0
    assert extra_steps(tmp_path / "bench", 0, run, tmp_path / "gone") == 24


def test_a_seed_runs_rows_first_then_methods_then_as_much_grpo(tmp_path, monkeypatch):
    """What is asked for in which order; the runs themselves are others' tests."""
    from argparse import Namespace

    from workbench.bench import offline_study

    asked = []

    def run_grid(cells, args):
        asked.append([c.arm for c in cells])
        for c in cells:
            (tmp_path / c.name / "checkpoints" / "step-000050").mkdir(parents=True, exist_ok=True)
        return {c.name: tmp_path / c.name for c in cells}, []

    monkeypatch.setattr(offline_study, "run_grid", run_grid)
    files = {name: tmp_path / f"{name}.jsonl" for name in grid.CONDITIONS}
    monkeypatch.setattr(offline_study, "row_files", lambda *args: files)
    monkeypatch.setattr(offline_study, "extra_steps", lambda *args: 7)
    found = offline_study.Found()
    offline_study.one_seed(3, list(files), grid.OFFLINE, True, Namespace(), tmp_path, found)
    first, methods, last = asked
    assert first == ["rows", "base", "maestro"] and last == ["chain-more-grpo"]
    for name in (*grid.CONDITIONS, "chain"):
        keys = grid.learners(name)
        assert [a for a in methods if a.startswith(f"{name}-")] == [f"{name}-{k}" for k in keys]
    by_arm = {c.arm: c.config for c in found.cells}
    assert by_arm["chain-more-grpo"].steps == 57
    moved = str(tmp_path / next(c.name for c in found.cells if c.arm == "maestro"))
    for arm in ("old-rpo", "chain-rpo"):
        assert by_arm[arm].policy.model.startswith(moved)
    assert by_arm["fresh-rpo"].policy.model == "etudes"
    assert by_arm["chain-rpo"].offline.reward.weighting == "conductor"
    assert {c.seed for c in found.cells} == {3}
