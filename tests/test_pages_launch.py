"""Launch: the form, the YAML and the command line are the same configuration."""

import shlex

import pytest

from workbench.api.workbench import Workbench
from workbench.config.doc import describe_fields
from workbench.config.io import PRESETS, load, to_dict
from workbench.objectives import OBJECTIVES
from workbench.pages import form, form_values, rate, run_actions
from workbench.pages.launch import add_objective, checked, command, show, start
from workbench.pages.launch_address import open_with, overrides, read
from workbench.pages.page import ActionError, parse_view


@pytest.fixture
def wb(tmp_path) -> Workbench:
    return Workbench(tmp_path / "runs")


def shown(wb: Workbench, view: dict) -> tuple[str, str]:
    fields, result = show(wb, view, frozenset({"*"}))
    return fields, result


@pytest.mark.parametrize("preset", PRESETS)
def test_every_key_of_the_configuration_has_a_control(wb, preset):
    config = load(preset)
    fields, _ = shown(wb, {"preset": preset})
    for doc in describe_fields():
        inside = doc.variant in (None, config.scalarizer.name)
        if doc.kind == "section" or "[]" in doc.path or doc.path == "objectives" or not inside:
            continue
        assert f'data-set="{doc.path}"' in fields, doc.path
    for name in config.objective_names:
        for key in form.SETTINGS:
            assert f'data-set="objectives.{name}.{key}"' in fields


@pytest.mark.parametrize(
    "sets",
    [
        "",
        "steps=7\nseed=3\nname=a-run",
        "scalarizer.name=random\nscalarizer.concentration=2.5",
        "scalarizer.emphasis=0.25\ngrpo.beta=0.1",
        'objectives=[format, {name: vowels, function: "mine:vowels", lower: 0}]',
        "objectives.format.scaling=rank\nobjectives.length.sign=-1",
        "policy.model=some-org/some-model",
        "task.kinds=fact, story\nlogging.stop_on=collapse",
        "policy.system_prompt=answer: yes, or no # not a comment",
    ],
)
def test_the_command_line_means_what_the_form_means(wb, sets):
    view = {"set": sets}
    config, _, problems = read(view)
    assert problems == {}
    words = shlex.split(command(wb, view))
    assert words[:3] == ["workbench", "run", "quick"]
    options = dict.fromkeys(("--set", "--name", "--runs-dir"))
    items = [(words[i], words[i + 1]) for i in range(3, len(words), 2)]
    assert {name for name, _ in items} <= set(options)
    said = [v if name == "--set" else f"name={v}" for name, v in items if name != "--runs-dir"]
    assert load("quick", said) == config


def test_a_setting_of_the_scalarizer_that_is_not_chosen_is_left_out():
    assert overrides({"set": "scalarizer.emphasis=0.3\nscalarizer.name=random"}) == [
        "scalarizer.name=random"
    ]


@pytest.mark.parametrize(
    ("sets", "path", "part"),
    [
        ("steps=0", "steps", "0"),
        ("steps=many", "steps", "many"),
        ("grpo.num_generations=1", "grpo.num_generations", "1"),
        ("scalarizer.name=single", "scalarizer.objective", "missing"),
        ("name=a b", "name", "a b"),
        ("scalarizer.emphasis=1.5", "scalarizer.emphasis", "1.5"),
    ],
)
def test_a_refused_value_stands_beside_its_field(wb, sets, path, part):
    config, _, problems = read({"set": sets})
    assert config is None
    assert part in problems[path]
    fields, result = shown(wb, {"set": sets})
    assert f'id="f-{path}-error"' in fields
    assert "disabled" in result.split("Launch run")[0].rsplit("<button", 1)[1]


def test_what_was_typed_stays_in_its_field(wb):
    fields, _ = shown(wb, {"set": 'steps=<script>"&'})
    assert 'data-value="&lt;script&gt;&#34;&amp;"' in fields
    assert "<script>" not in fields


def test_a_taken_name_is_refused(wb):
    from pathlib import Path

    from workbench.runs import rundir

    wb.runs_dir.mkdir()
    rundir.create(wb.runs_dir, load("quick", ["name=mine"]), token=None, parent=None, cwd=Path())
    fields, _ = shown(wb, {"set": "name=mine"})
    assert "&#39;mine&#39; is taken" in fields


def test_an_objective_of_ones_own_can_be_added(wb):
    view = {"set": "steps=5"}
    add_objective(wb, view, {"values": {"name": "vowels", "function": "mine:vowels"}})
    config, _, problems = read(view)
    assert problems == {}
    assert config.objective_names[-1] == "vowels"
    assert config.objectives[-1].function == "mine:vowels"
    assert config.steps == 5
    with pytest.raises(ActionError, match="needs a name and a function"):
        add_objective(wb, view, {"values": {"name": "x", "function": "nothing"}})


@pytest.mark.parametrize("preset", PRESETS)
def test_a_run_opened_on_the_form_is_that_run(preset):
    config = load(preset, ["steps=11", "objectives.format.scaling=rank"])
    view: dict[str, str] = {}
    open_with(view, config)
    again, _, problems = read(view)
    assert problems == {}
    assert to_dict(again) == to_dict(config) | {"name": None}


@pytest.mark.parametrize("votes", [False, True])
def test_learning_from_a_run_or_its_votes_is_opened_on_the_form(world, votes):
    wb = Workbench(world)
    run = wb.resolve("maestro")
    view: dict[str, str] = {"tab": "rate" if votes else "runs", "run": run}
    actions = rate.ACTIONS if votes else run_actions.ACTIONS
    actions["learn"](wb, view, {"source": f"annotations,{run}" if votes else run})
    config, _, problems = read(parse_view(view))
    assert problems == {} and config.offline is not None
    assert (view["tab"], config.offline.method) == ("launch", "dro")
    assert list(config.offline.source.runs) == [run]
    assert config.offline.signal == ("votes" if votes else "objectives")
    wanted = wb.offline_config(["annotations", run] if votes else run)
    assert to_dict(config) == to_dict(wanted) | {"name": None}
    assert run in show(wb, view, frozenset({"*"}))[1]


@pytest.mark.parametrize(
    ("kind", "typed", "yaml"),
    [
        ("text", "yes", '"yes"'),
        ("text", "plain", "plain"),
        ("integer", "3", "3"),
        ("list", "a, b", "[a, b]"),
        ("list", "[1, 2]", "[1, 2]"),
        ("mapping", "a: 1", "{a: 1}"),
        ("choice", "rank", "rank"),
        ("choice", "-1", "-1"),
    ],
)
def test_what_is_typed_becomes_yaml(kind, typed, yaml):
    doc = next(d for d in describe_fields() if d.kind == kind)
    assert form_values.as_yaml(doc, typed) == yaml


def test_an_empty_field_means_the_default():
    steps = next(d for d in describe_fields() if d.path == "steps")
    path = next(d for d in describe_fields() if d.path == "task.path")
    assert (form_values.as_yaml(steps, " "), form_values.as_yaml(path, "")) == ("100", "null")


@pytest.mark.parametrize(
    ("sets", "path"),
    [
        (
            "objectives=[format, {name: vowels, function: 'no_such_module_here:vowels'}]",
            "objectives.1.function",
        ),
        ("grpo.extra={foo: 1}", "grpo.extra.foo"),
    ],
)
def test_what_would_end_the_run_keeps_the_button_off(wb, sets, path):
    assert path in checked(wb, {"set": sets})[2]
    _, result = shown(wb, {"set": sets})
    assert "1 value is refused" in result
    assert "disabled" in result.split("Launch run")[0].rsplit("<button", 1)[1]
    with pytest.raises(ActionError):
        start(wb, {"set": sets}, {})


def test_a_task_file_that_cannot_be_read_keeps_the_button_off(wb, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"question": "no prompt here"}\n')
    view = {"set": f"task.name=file\ntask.path={tmp_path / 'bad.jsonl'}"}
    fields, result = shown(wb, view)
    assert 'id="f-task.path-error"' in fields
    assert "disabled" in result.split("Launch run")[0].rsplit("<button", 1)[1]


def test_every_objective_that_there_is_stands_on_the_form(wb):
    fields, _ = shown(wb, {"set": "objectives=[format]"})
    assert all(f'id="o-{name}"' in fields for name in OBJECTIVES)
