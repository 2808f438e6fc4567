"""Every page's question as one call, every picture as another: checked on made-up runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import Workbench
from workbench.analysis.figures import OF_RUNS, of_data
from workbench.bench import cells, methods, sensitivity, stored
from workbench.config.io import ConfigError
from workbench.plots import group_figures
from workbench.runs.rundir import create
from workbench.store.state import write_state
from workbench.store.writer import RunWriter

NAMES = ["perplexity", "format", "entropy", "length", "preference"]


@pytest.fixture(scope="module")
def wb(world: Path) -> Workbench:
    """``maestro`` has a Conductor, ``equal`` has none: six prompts, eight completions each."""
    return Workbench(world)


def test_the_list_of_groups_is_filtered_and_sorted(wb):
    listed = wb.groups("maestro", sort="weight_spread", limit=5)
    assert len(listed) == 5 and listed["weight_spread"].is_monotonic_decreasing
    stories = wb.groups("maestro", kind="story", limit=100)
    assert set(stories["kind"]) == {"story"} and len(stories) == 24  # one a step
    assert set(wb.groups("maestro", split="probe")["split"]) == {"probe"}
    assert len(wb.groups("maestro", text="onerror=window")) == 1
    # a flat group agrees with nobody: its disagreement is not known, and stands last
    odd = wb.groups("maestro", sort="disagreement", limit=500)["disagreement"]
    assert odd.isna().any() and odd.notna().any() and odd.dropna().is_monotonic_decreasing
    assert odd.isna().is_monotonic_increasing
    with pytest.raises(ValueError, match="sort 'best' unknown"):
        wb.groups("maestro", sort="best")


def test_numbers_out_of_a_frame_can_be_asked_with(wb):
    first = wb.groups("maestro", limit=1).iloc[0]
    group = wb.group("maestro", first["prompt_id"], step=first["step"])
    assert len(group) == 8 and set(group["step"]) == {first["step"]}


def test_the_weight_map_has_each_prompt_once_where_it_was_seen_last(wb):
    placed = wb.weight_map("maestro")
    assert list(placed.columns) == ["prompt_id", "step", "kind", "prompt", *NAMES]
    assert sorted(placed["prompt_id"]) == [f"p{i}" for i in range(6)]
    assert set(placed["step"]) == {23}
    assert placed[NAMES].sum(axis=1).to_numpy() == pytest.approx(1)
    # what the Conductor believes, not the weights it drew; without one, the weights
    last = wb.rollouts("maestro", split="train", step=23, prompt_id="p0")
    believed = np.mean([dict(p)["format"] for p in last["policy"]])
    assert placed.set_index("prompt_id").loc["p0", "format"] == pytest.approx(believed)
    assert wb.weight_map("equal")[NAMES].to_numpy() == pytest.approx(0.2)


def test_self_favouring_is_zero_for_equal_weights_and_told_by_key(wb):
    assert (wb.self_favouring("equal")["self_favouring"] == 0).all()
    kinds = wb.self_favouring("maestro")
    assert set(kinds["kind"]) == {"fact", "list", "story", "comfort"}
    assert kinds["rows"].sum() == 24 * 6 * 8
    assert list(wb.self_favouring("maestro", by="step")["step"]) == list(range(24))
    whole = wb.self_favouring("maestro", by=None)
    assert list(whole.columns) == ["self_favouring", "rows"] and len(whole) == 1
    with pytest.raises(ValueError, match="by: 'sample' not allowed; allowed are kind"):
        wb.self_favouring("maestro", by="sample")


def test_findings_are_those_of_the_page(wb):
    flat = wb.findings("maestro", "p1", step=3)  # made flat on every objective
    assert flat.iloc[0]["level"] == "bad" and "every objective is flat" in flat.iloc[0]["title"]
    assert list(flat.columns) == ["level", "title", "text", "advice"]


def test_agreement_counts_the_votes(wb):
    assert wb.agreement("equal").empty
    rows = wb.rollouts("equal", split="train", step=0)
    group = rows["group_id"].iloc[0]
    for rater, sample in (("ann", 2), ("bob", 2), ("cyd", 5)):
        wb.annotate("equal", "vote", rater=rater, group_id=group, sample=sample, score=1.0)
    found = wb.agreement("equal")
    pairs = found[found["what"] == "raters with each other"].set_index("who")["same"]
    assert dict(pairs) == {"ann and bob": 1.0, "ann and cyd": 0.0, "bob and cyd": 0.0}
    best = int(rows[rows["group_id"] == group]["advantage"].argmax())
    pushed = found[found["what"] == "picks with the largest advantage"].set_index("who")["same"]
    assert pushed["ann"] == float(best == 2)


def test_settings_explain_every_key(wb):
    every = wb.settings()
    assert {"steps", "grpo.num_generations", "objectives[].sign"} <= set(every["key"])
    assert every["meaning"].str.len().min() > 0
    found = wb.settings("emphasis")
    assert "scalarizer.emphasis" in set(found["key"]) and len(found) < len(every)
    assert wb.settings("no such thing").empty


def test_a_start_takes_overrides_and_refuses_bad_ones(tmp_path):
    wb = Workbench(tmp_path, command=["true"])
    run = wb.start("quick", sets=["name=small", "steps=3"])
    assert (run.name, wb.config(run).steps) == ("small", 3)
    with pytest.raises(ConfigError, match="steps"):
        wb.start("quick", sets=["steps=0"])


def test_every_picture_of_a_run_is_one_call(wb):
    listed = wb.figures()
    assert set(listed[listed["of"] == "run"]["name"]) == set(OF_RUNS)
    assert set(listed[listed["of"] == "data"]["name"]) == set(of_data())
    assert listed["meaning"].str.len().min() > 0
    options = {
        "prompt": {"prompt_id": "p2", "split": "probe"},
        "group": {"prompt_id": "p2", "step": 4},
    }
    for name in OF_RUNS:
        runs = ["equal", "maestro"] if name in ("compare", "pareto") else "maestro"
        figure = wb.figure(name, runs, **options.get(name, {}))
        assert figure.layout.paper_bgcolor == "white", name
        if name not in ("judge", "health"):  # made-up runs publish no metrics
            assert len(figure.data) > 0, name
    with pytest.raises(ValueError, match="objectives .'speed'. unknown; there are perplexity"):
        wb.figure("pareto", ["equal", "maestro"], x="speed")
    with pytest.raises(ValueError, match="prompt_id: 'p9' has no probe completions"):
        wb.figure("prompt", "maestro", prompt_id="p9")


def test_a_whatif_is_a_tidy_frame_and_a_picture(wb):
    found = wb.whatif("maestro", weights=dict.fromkeys(NAMES, 1.0))
    frame = found.frame()
    assert len(frame) == 24 * 6 * 8
    assert (frame["change"] == frame["after"] - frame["before"]).all()
    assert list(frame["flipped"]) == list(frame["before"] * frame["after"] < 0)
    assert f"{100 * frame['flipped'].mean():.0f} % of 1,152 signs flip" in found._repr_html_()
    kinds = [trace for trace in wb.figure("whatif", data=frame).data if trace.mode == "markers"]
    assert sum(len(trace.x) for trace in kinds) == len(frame)


def rows(rewards, weights, advantages, scaled=None):
    named = [dict(zip("ab", r, strict=True)) for r in rewards]
    return pd.DataFrame(
        {
            "rewards": named,
            "scaled": [None] * len(named) if scaled is None else scaled,
            "weights": [dict(zip("ab", w, strict=True)) for w in weights],
            "advantage": advantages,
        }
    )


def test_contributions_are_weighted_rewards_above_the_groups_mean():
    parts = group_figures.contributions(
        rows([[1.0, 0.0], [0.0, np.nan]], [[0.5, 0.5], [0.2, 0.8]], [1.0, -1.0])
    )
    # weight x reward: a 0.5 and 0, b 0 and nothing; less the means 0.25 and 0
    assert list(parts["lift"]) == [0.25, 0.0, -0.25, 0.0]
    assert list(parts["row"]) == [1, 1, 2, 2] and list(parts["objective"]) == ["a", "b"] * 2
    scaled = [{"a": 4.0, "b": 0.0}, {"a": 0.0, "b": 0.0}]  # what was weighted, where it differs
    parts = group_figures.contributions(
        rows([[1, 0], [0, 0]], [[0.5, 0.5]] * 2, [1.0, -1.0], scaled)
    )
    assert list(parts["lift"]) == [1.0, 0.0, -1.0, 0.0]


def cell(runs_dir: Path, made: cells.Cell, judge: float) -> None:
    """A finished cell with one held-out completion a kind."""
    run_id = create(runs_dir, made.named_config, token=None, parent=None, cwd=runs_dir)
    with RunWriter(runs_dir / run_id) as writer:
        kinds = ["fact", "story"]
        writer.evaluation(
            {
                "step": [6, 6], "phase": ["after"] * 2, "split": ["report"] * 2, "kind": kinds,
                "prompt_id": kinds, "prompt": kinds, "reference": [None] * 2, "sample": [0, 0],
                "completion": ["x", "y"], "num_tokens": [1, 3], "truncated": [False] * 2,
                "rewards": (methods.OBJECTIVES, np.full((2, 5), judge)),
                "weights": (methods.OBJECTIVES, np.full((2, 5), 0.2)),
                "judge": np.array([judge, judge + 0.1]),
            }
        )  # fmt: skip
    write_state(runs_dir / run_id, status="finished", step=6, steps=6)


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Workbench:
    """Three methods on two seeds, and two values of a setting, as a benchmark leaves them."""
    runs_dir = tmp_path_factory.mktemp("bench")
    budget = cells.Budget(steps=6)
    for made in cells.grid(methods.choose("equal,saw"), range(2), budget):
        cell(runs_dir, made, {"base": 0.2, "equal": 0.4, "saw": 0.5}[made.arm] + 0.01 * made.seed)
    for (method, value), varied in sensitivity.varied_cells("temperature", [0], budget).items():
        if value in (0.5, 2.0):
            cell(runs_dir, varied[0], value / 10 + (method == "anchored"))
    return Workbench(runs_dir)


def test_a_benchmark_is_read_from_its_rows(bench):
    found = bench.benchmark()
    assert found.steps == 6 and set(found.scores["arm"]) == {"base", "equal", "saw"}
    assert len(found.scores) == 3 * 2 * 2
    table = found.table.set_index("method")
    # judges of equal: 0.40, 0.50 on seed 0 and 0.41, 0.51 on seed 1
    assert table.loc["equal", "mean"] == pytest.approx(0.455)
    assert table.loc["saw", "vs_equal"] == pytest.approx(0.1)
    against = found.against("saw").set_index("against")
    assert against.loc["equal", "difference"] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="method: 'sow' unknown; measured are base, equal, saw"):
        found.against("sow")
    for name in ("methods", "families"):
        assert len(bench.figure(name, data=found.table).data) > 0


def test_cells_of_a_setting_that_share_a_name_are_told_apart(bench):
    swept = bench.benchmark().sensitivity("temperature")
    assert list(swept["method"]) == ["MAESTRO", "MAESTRO", "anchored", "anchored"]
    # judge is the mean of the two kinds: value / 10 + 0.05, one more for the anchored
    assert list(swept["judge"]) == pytest.approx([0.1, 0.25, 1.1, 1.25])
    assert len(bench.figure("sensitivity", data=swept, x="τ").data) == 2
    with pytest.raises(ValueError, match="no cell of 'emphasis' has finished"):
        bench.benchmark().sensitivity("emphasis")
    with pytest.raises(ValueError, match="setting: 'rho' unknown; there are emphasis"):
        bench.benchmark().sensitivity("rho")


def test_what_was_not_measured_is_said(bench, tmp_path):
    with pytest.raises(ValueError, match="no cell of a benchmark has finished"):
        stored.read(tmp_path)
    with pytest.raises(ValueError, match="no cells of 9 steps; there are .6."):
        bench.benchmark(steps=9)
    assert bench.benchmark().worlds.empty
