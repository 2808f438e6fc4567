"""The API by itself: whole without Gradio, of parts that do not know it, copied and pickled."""

import ast
import copy
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from pages_world import NAMES, make_world

from workbench import Workbench, api
from workbench.analysis.comparison import compare
from workbench.plots.figures import pareto
from workbench.runs.rundir import UnknownRunError

WITHOUT_GRADIO = """
import importlib.abc, sys

class Refused(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("gradio", "gradio_client", "torch", "trl"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Refused())
from workbench import Workbench

wb = Workbench(sys.argv[1])
run, names = "maestro", sys.argv[2].split(",")
group = wb.groups(run, limit=1, where=f"{names[0]} >= 0").iloc[0]
prompt, step = group["prompt_id"], int(group["step"])
frames = [
    wb.runs(), wb.rollouts(run, split="train", limit=5), wb.weights([run, "equal"]),
    wb.groups(run), wb.group(run, prompt, step=step), wb.prompts(run), wb.weight_map(run),
    wb.self_favouring(run), wb.findings(run, prompt, step=step), wb.evaluations(run),
    wb.warnings(run), wb.sql("SELECT 1 AS one"), wb.sql("SELECT ? AS x", [2]),
    wb.query("FROM runs").rows, wb.schema(), wb.settings("emphasis"), wb.figures(), wb.to_rate(run),
]
assert all(len(frame) for frame in frames)
for frame in (wb.curves(run), wb.conductor(run), wb.checkpoints(run), wb.annotations(run)):
    assert frame.empty
assert set(wb.outcome(run)["weights"]) == set(names)
assert wb.whatif(run, "saw").summary()["rows"] > 0
assert len(wb.compare(["equal", run]).means)
for name in ("rewards", "weights", "weights_by_kind", "health", "weight_map"):
    assert wb.figure(name, run).data
assert wb.figure("pareto", ["equal", run]).data
assert wb.vote(run, group["group_id"], 0, "ann") and len(wb.agreement(run)) > 0
assert wb.annotate(run, "tag", text="kept") and len(wb.annotations(run)) == 2
assert wb.config(run).steps and wb.state(run)["status"] == "finished" and wb.has(run)
assert wb.duplicate(run, "again").name == "again" and "command" in wb.reproduce(run)
assert wb.offline_config(run, "dro", name="learn").offline and wb.sweeps() == []
assert wb.doctor() is not None and wb.run(run).status == "finished"
assert wb.export(run, sys.argv[1] + "/out") and wb.rename(run, "renamed")
try:
    wb.app()
except ImportError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return make_world(tmp_path_factory.mktemp("small") / "runs", steps=3)


def test_everything_but_the_app_works_without_gradio(small):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_GRADIO, str(small), ",".join(NAMES)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gradio is not installed" in done.stdout


def test_the_parts_do_not_know_the_whole():
    """One class without bases; nothing below it imports it."""
    assert api.Workbench.__bases__ == (object,)
    for room in ("analysis", "runs", "plots", "core", "store"):
        for path in (Path(api.__file__).parent.parent / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    assert not str(node.module).startswith("workbench.api"), path


def test_pages_and_commands_write_no_sql():
    """What they ask stands in ``analysis``, where the API and the notebooks ask it too."""
    for room in ("pages", "commands"):
        for path in (Path(api.__file__).parent.parent / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    assert node.func.attr != "sql", f"{path}:{node.lineno}"


def test_every_method_explains_itself():
    for name, member in inspect.getmembers(Workbench, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.getdoc(member), name
            assert "store" not in inspect.signature(member).parameters, name


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda run: pickle.loads(pickle.dumps(run))]
)
def test_a_handle_is_the_same_run_wherever_it_is_copied(world, again):
    wb = Workbench(world, allowed_functions=["mine.*"])
    run = wb.run("maestro")
    other = again({"run": run})["run"]
    assert other == run and other.status == "finished" and other.name == "maestro"
    assert other.launcher.allowed_functions == ["mine.*"]


def test_a_used_workbench_can_be_sent_to_another_process(world):
    wb = Workbench(world, limit=2)
    assert len(wb.runs()) and len(wb.rollouts("maestro", limit=1))
    other = pickle.loads(pickle.dumps(wb))
    assert (other.runs_dir, other.launcher.limit) == (wb.runs_dir, 2)
    assert len(other.rollouts("maestro", limit=1)) == 1


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda wb: wb.groups("maestro", sort="reward:no-such"), "sort .* unknown; allowed are"),
        (lambda wb: wb.groups("maestro", kind="poem"), "kind 'poem' unknown; there are comfort"),
        (lambda wb: wb.groups("maestro", where="no-such < 1"), "'no-such' is unknown; there are"),
        (lambda wb: wb.rollouts("maestro", split="test"), "split 'test' unknown; there are probe"),
        (lambda wb: wb.weights("maestro", by=("day",)), "by: .'day'. not allowed"),
        (lambda wb: wb.weight_map("maestro", split="test"), "split 'test' unknown"),
        (lambda wb: wb.group("maestro", None), "no completions of prompt None"),
        (lambda wb: wb.figure("weight_map", ["equal", "maestro"]), "is of one run|shows one run"),
        (lambda wb: wb.figure("no-such", "maestro"), "no figure 'no-such' of a run; there are"),
    ],
)
def test_names_that_are_not_there_are_refused_with_those_that_are(world, ask, said):
    with pytest.raises(ValueError, match=said):
        ask(Workbench(world))
    with pytest.raises(UnknownRunError):
        Workbench(world).groups("no-such-run")


@pytest.mark.parametrize(
    "weights",
    [{"format": -1.0}, {"format": float("nan")}, {"format": 0.0}, {"format": float("inf")},
     {"format": 1.0, "length": -1.0}, {"format": 2.0, "length": -1.0}],
)  # fmt: skip
def test_what_is_no_weight_is_refused(world, weights):
    with pytest.raises(ValueError, match="weights: (format|length|all) "):
        Workbench(world).whatif("maestro", weights=weights)


def test_the_front_that_is_drawn_is_that_of_the_axes_shown():
    """Over a and b, side y (1, 1) dominates x (0, 0.5), which only c keeps on the front of all."""
    rows = {
        side: compare_rows(rewards)
        for side, rewards in {
            "x": {"a": 0.0, "b": 0.5, "c": 1.0},
            "y": {"a": 1.0, "b": 1.0, "c": 0.0},
            "z": {"a": 2.0, "b": 0.0, "c": 0.0},
        }.items()
    }
    front = compare(rows).front
    assert front["front"].tolist() == [True, True, True]
    line = next(trace for trace in pareto(front, "a", "b").data if trace.mode == "lines")
    assert list(line.x) == [1.0, 2.0] and list(line.y) == [1.0, 0.0]


def compare_rows(rewards):
    return pd.DataFrame(
        {"prompt_id": ["p"], "kind": "k", "prompt": "?", "reference": None, "judge": 0.5,
         "completion": "!", "rewards": [rewards]}
    )  # fmt: skip
