"""Grades and votes: what is stored, who agrees, and the same from the command line."""

import json

import numpy as np
import pandas as pd
import pytest
from pages_world import make_world

from workbench.__main__ import main
from workbench.analysis import agreement
from workbench.api.workbench import Workbench


@pytest.fixture(scope="module")
def wb(tmp_path_factory) -> Workbench:
    return Workbench(make_world(tmp_path_factory.mktemp("votes") / "runs", steps=2))


@pytest.fixture
def cli(wb, capsys):
    def call(*words: str, check: int = 0) -> str:
        capsys.readouterr()
        assert main([*words, "--runs-dir", str(wb.runs_dir)]) == check
        done = capsys.readouterr()
        return done.out if not check else done.err

    return call


def test_grades_are_compared_by_the_order_they_put_texts_in():
    """Ann and Bob order three texts the same way, Cyd the other way round; the judge is Ann's."""
    scores = {"ann": [0.0, 0.5, 1.0], "bob": [0.0, 0.25, 0.5], "cyd": [1.0, 0.5, 0.0]}
    marks = pd.DataFrame(
        [
            {"type": "rating", "rater": r, "group_id": "g", "sample": i, "score": s, "time": i}
            for r, given in scores.items()
            for i, s in enumerate(given)
        ]
    )
    rollouts = pd.DataFrame({"group_id": "g", "sample": range(3), "judge": [0.1, 0.2, 0.9]})
    found = agreement.graded_alike(agreement.grades(marks), rollouts)
    assert dict(zip(found["who"], np.round(found["correlation"], 6), strict=True)) == {
        "ann and bob": 1.0, "ann and cyd": -1.0, "bob and cyd": -1.0,
        "ann and the judge": 1.0, "bob and the judge": 1.0, "cyd and the judge": -1.0,
    }  # fmt: skip
    assert set(found["n"]) == {3}


def test_a_second_grade_replaces_the_first():
    marks = pd.DataFrame(
        {"type": "rating", "rater": "ann", "group_id": "g", "sample": [1, 1], "score": [0.0, 1.0],
         "time": [1, 2]}
    )  # fmt: skip
    assert agreement.grades(marks)["score"].tolist() == [1.0]


def test_a_vote_knows_where_it_belongs_and_refuses_what_is_not_there(wb):
    group = wb.to_rate("equal", 1).iloc[0]
    wb.vote("equal", group["group_id"], 3, "ann")
    wb.vote("equal", group["group_id"], 3, "ann", 0.25)
    wb.vote("equal", group["group_id"], 3, "ann", 0.75)
    marks = wb.annotations("equal").set_index("type")
    assert marks.loc["vote", ["step", "sample", "score"]].tolist() == [group["step"], 3, 1.0]
    assert marks.loc["rating", "score"] == 0.75, "the second grade stands for the first"
    with pytest.raises(ValueError, match="has no completion 8"):
        wb.vote("equal", group["group_id"], 8, "ann")
    with pytest.raises(ValueError, match="no group 'nowhere'"):
        wb.vote("equal", "nowhere", 0, "ann")


def test_everything_that_is_said_on_the_pages_can_be_said_here(wb, cli):
    group = json.loads(cli("annotate", "maestro", "--queue", "1", "--json"))[0]["group_id"]
    cli("annotate", "maestro", "--tag", "keep", "--note", "the <b>good</b> one")
    cli("annotate", "maestro", "--vote", f"{group}:2", "--rater", "ann")
    cli("annotate", "maestro", "--vote", f"{group}:none", "--rater", "bob")
    cli("annotate", "maestro", "--score", f"{group}:2=0.5", "--rater", "ann")
    said = json.loads(cli("annotate", "maestro", "--json"))
    marks = {(m["type"], m["rater"]): m for m in said["annotations"]}
    assert marks["tag", None]["text"] == "keep"
    assert marks["note", None]["text"] == "the <b>good</b> one"
    assert (marks["vote", "ann"]["sample"], marks["vote", "bob"]["sample"]) == (2, None)
    assert marks["rating", "ann"]["score"] == 0.5
    assert ("ann and bob", 0.0) in {(a["who"], a["same"]) for a in said["agreement"]}
    cli("annotate", "maestro", "--retract", marks["tag", None]["annotation_id"])
    assert "keep" not in cli("annotate", "maestro")
    assert "expected GROUP:SAMPLE" in cli("annotate", "maestro", "--vote", "x", check=2)
    assert "no annotation 'x'" in cli("annotate", "maestro", "--retract", "x", check=1)


def test_a_run_is_renamed_and_its_settings_are_printed_for_another(wb, cli):
    cli("rename", "equal", "baseline")
    assert wb.state("baseline")["name"] == "baseline"
    yaml = cli("duplicate", "baseline", "--set", "seed=7", "--name", "again", "--print")
    assert "name: again" in yaml and "seed: 7" in yaml and "name: static" in yaml
    assert "is taken" in cli("rename", "baseline", "maestro", check=1)
    cli("rename", "baseline", "equal")


def test_inspect_prints_a_group_with_its_finding_and_keeps_its_rows(wb, cli, tmp_path):
    assert "tell a story about a hen" in cli("inspect", "maestro", "--kind", "story")
    text = cli("inspect", "maestro", "p2", "--step", "1")
    assert text.count("\n") >= 10
    said = json.loads(cli("inspect", "maestro", "p2", "--step", "1", "--json"))
    assert said["findings"][0]["title"] in text
    cli("inspect", "maestro", "p2", "--step", "1", "--out", str(tmp_path / "rows.parquet"))
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert rows["advantage"].tolist() == [r["advantage"] for r in said["rows"]]
    assert "allowed are .csv" in cli("inspect", "maestro", "--out", "rows.xlsx", check=1)
