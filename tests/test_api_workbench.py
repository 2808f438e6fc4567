"""Workbench as a notebook uses it, over runs of a child that publishes made-up rows."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import Workbench
from workbench.analysis.comparison import compare
from workbench.runs.rundir import UnknownRunError

CHILD = (sys.executable, str(Path(__file__).with_name("cli_child.py")))
NAMES = ["perplexity", "format", "entropy", "length", "preference"]


@pytest.fixture(scope="module")
def wb(tmp_path_factory):
    """Two finished runs: `a`, 8 steps under a Conductor, and `b`, 4 steps."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    wb = Workbench(tmp_path_factory.mktemp("runs"), command=CHILD)
    runs = [
        wb.start({"name": "a", "steps": 8, "scalarizer": {"name": "conductor"}}),
        wb.start({"name": "b", "steps": 4, "seed": 1}),
    ]
    for run in runs:
        assert run.wait(progress=False, timeout=120).status == "finished"
    yield wb
    patch.undo()


def test_a_handle_is_an_id_and_more(wb):
    run = wb.run("a")
    assert run == wb.resolve("a") and run in set(wb.runs()["run_id"])
    assert (run.name, run.status) == ("a", "finished")
    assert wb.state(run)["step"] == 8
    text, offset = run.log()
    assert run.log(offset) == ("", offset) and len(text.encode()) == offset
    with pytest.raises(UnknownRunError, match="near: "):
        wb.run("aa")


def test_waiting_calls_back_and_can_time_out(wb):
    seen = []
    wb.run("a").wait(progress=seen.append)
    assert [info.status for info in seen] == ["finished"]
    run = wb.start({"name": "long", "steps": 100_000})
    with pytest.raises(TimeoutError, match="run 'long' is "):
        run.wait(progress=False, timeout=0)
    run.stop()
    assert run.status == "stopped"
    wb.delete(run)


def test_rollouts_are_filtered_in_order(wb):
    rows = wb.rollouts("a", split="train")
    assert len(rows) == 8 * 8  # 8 steps of 2 prompts x 4 completions
    assert list(rows["step"]) == sorted(rows["step"])
    assert len(wb.rollouts("a", split="train", kind="fact", step=3)) == 4
    assert len(wb.rollouts(["a", "b"], split="train")) == 64 + 32
    assert len(wb.rollouts("a", limit=5)) == 5


def test_weights_average_what_was_logged(wb):
    weights = wb.weights("a", by=("step",))
    assert list(weights.columns) == [
        "run_id", "step", "objective", "weight", "probability", "reward", "rows",
    ]  # fmt: skip
    rows = wb.rollouts("a", split="train", step=2)
    expected = np.mean([dict(w)["format"] for w in rows["weights"]])
    found = weights[(weights["step"] == 2) & (weights["objective"] == "format")]
    assert found["weight"].item() == pytest.approx(expected)
    assert weights.groupby("step")["weight"].sum().to_numpy() == pytest.approx(1)
    with pytest.raises(ValueError, match="by: .'sql'. not allowed; allowed are step"):
        wb.weights("a", by=("sql",))


def test_a_group_is_one_prompt_at_one_step(wb):
    group = wb.group("a", "p-fact")
    assert len(group) == 4 and set(group["step"]) == {7}
    assert set(wb.group("a", "p-fact", step=0)["group_id"]) <= set(wb.rollouts("a")["group_id"])
    with pytest.raises(ValueError, match="no completions of prompt 'nothing'"):
        wb.group("a", "nothing")


def test_the_rest_of_a_run_is_one_call_each(wb):
    assert set(wb.prompts("a", split="train")["prompt_id"]) == {"p-fact", "p-story"}
    assert list(wb.curves("a", ["judge"])["value"]) == [0.5, 0.5]
    assert set(wb.evaluations("a")["phase"]) == {"before", "after"}
    assert list(wb.warnings("a")["code"]) == ["collapse"]
    assert len(wb.conductor("a")) == 0 and len(wb.checkpoints("a")) == 0
    assert wb.config("a").steps == 8
    assert wb.duplicate("a", "c").name == "c"
    answer = wb.query("SELECT * FROM rollouts", limit=3)
    assert len(answer.rows) == 3 and "first 3 rows" in answer.notice


def test_annotations_are_kept_and_taken_back(wb):
    tag = wb.annotate("a", "tag", text="<b>best</b>")
    wb.annotate("a", "note", text="why")
    wb.retract("a", tag)
    assert list(wb.annotations("a")["text"]) == ["why"]


def test_whatif_of_the_same_weights_changes_nothing(wb):
    rows = wb.rollouts("a", split="train")
    same = wb.whatif("a", weights=None, scalarizer="static")
    assert same.summary()["rows"] == len(rows)
    top = same.top(3)
    assert list(top.columns)[:4] == ["step", "kind", "group_id", "sample"]
    worst = top.iloc[0]
    here = rows[(rows["group_id"] == worst["group_id"]) & (rows["sample"] == worst["sample"])]
    assert here["advantage"].item() == pytest.approx(worst["before"])
    assert here["completion"].item() == worst["completion"]
    with pytest.raises(ValueError, match="exactly one"):
        wb.whatif("a", "saw", weights={"format": 1})
    with pytest.raises(ValueError, match="no checkpoint"):
        wb.whatif("a", conductor="b")
    with pytest.raises(ValueError, match="scalarizer.name: 'sow' is not allowed"):
        wb.whatif("a", "sow")


def test_pictures_by_name(wb):
    assert {t.name for t in wb.figure("rewards", "a").data} == set(NAMES)
    assert len(wb.figure("weights", "a").data) == 2 * 5
    assert len(wb.figure("compare", ["a", "b"]).data) == 2
    for name in ("judge", "weight_area", "weight_map", "health"):
        wb.figure(name, "a")
    assert wb.figure("weight_area", "a").layout.showlegend  # nothing beside it names the colours
    data = pd.DataFrame({"step": [0, 1], "name": "x", "value": [1.0, 2.0]})
    assert wb.figure("curves", data=data).data[0].y == (1.0, 2.0)
    with pytest.raises(ValueError, match="no figure 'wieghts' of a run; there are rewards"):
        wb.figure("wieghts", "a")


def test_reproducing_names_everything_that_decides(wb):
    recipe = wb.reproduce("b")
    assert recipe["command"].startswith("python -m workbench run")
    assert recipe["seed"] == 1 and "trl" in recipe["versions"]


def evaluation(judges, kinds=("x", "y"), reward=0.0):
    """Two samples a prompt whose judges average to the given number."""
    rows = [
        {
            "prompt_id": f"p{i}", "kind": kinds[i % len(kinds)], "prompt": f"q{i}",
            "reference": None, "completion": f"c{i}", "judge": value + noise,
            "rewards": {"format": reward, "length": 1 - reward},
        }
        for i, value in enumerate(judges)
        for noise in (-0.1, 0.1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_comparison_counts_prompts_not_samples():
    first, second = (
        evaluation([0.2, 0.4, 0.6, 0.8]),
        evaluation([0.3, 0.3, 0.7, 0.9, 0.9], reward=1),
    )
    found = compare({"one": first, "two": second})
    means = found.means.set_index(["side", "name", "kind"])
    # the four shared prompts: (0.2 + 0.4 + 0.6 + 0.8) / 4 and (0.3 + 0.3 + 0.7 + 0.9) / 4
    assert means.loc[("one", "judge", "all"), "mean"] == pytest.approx(0.5)
    assert means.loc[("two", "judge", "all"), "mean"] == pytest.approx(0.55)
    assert means.loc[("one", "judge", "x"), "mean"] == pytest.approx(0.4)  # prompts 0 and 2
    assert means.loc[("one", "judge", "all"), "prompts"] == 4
    wins = found.wins.set_index(["side", "against"])
    # two is ahead on prompts 0, 2, 3 and behind on 1
    assert wins.loc[("two", "one"), "rate"] == pytest.approx(0.75)
    assert wins.loc[("one", "two"), "rate"] == pytest.approx(0.25)
    assert wins.loc[("two", "one"), "difference"] == pytest.approx(0.05)
    low, high = wins.loc[("two", "one"), ["difference_low", "difference_high"]]
    assert -0.1 <= low <= 0.05 <= high <= 0.1  # the gaps are 0.1, -0.1, 0.1, 0.1
    # neither dominates: (format, length) means are (0, 1) and (1, 0)
    assert list(found.front["front"]) == [True, True]
    # reference a tenth of the spread below the worst: (-0.1, -0.1); boxes 0.1 x 1.1 each
    assert found.reference == pytest.approx({"format": -0.1, "length": -0.1})
    assert list(found.volume["hypervolume"]) == pytest.approx([0.11, 0.11])
    assert found.texts["one"].iloc[0] == ["c0", "c0"]


def test_comparison_turns_signs_and_refuses_what_cannot_be_compared():
    better, worse = evaluation([0.5, 0.5], reward=0.2), evaluation([0.5, 0.5], reward=0.8)
    found = compare({"low": better, "high": worse}, signs={"format": -1})
    # less format is better and length is 1 - format: the first side dominates
    assert list(found.front["front"]) == [True, False]
    with pytest.raises(ValueError, match="1 side given; two or more"):
        compare({"one": better})
    with pytest.raises(ValueError, match="'two' has no evaluation yet"):
        compare({"one": better, "two": better.iloc[:0]})
    other = better.assign(prompt_id="elsewhere")
    with pytest.raises(ValueError, match="no held-out prompt was answered by all"):
        compare({"one": better, "two": other})


def test_comparison_in_a_notebook_shows_names_as_text():
    html = compare({"<img src=x>": evaluation([0.5]), "b": evaluation([0.6])})._repr_html_()
    assert "<img" not in html and "&lt;img" in html
