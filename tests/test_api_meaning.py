"""One meaning for missing, infinite and unknown; handles and tables behave as a library's."""

import copy
import json
import pickle
from pathlib import Path

import pandas as pd
import pytest
from store_batches import RUN, make_run

from workbench import Workbench
from workbench.store.writer import RunWriter


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Groups whose rewards are there, missing for one row, and missing for all."""
    root = tmp_path_factory.mktemp("odd")
    rows = [
        {
            "step": 0, "kind": kind, "prompt": kind, "completion": f"c{s}", "num_tokens": 3,
            "rewards": {"score": score, "fmt": 1.0}, "advantage": s - 1.5, "scalar": scalar,
        }
        for kind, scores, scalar in (
            ("low", [0.1] * 4, 0.1), ("none", [None] * 4, "nan"), ("one", [None, *[0.9] * 3], 0.9)
        )
        for s, score in enumerate(scores)
    ]  # fmt: skip
    (root / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    wb = Workbench(root / "runs")
    wb.import_(root / "x.jsonl", "x")
    wb.import_(root / "x.jsonl", "y")
    return wb


def test_missing_values_sort_last_and_take_no_part_in_means(odd):
    for sort, largest_first in (("reward:score", ["one", "low", "none"]), ("scalar", None)):
        down = odd.groups("x", sort=sort)
        up = odd.groups("x", sort=sort, descending=False)
        assert down.kind.tolist() == (largest_first or ["one", "low", "none"])
        assert up.kind.tolist() == ["low", "one", "none"]
    means = odd.groups("x", sort="reward:score").set_index("kind").reward
    assert means["one"] == pytest.approx(0.9) and pd.isna(means["none"])
    table = odd.weights("x", by=("kind",)).set_index(["kind", "objective"]).reward
    assert table["one", "score"] == pytest.approx(0.9) and pd.isna(table["none", "score"])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda wb: wb.groups("x", sort="reward:no"), "'reward:no' unknown; .*, reward:fmt"),
        (lambda wb: wb.rollouts("x", step=9), "step 9 unknown; steps with rows lie from 0 to 0"),
        (lambda wb: wb.rollouts("x", kind="no"), "kind 'no' unknown; there are low, none, one"),
        (lambda wb: wb.annotate("x", "foo"), "type 'foo' unknown; allowed are rating, vote"),
        (lambda wb: wb.annotate("x", "rating"), "a rating needs a score"),
        (lambda wb: wb.group("x", None), "no completions of prompt None"),
        (lambda wb: wb.rename("x", None), "name: None is not allowed"),
        (lambda wb: wb.figure("weight_area", ["x", "y"]), "is of one run; asked for are x, y"),
        (lambda wb: wb.rollouts("z"), "no run 'z'"),
        *(
            (lambda wb, w=w: wb.whatif("x", weights=w), "weights")
            for w in ({"score": -1}, {"score": float("nan")}, {"score": 0}, {"score": 1, "fmt": -1},
                      {"score": float("inf")}, {"no": 1})
        ),
    ],
)  # fmt: skip
def test_names_and_numbers_that_are_none_are_refused(odd, ask, message):
    with pytest.raises((ValueError, LookupError), match=message):
        ask(odd)


def test_an_unknown_metric_is_refused_with_those_there_are(odd, tmp_path):
    with RunWriter(make_run(tmp_path)) as writer:
        writer.metrics(0, {"loss": 0.5})
    wb = Workbench(tmp_path)
    assert wb.curves(RUN, "loss").value.tolist() == [0.5]
    with pytest.raises(ValueError, match=r"curves \['no'\] unknown; there are loss"):
        wb.curves(RUN, ["loss", "no"])


def test_both_splits_are_asked_for_alike(odd):
    assert len(odd.weights("x", split=None)) == len(odd.weights("x")) > 0


def test_figures_of_several_runs_draw_one_line_a_run(odd):
    names = {trace.name for trace in odd.figure("rewards", ["x", "y"]).data}
    assert names == {f"{run} · {name}" for run in ("x", "y") for name in ("score", "fmt")}
    panels = odd.figure("weights_by_kind", ["x", "y"]).layout.annotations
    assert len({panel.text for panel in panels}) == 6


def test_handles_and_workbenches_can_be_copied_and_sent(odd):
    run = odd.run("x")
    odd.rollouts("x")
    for again in (copy.copy(run), copy.deepcopy([run])[0], pickle.loads(pickle.dumps(run))):
        assert again == run and again.name == "x" and again.log() == ("", 0)
    assert len(pickle.loads(pickle.dumps(odd)).rollouts("x")) == 12
    assert odd.sql("SELECT ? AS x", [1]).x.tolist() == [1]
    assert Workbench("~/x").runs_dir == Path.home() / "x"


def test_tables_of_runs_have_the_same_columns_and_types_whatever_runs_there_are(odd, tmp_path):
    empty, full = Workbench(tmp_path / "none").runs(), odd.runs()
    assert list(empty.columns) == list(full.columns)
    numbers = [c for c in full if full[c].dtype != object and str(full[c].dtype) != "str"]
    assert [str(empty[c].dtype) for c in numbers] == [str(full[c].dtype) for c in numbers]
    assert {"seed", "objectives", "task"} <= set(full.columns)
