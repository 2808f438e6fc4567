"""Things of another package: installed beside the workbench, they are found wherever ours are.

The package is a real one for ``importlib.metadata``: a folder with ``outsider.py`` and a
``dist-info`` that names its entry points.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.config.registry import SHIPPED, PluginError, PluginWarning, Registry, entries

HERE = Path(__file__).parent
POINTS = """
[workbench.objectives]
vowels = outsider:vowels
{objectives}
[workbench.scalarizers]
loudest = outsider:LoudestSettings
{scalarizers}
[workbench.tasks]
sums = outsider:sums
[workbench.figures]
counts = outsider:counts
ladder = outsider:ladder
[workbench.pages]
hello = outsider:build
[workbench.learners]
copy = outsider:Copy
"""


def install(folder, **more):
    """Put the package on a path of its own; returns that path."""
    info = folder / "outsider-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outsider\nVersion: 1.0\n")
    points = {"objectives": "", "scalarizers": ""} | more
    (info / "entry_points.txt").write_text(POINTS.format(**points))
    (folder / "outsider.py").write_text((HERE / "outsider.py").read_text())
    return folder


def run(folder, code):
    """Run Python beside the package; returns what it printed as JSON, and its warnings."""
    prelude = f"import sys, json; sys.path.insert(0, {str(folder)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + code], capture_output=True, text=True, cwd=HERE.parent
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


EVERYWHERE = """
from workbench.config.io import load, to_dict
from workbench.config.text import dump, keys_help
chosen = ["objectives=[vowels, length]", "scalarizer.name=loudest", "scalarizer.power=2.0",
          "task.name=sums"]
config = load("quick", chosen)
found = {"yaml": dump(config), "help": keys_help(), "same": to_dict(load(to_dict(config))) ==
         to_dict(config)}

from workbench.__main__ import build_parser
for name in ("whatif", "offline"):
    sub = build_parser(name)._subparsers._group_actions[0].choices[name]
    found[name] = " ".join(sub.format_help().split())

from workbench.runs.validation import check_config
check_config(config)
from workbench.objectives import resolve
made = resolve(config.objectives[0])
found["objective"] = [made.function(completions=["aeb", "xyz"]), made.lower, made.description]
from workbench.tasks import load_task
found["task"] = [e.prompt for e in load_task(config.task).train]

import numpy as np, pandas as pd
from workbench.analysis.whatif import LoggedRows, whatif
rows = LoggedRows(("vowels", "length"), np.array([[1.0, 3.0], [2.0, 1.0]]), np.full((2, 2), 0.5),
                  np.array([1.0, -1.0]), np.zeros(2, int), np.zeros(2, int))
found["weights"] = whatif(rows, config.scalarizer).weights.tolist()

from workbench.analysis.figures import catalogue, draw
listed = catalogue().set_index("name")["of"]
found["figures"] = [listed["counts"], listed["ladder"]]
found["counts"] = list(draw(None, "counts", data=pd.DataFrame({"kind": ["a", "b", "a"]})).data[0].y)
from workbench import Workbench
found["ladder"] = list(Workbench(sys.path[0]).figure("ladder", "abc").data[0].y)

from workbench.pages import app, launch
found["launch"] = str(launch.show(Workbench(sys.path[0]), {"tab": "launch"}, frozenset("*"))[0])
found["pages"] = list(app.PAGES.usable())
from workbench.config.scalarizers import by_name_alone
found["by_name"] = by_name_alone()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    found, said = run(install(tmp_path_factory.mktemp("site")), EVERYWHERE)
    assert "left out" not in said
    return found


def test_the_yaml_names_them_and_reads_back(found):
    assert "objectives:\n  - vowels\n  - length\n" in found["yaml"]
    assert "  name: loudest\n" in found["yaml"] and "  power: 2.0\n" in found["yaml"]
    assert "# How sharply." in found["yaml"] and "  name: sums\n" in found["yaml"]
    assert found["same"]


def test_the_help_of_the_commands_lists_them(found):
    assert "preference, vowels." in found["help"]  # the objectives that are known by name
    assert "loudest (Weights that follow the rewards)" in found["help"]
    assert "scalarizer.power [loudest] (a number above 0; default 1.0)" in found["help"]
    assert "one of etudes, chats, file, sums" in found["help"]
    assert ", loudest --weights" in found["whatif"]
    learners = ",".join(SHIPPED["learners"])
    assert f"{{{learners},copy}}" in found["offline"]


def test_an_objective_and_a_task_are_used_like_ours(found):
    assert found["objective"] == [[2 / 3, 0.0], 0.0, "Share of vowels among the letters."]
    assert found["task"] == ["0 + 0 =", "1 + 1 =", "2 + 2 ="]


def test_a_what_if_asks_the_scalarizer(found):
    # squares of (1, 3) and (2, 1), divided by their sums 10 and 5
    assert found["weights"] == [[0.1, 0.9], [0.8, 0.2]]
    assert "loudest" in found["by_name"]


def test_figures_are_listed_and_drawn(found):
    assert found["figures"] == ["data", "run"]
    assert found["counts"] == [2, 1]  # two rows of kind a, one of kind b
    assert found["ladder"] == [3]


def test_pages_offer_them(found):
    for name in ("vowels", "loudest", "sums", "copy"):
        assert name in found["launch"]
    assert found["pages"] == [*SHIPPED["pages"], "hello"]


def test_a_learner_is_one_of_the_trainers(tmp_path):
    code = """
from workbench.train.offline_trainer import LEARNERS, RowTraining
print(json.dumps([issubclass(LEARNERS["copy"], RowTraining), list(LEARNERS)]))
"""
    assert run(install(tmp_path), code)[0] == [True, [*SHIPPED["learners"], "copy"]]


BROKEN = {
    "objectives": "gone = outsider:gone\nlength = outsider:vowels",
    "scalarizers": "vowels = outsider:vowels\nother = nowhere.to_be:found",
}


def test_what_is_broken_is_named_and_the_rest_goes_on(tmp_path):
    code = """
from workbench.config.io import load
from workbench.objectives import OBJECTIVES, resolve
from workbench.config import ObjectiveConfig
try:
    resolve(ObjectiveConfig("gone"))
except ValueError as error:
    refused = str(error)
print(json.dumps([list(OBJECTIVES.usable()), refused, load("quick").scalarizer.name]))
"""
    (usable, refused, scalarizer), said = run(install(tmp_path, **BROKEN), code)
    assert usable == [*SHIPPED["objectives"], "vowels"] and scalarizer == "conductor"
    assert refused == (
        "objectives 'gone' (outsider:gone) of the package outsider cannot be used: "
        "AttributeError: gone"
    )
    assert "objectives 'length' of the package outsider is left out: the workbench has one" in said
    assert "scalarizers 'vowels' (outsider:vowels) of the package outsider cannot be used" in said
    assert "inherits from Settings; it is left out" in said
    assert "ModuleNotFoundError: No module named 'nowhere'; it is left out" in said


def test_a_command_says_in_one_line_what_is_broken(tmp_path):
    folder = install(tmp_path, **BROKEN)
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from workbench.__main__ import main; "
    code += "main(['run', 'quick', '--print'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert done.returncode == 0 and "name: conductor" in done.stdout
    assert len(lines) >= 2 and all(line.startswith("note: ") for line in lines), done.stderr


@pytest.mark.parametrize("kind", sorted(SHIPPED.keys() - {"learners"}))  # torch stays out
def test_every_name_of_ours_stands_for_something(kind):
    assert [*Registry(kind).usable()] == [*SHIPPED[kind]] == [*entries(kind)]


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError):
        Registry("tasks")["nothing"]
    assert issubclass(PluginError, ValueError) and issubclass(PluginWarning, UserWarning)
