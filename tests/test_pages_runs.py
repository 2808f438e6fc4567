"""The table of runs and several runs in one chart, against the same counted by hand."""

import numpy as np
import pandas as pd
import pytest
from chat_world import make_chats

from workbench.api.workbench import Workbench
from workbench.pages import run_charts, run_facts, run_table, runs, runs_view
from workbench.pages.live_cache import Feed, recent_runs
from workbench.pages.router import EVERYTHING
from workbench.plots.run_lines import run_lines, smoothed

FRAME = pd.DataFrame(
    {
        "name": ["a", "b", "conductor lr1e-3"],
        "run_id": ["1", "2", "3"],
        "status": ["finished", "running", "failed"],
        "scalarizer": ["saw", "static", "conductor"],
        "tags": ["good", "", "good old"],
        "seed": [0, 1, 2],
        "held": [0.5, np.nan, 0.7],
    }
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["a", "b", "conductor lr1e-3"]),
        ("conductor lr1e-3", ["conductor lr1e-3"]),
        ("lr1e-3 CONDUCTOR", ["conductor lr1e-3"]),
        ("scalarizer=saw", ["a"]),
        ("scalarizer!=saw", ["b", "conductor lr1e-3"]),
        ("seed>0", ["b", "conductor lr1e-3"]),
        ("seed>=1 held>0.6", ["conductor lr1e-3"]),
        ("held<0.6", ["a"]),  # a run that was not evaluated has no such value
        ("tag=good", ["a", "conductor lr1e-3"]),
        ("nothing=1", []),  # no such key: taken as a word
    ],
)
def test_a_filter_of_words_and_comparisons(text, names):
    assert run_table.filtered(FRAME, text)["name"].tolist() == names


def test_sorting_puts_runs_without_a_value_last():
    assert run_table.ordered(FRAME, "held")["name"].tolist() == ["a", "conductor lr1e-3", "b"]
    assert run_table.ordered(FRAME, "-held")["name"].tolist() == ["conductor lr1e-3", "a", "b"]
    assert run_table.ordered(FRAME, "-name")["name"].tolist() == ["conductor lr1e-3", "b", "a"]
    assert run_table.ordered(FRAME, "nothing")["name"].tolist() == FRAME["name"].tolist()


def test_a_group_has_its_mean_and_interval():
    """0.5 and 0.7: mean 0.6, deviation 0.1 sqrt 2, half interval 1.96 * 0.1414 / sqrt 2 = 0.196."""
    by_tag = FRAME.assign(tags=["x", "x", "x"])
    ((value, part, mean, half),) = run_table.grouped(by_tag, "tags")
    assert (value, len(part), mean) == ("x", 3, pytest.approx(0.6))
    assert half == pytest.approx(0.196)


@pytest.fixture(scope="module")
def wb(tmp_path_factory) -> Workbench:
    folder = tmp_path_factory.mktemp("explorer") / "runs"
    return Workbench(make_chats(folder, runs=4, steps=4, huge=False))


def table(wb: Workbench, **view: str) -> str:
    return str(runs_view.runs_table(wb, recent_runs(wb), view))


def test_columns_of_the_configuration_and_of_metrics(wb):
    shown = table(wb, rcols="grpo.learning_rate,metric:loss,nonsense")
    assert ">grpo.learning_rate" in shown and ">loss" in shown and "nonsense</button>" not in shown
    found = runs_view.listing(wb, recent_runs(wb), {"rq": "grpo.learning_rate>=3e-5"})
    assert sorted(found.frame["name"]) == ["chat-2", "chat-3"]
    last = wb.sql(
        "SELECT value FROM metrics JOIN runs USING (run_id) "
        "WHERE metrics.name = 'loss' AND runs.name = 'chat-1' ORDER BY metrics.step DESC LIMIT 1"
    )["value"].iloc[0]
    frame = run_table.with_columns(wb, recent_runs(wb), {}, ["metric:loss"])
    assert frame.set_index("name").loc["chat-1", "metric:loss"] == last


def test_the_judge_of_a_run_is_the_held_out_one_before_and_after(wb):
    scores = wb.sql(
        "SELECT phase, avg(judge) AS judge FROM evaluations WHERE run_id = $run GROUP BY phase",
        {"run": wb.resolve("chat-3")},
    ).set_index("phase")["judge"]
    hero = run_facts.hero(wb, wb.resolve("chat-3"))["judge"]
    assert hero["before"] == pytest.approx(scores["before"])
    assert hero["after"] == pytest.approx(scores["after"])
    assert hero["gain"] == pytest.approx(scores["after"] - scores["before"])
    shown = table(wb)
    assert "held-out judge" in shown and "probe judge" in shown


def test_any_metric_is_found_by_name_or_expression(wb):
    assert run_charts.chosen_metrics(wb, {"metric": "loss"}) == (["loss"], "")
    assert run_charts.chosen_metrics(wb, {"metric": "^l, norm"})[0] == [
        "learning_rate", "loss", "grad_norm"
    ]  # fmt: skip
    assert "no metric is called 'sweet'" in run_charts.chosen_metrics(wb, {"metric": "sweet"})[1]
    assert "is no expression" in run_charts.chosen_metrics(wb, {"metric": "("})[1]


def test_several_runs_in_one_chart_over_steps_tokens_and_groups(wb):
    every = recent_runs(wb)
    value = run_charts.chart(wb, {"metric": "loss"}, every, "")
    lines = {t["name"]: t for t in value["figure"]["data"]}
    assert sorted(lines) == ["chat-0", "chat-1", "chat-2", "chat-3"]
    assert lines["chat-1"]["x"] == [0, 1, 2, 3]
    tokens = run_charts.chart(wb, {"metric": "loss", "xaxis": "tokens"}, every, "")
    per_step = wb.rollouts("chat-1", split="train").groupby("step")["num_tokens"].sum().cumsum()
    mine = next(t for t in tokens["figure"]["data"] if t["name"] == "chat-1")
    assert mine["x"] == per_step.tolist()
    groups = run_charts.chart(wb, {"metric": "loss"}, every, "scalarizer")
    named = [t["name"] for t in groups["figure"]["data"] if t.get("showlegend", True)]
    assert sorted(named) == ["scalarizer conductor", "scalarizer saw", "scalarizer static"]


def test_an_exponential_mean_starts_at_the_first_value():
    """share 0.5: 4; (0.5*4 + 0)/1.5 = 4/3 with weights 1/2, 1 -> (2 + 0)/1.5."""
    assert smoothed(pd.Series([4.0, 0.0]), 0.5).tolist() == pytest.approx([4.0, 4 / 3])
    assert smoothed(pd.Series([4.0, 0.0]), 0.0).tolist() == [4.0, 0.0]


def test_a_smooth_line_leaves_the_raw_one_faint_behind_it():
    frame = pd.DataFrame({"run": "a", "metric": "m", "x": [0, 1, 2], "value": [1.0, 2.0, 3.0]})
    raw, smooth = run_lines(frame, smooth=0.5, log=True).data
    assert list(raw["y"]) == [1, 2, 3] and "0.25)" in raw["line"]["color"]
    assert smooth["y"][0] == 1 and smooth["y"][2] < 3


def test_a_run_whose_file_is_damaged_does_not_take_the_page_away(wb, tmp_path):
    own = Workbench(make_chats(tmp_path / "runs", runs=2, steps=2, huge=False))
    (own.launcher.path("chat-0") / "config.yaml").write_text("steps: [")
    values = runs.show(Feed(own), own, {"tab": "runs", "run": "chat-0"}, EVERYTHING)
    assert "chat-1" in str(values[0]) and "chat-0" in str(values[0])
    assert "cannot be shown" in "".join(str(v) for v in values[3:])
