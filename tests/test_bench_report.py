"""Tables from frames with numbers that can be checked by hand; the store's part from real rows."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.__main__ import main
from workbench.bench import (
    cells,
    collect,
    cost,
    experiments,
    methods,
    report,
    sensitivity,
    stepwise,
)
from workbench.plots import benchmark
from workbench.runs import rundir
from workbench.store.state import write_state
from workbench.store.writer import RunWriter
from workbench.types import RolloutBatch

KINDS = ("reason", "story")


def frame(**arms: float) -> pd.DataFrame:
    """Three seeds, two kinds; an arm's score is its level plus 0.01 a seed, story 0.1 above."""
    return pd.DataFrame(
        [
            {"arm": a, "seed": s, "kind": k, "judge": level + 0.01 * s + 0.1 * (k == "story")}
            for a, level in arms.items()
            for s in range(3)
            for k in KINDS
        ]
    )


def test_summary_by_hand() -> None:
    scores = frame(base=0.3, equal=0.4, saw=0.45, anchored=0.58, oracle=0.6)
    table = report.summary(scores).set_index("method")
    # saw: reason 0.45, 0.46, 0.47; story 0.55, 0.56, 0.57
    saw = table.loc["saw"]
    assert saw["reason"] == pytest.approx(0.46) and saw["story"] == pytest.approx(0.56)
    assert saw["mean"] == pytest.approx(0.51)
    # middle of six scores, one cut from each end: 0.46 0.47 0.55 0.56
    assert saw["iqm"] == pytest.approx((0.46 + 0.47 + 0.55 + 0.56) / 4)
    assert saw["vs_equal"] == pytest.approx(0.05) and saw["p_vs_equal"] == 1.0
    # the same difference at every seed: an interval without width
    assert saw["vs_equal_low"] == pytest.approx(0.05, abs=1e-9)
    assert saw["worst_gain"] == pytest.approx(0.15)
    assert table.loc["anchored", "recovered"] == pytest.approx((0.58 - 0.4) / 0.2)
    assert np.isnan(table.loc["equal", "vs_equal"])


def test_what_fell_below_base_is_named() -> None:
    scores = frame(base=0.3, saw=0.4)
    rewards = pd.DataFrame(
        [
            {"arm": a, "seed": s, "objective": o, "reward": r + 0.001 * s * (a == "saw")}
            for a, o, r in (
                ("base", "format", 0.8),
                ("base", "length", 0.5),
                ("saw", "format", 0.6),
                ("saw", "length", 0.7),
            )
            for s in range(3)
        ]
    )
    table = report.summary(scores, rewards).set_index("method")
    assert table.loc["saw", "below_base"] == "format" and table.loc["base", "below_base"] == ""


def test_claims_follow_the_intervals() -> None:
    scores = frame(perplexity=0.3, equal=0.4, maestro=0.35, anchored=0.58, oracle=0.6, sft=0.9)
    found = report.claims(scores)
    assert found["anchored"]["holds"] and found["anchored"]["recovered"] == pytest.approx(0.9)
    assert "sft" not in found["anchored"]["does_not_beat"]  # no weighting
    assert found["maestro"] == {
        "beats": ["perplexity"],
        "does_not_beat": ["equal"],
        "holds": False,
    }


def test_markdown_has_one_line_a_method_and_marks_the_best_without_a_judge() -> None:
    table = report.summary(frame(base=0.3, equal=0.4, saw=0.45, anchored=0.58))
    lines = report.markdown(table).splitlines()
    assert len(lines) == 2 + 4
    assert lines[0].startswith("| Method | Seeds | reason | story | Mean |")
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    (saw,) = [line for line in lines if line.startswith("| SAW")]
    assert "**46.0**" in saw and "+5.0 [+5.0, +5.0]" in saw
    assert "**" not in [line for line in lines if line.startswith("| anchored")][0]


def test_collect_reads_what_cells_published(tmp_path: Path) -> None:
    grid = cells.grid(methods.choose("judge-only"), [0], cells.QUICK)
    done = {}
    for cell in grid:
        run_id = rundir.create(tmp_path, cell.named_config, token=None, parent=None, cwd=Path.cwd())
        done[cell.name] = tmp_path / run_id
        _publish(tmp_path / run_id, trained=cell.arm != "base")
        write_state(tmp_path / run_id, status="finished")
    scores = collect.report_scores(tmp_path, done, grid)
    assert collect.matrix(scores, "base").tolist() == [[0.25, 0.5]]
    assert collect.matrix(scores, "judge-only").tolist() == [[0.75, 1.0]]
    means = collect.objective_means(tmp_path, done, grid)
    assert set(means["objective"]) == {"format"}
    assert means.set_index("arm")["reward"].to_dict() == {"base": 0.5, "judge-only": 0.75}
    spent = collect.spent(tmp_path, done, grid).set_index("arm")
    assert spent.loc["judge-only", "tokens"] == 40
    # two rows that an anchor judged, and one that was rewarded by the judge
    assert spent.loc["judge-only", "judge_calls"] == 3
    held = collect.calibration_scores(tmp_path, done, grid)
    assert held["judge"].tolist() == [0.5]  # the last probe alone


def test_a_setting_can_be_read_while_its_cells_are_still_running(tmp_path, capsys) -> None:
    """One of ten cells is there: its value stands in the table, and nothing is run."""
    grid = sensitivity.varied_cells("emphasis", [0, 1], cells.FULL)
    (cell,) = (c for c in grid["MAESTRO", 0.3] if c.seed == 0)
    run_id = rundir.create(tmp_path, cell.named_config, token=None, parent=None, cwd=Path.cwd())
    _publish(tmp_path / run_id, trained=True)
    write_state(tmp_path / run_id, status="finished")
    words = ["bench", "--report", "--runs-dir", str(tmp_path)]
    assert main([*words, "--sensitivity", "emphasis"]) == 0
    out, err = capsys.readouterr()
    assert "1 of 10 cells are done already" in err
    assert "| emphasis ρ | 0.3 |" in out and "| MAESTRO | 0.88 |" in out  # (0.75 + 1.0) / 2
    assert len(list(rundir.run_dirs(tmp_path))) == 1
    assert main(words) == 1
    assert "holds 1 cells of sensitivity and none of methods" in capsys.readouterr().err


def _publish(path: Path, trained: bool) -> None:
    level = 0.5 if trained else 0.0
    with RunWriter(path) as writer:
        writer.evaluation(
            {
                "step": 1,
                "phase": "after" if trained else "before",
                "split": "report",
                "kind": ["reason", "reason", "story", "story"],
                "prompt_id": list("aabb"),
                "prompt": list("aabb"),
                "reference": [None] * 4,
                "sample": np.array([0, 1, 0, 1], dtype=np.int32),
                "completion": ["x"] * 4,
                "num_tokens": np.full(4, 5),
                "truncated": np.zeros(4, dtype=bool),
                "rewards": (
                    ("format", "judge"),
                    np.array([[0.5 + level / 2, np.nan]] * 4),
                ),
                "weights": (("format", "judge"), np.array([[0.5, 0.5]] * 4)),
                "judge": np.array([0.0, 0.5, 0.25, 0.75]) + level,
            }
        )
        if not trained:
            return
        for step, split, judge, rewards in (
            (0, "train", [0.5, np.nan, 0.5, np.nan], [np.nan, np.nan, np.nan, 1.0]),
            (0, "probe", [0.0, 0.0, 0.0, 0.0], [np.nan] * 4),
            (1, "probe", [0.5, 0.5, 0.25, 0.75], [np.nan] * 4),
        ):
            writer.rollouts(
                RolloutBatch(
                    step=step,
                    split=split,
                    objectives=("format", "judge"),
                    num_generations=2,
                    prompts=list("aabb"),
                    prompt_ids=list("aabb"),
                    kinds=["reason"] * 4,
                    completions=["x"] * 4,
                    num_tokens=np.full(4, 10),
                    truncated=np.zeros(4, dtype=bool),
                    rewards=np.stack([np.full(4, 0.5), np.array(rewards)], axis=1),
                    weights=np.full((4, 2), 0.5),
                    scalars=np.zeros(4),
                    advantages=np.zeros(4),
                    judge=np.array(judge),
                )
            )


def test_tournament_standings_and_their_table(tmp_path: Path) -> None:
    told: list[str] = []
    names = ("conflict +0.0", "trap constant")
    frame = experiments.run_tournaments(tmp_path, [0], 2, 2, names, told.append)
    assert len(told) == 2
    again = experiments.run_tournaments(tmp_path, [0], 2, 2, names, told.append)
    assert len(told) == 2 and again.equals(frame)
    table = experiments.standings(frame)
    assert table.set_index("method").loc["oracle", "regret"] == 0
    assert len(experiments.markdown(table).splitlines()) == 2 + len(table)


def test_figures_hold_their_numbers() -> None:
    table = report.summary(frame(base=0.3, equal=0.4, saw=0.45))
    dots = benchmark.methods(table)
    assert sorted(v for t in dots.data for v in t.x) == pytest.approx(sorted(table["iqm"]))
    heat = benchmark.families(table)
    assert np.array(heat.data[0].z).max() == pytest.approx(0.15)
    line = benchmark.sensitivity(
        pd.DataFrame({"method": "a", "value": [1, 1, 2], "judge": [0.2, 0.4, 0.5]}), "x"
    )
    assert list(line.data[0].y) == pytest.approx([0.3, 0.5])


def test_settings_and_search_are_valid_runs_on_seeds_of_their_own() -> None:
    for name in sensitivity.SETTINGS:
        grid = sensitivity.varied_cells(name, [0], cells.FULL)
        rows = {
            c.config.grpo.num_generations * c.config.grpo.prompts_per_step
            for group in grid.values()
            for c in group
        }
        assert rows == {64}
    for space in (sensitivity.maestro_space(), sensitivity.anchored_space()):
        searched = sensitivity.search_cells(space)
        flat = [c for group in searched.values() for c in group]
        assert {c.seed for c in flat} == set(cells.SEARCH_SEEDS)
        assert len({c.name for c in flat}) == len(flat)
        assert all(c.config.evaluation.prompts == 0 for c in flat)
    assert not set(cells.SEARCH_SEEDS) & set(cells.REPORT_SEEDS)
    with pytest.raises(ValueError, match="setting: 'rho' unknown"):
        sensitivity.varied_cells("rho", [0], cells.FULL)


def test_oracle_trials_give_every_kind_every_candidate_once() -> None:
    trials = sensitivity.oracle_trials(random=3)
    assert len(trials) == 1 + 5 + 10 + 3
    for kind in trials[0]:
        tried = {tuple(trial[kind].values()) for trial in trials}
        assert len(tried) == len(trials)
        assert all(sum(weights) == pytest.approx(1, abs=0.01) for weights in tried)
    rows = [
        {"kind": "story", "judge": j, **dict.fromkeys(methods.OBJECTIVES, w)}
        for j, w in ((0.9, 0.1), (0.8, 0.2), (0.7, 0.6), (0.1, 0.9))
    ]
    assert sensitivity.best_weights(pd.DataFrame(rows), top=2)["story"]["length"] == pytest.approx(
        0.15
    )


def test_peak_memory_is_a_processs_own_and_not_its_parents() -> None:
    ballast = np.ones(60_000_000 // 8)  # 60 MB that a child must not be charged for
    code = "from workbench.bench.stepwise import own_peak; print(own_peak())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ballast.sum() > 0 and 1e6 < int(done.stdout) < stepwise.own_peak() / 2


def test_cost_is_the_median_of_ratios_of_pairs_whose_order_alternates(monkeypatch) -> None:
    """Three pairs: 2/1, 3/2, 5/4 by the clock, so 1.5; half of each on the CPU, so 0.75."""
    seconds = {"maestro": iter([2.0, 3.0, 5.0]), "static": iter([1.0, 2.0, 4.0])}
    tokens = {"maestro": 100, "static": 100}
    asked = []

    class Turn:
        def __init__(self, variant: str, config: Any) -> None:
            self.variant, self.share = variant, 0.5 if variant == "maestro" else 1.0

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            asked.append("ended")

        def step(self) -> stepwise.Step:
            asked.append(self.variant)
            wall = next(seconds[self.variant])
            peak = 300 if self.variant == "maestro" else 200
            return stepwise.Step(wall, wall * self.share, tokens[self.variant], peak)

    monkeypatch.setattr(stepwise, "Paced", Turn)
    monkeypatch.setattr(cost, "SKIP", 0)
    row = cost.compare("maestro", "static", "etudes", 3, lambda: None)
    turns = ["maestro", "static", "static", "maestro", "maestro", "static"]
    assert asked == [*turns, "ended", "ended"]
    assert (row["ratio"], row["cpu_ratio"], row["memory_ratio"]) == (1.5, 0.75, 1.5)
    assert 1.25 <= row["low"] <= 1.5 <= row["high"] <= 2.0
    assert (row["seconds"], row["seconds_against"]) == (3.0, 2.0)
    assert "| maestro | static | 1.500 [" in cost.markdown([row])

    seconds.update(maestro=iter([1.0]), static=iter([1.0]))
    tokens["static"] = 101  # another completion: a ratio of two different steps says nothing
    with pytest.raises(RuntimeError, match="maestro and static generated other completions"):
        cost.compare("maestro", "static", "etudes", 3, lambda: None)


def test_a_paced_trainer_steps_when_told_and_a_lost_one_is_named() -> None:
    with stepwise.Paced("static, extrinsic", cost.config_of("static, extrinsic", steps=3)) as ours:
        first, second = ours.step(), ours.step()
        assert 0 < first.tokens < second.tokens and second.wall > 0 and second.peak > 1e8
        with pytest.raises(RuntimeError, match="cost of 'static, extrinsic': it ended early"):
            ours.step()  # the last of three: its end is where a fourth would begin
