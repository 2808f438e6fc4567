"""Every refusal is one line with the key, the bad value and what is allowed."""

import re
import sys

import pytest

from workbench.config.io import ConfigError, load, parse_text, validate
from workbench.config.yamlio import YamlError, parse, write_flow

REFUSED = [
    ({"steps": "x"}, "steps: 'x' is not allowed; it must be a whole number at least 1"),
    ({"steps": 1.5}, "steps: 1.5 is not allowed; it must be a whole number at least 1"),
    ({"steps": True}, "steps: True is not allowed; it must be a whole number at least 1"),
    ({"seed": -1}, "seed: -1 is not allowed; it must be a whole number at least 0"),
    ({"step": 3}, "step: unknown key; did you mean 'steps'? allowed are name, seed, steps"),
    ({"grpo": 3}, "grpo: 3 is not allowed; it must be a mapping"),
    (
        {"grpo": {"top_p": 2.0}},
        "grpo.top_p: 2.0 is not allowed; it must be a number above 0 and at most 1",
    ),
    ({"grpo": {"learning_rate": float("inf")}}, "grpo.learning_rate: inf is not allowed"),
    ({"grpo": {"loss_typ": "x"}}, "grpo.loss_typ: unknown key; did you mean 'loss_type'?"),
    ({"name": "../x"}, "name: '../x' is not allowed; it must be text of letters, digits"),
    ({"center_objectives": "yes"}, "center_objectives: 'yes' is not allowed; it must be true or"),
    (
        {"aggregation": "sum"},
        "aggregation: 'sum' is not allowed; allowed are sum_then_normalize, normalize_then_sum",
    ),
    (
        {"scalarizer": {"name": "condctor"}},
        "scalarizer.name: 'condctor' is not allowed; did you mean 'conductor'?",
    ),
    ({"scalarizer": {}}, "scalarizer.name: is missing; allowed are static"),
    (
        {"scalarizer": {"name": "conductor", "lerning_rate": 1}},
        "scalarizer.lerning_rate: unknown key (scalarizer conductor); did you mean 'learning_rate'",
    ),
    (
        {"scalarizer": {"name": "conductor", "emphasis": "5e-5"}},
        "scalarizer.emphasis: '5e-5' is not allowed; it must be a number at least 0 and at most 1",
    ),
    ({"scalarizer": {"name": "single"}}, "scalarizer.objective: is missing; it must be text"),
    (
        {"scalarizer": {"name": "static", "weights": {"format": -1}}},
        "scalarizer.weights.format: -1 is not allowed",
    ),
    (
        {"scalarizer": {"name": "static", "weights": {"vowels": 1}}},
        "scalarizer.weights: ['vowels'] unknown; the objectives are ['perplexity'",
    ),
    (
        {"scalarizer": {"name": "conductor", "meta_reward": "anchor"}},
        "scalarizer.anchor.source is missing: meta_reward 'anchor' needs one of 'judge'",
    ),
    (
        {"scalarizer": {"name": "conductor", "meta_reward": "anchor", "anchor": {"fraction": 0.5}}},
        "scalarizer.anchor.source is missing",
    ),
    (
        {
            "task": {"name": "file", "path": "rows.jsonl"},
            "scalarizer": {
                "name": "conductor",
                "meta_reward": "anchor",
                "anchor": {"source": "judge"},
            },
        },
        "scalarizer.anchor.source: 'judge' is not allowed with a file task",
    ),
    ({"objectives": "a"}, "objectives: 'a' is not allowed; it must be a list"),
    ({"objectives": []}, "objectives: is empty; at least one entry is needed"),
    ({"objectives": ["a", "a"]}, "objectives: ['a', 'a'] names one twice"),
    ({"objectives": [3]}, "objectives.0: 3 is not allowed; it must be a name or a mapping"),
    (
        {"objectives": [{"name": "a", "sign": 2}]},
        "objectives.0.sign: 2 is not allowed; allowed are 1, -1",
    ),
    (
        {"objectives": [{"name": "a", "function": "os.system"}]},
        "objectives.0: function: 'os.system' is not allowed; it must be 'package.module:function'",
    ),
    (
        {"objectives": [{"name": "a", "lower": 1, "upper": 0}]},
        "objectives.0: lower: 1 must be below upper, 0",
    ),
    ({"task": {"name": "file"}}, "task.path is missing: a file task needs the path of its rows"),
    ({"task": {"kinds": [3]}}, "task.kinds.0: 3 is not allowed"),
    ({"policy": {"lora": {"target_modules": 3}}}, "policy.lora.target_modules: 3 is not allowed"),
    ({"grpo": {"extra": {"a": {1}}}}, "grpo.extra.a: {1} is not allowed; it must be text, number"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED, ids=[m[:40] for _, m in REFUSED])
def test_a_refusal_names_key_value_and_what_is_allowed(data, message):
    with pytest.raises(ConfigError) as caught:
        validate(data)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_key_with_a_line_break_leaves_the_refusal_one_line():
    with pytest.raises(ConfigError) as caught:
        validate({"grpo": {"a\nb": 1}})
    assert str(caught.value).startswith("grpo.a\\nb: unknown key; allowed are num_generations")


def test_all_problems_are_named_one_per_key():
    with pytest.raises(ConfigError) as caught:
        validate({"steps": 0, "seed": "x", "grpo": {"beta": -1, "epsilon": 0}})
    assert [p.path for p in caught.value.problems] == ["seed", "steps", "grpo.beta", "grpo.epsilon"]
    assert str(caught.value).endswith("; and 1 more")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("steps", "--set 'steps': expected key.path=value"),
        ("=3", "--set '=3': expected key.path=value"),
        ("steps=[", "steps: '[' is not valid YAML"),
        ("steps.x=3", "steps: 50 has no keys below it"),
        ("objectives.foo.scaling=rank", "objectives.foo: no entry 'foo'; there are perplexity"),
        ("objectives.format.scaling=x", "objectives.1.scaling: 'x' is not allowed; allowed are"),
        ("a.b.c=3", "a: unknown key; allowed are name"),
    ],
)
def test_a_bad_override_is_refused_by_its_key(item, message):
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        load("quick", [item])


def test_overrides_are_read_as_yaml_1_2():
    config = load(
        "quick",
        [
            "grpo.learning_rate=5e-5",
            "center_objectives=true",
            "name=2024",
            "task.kinds=[no, 'on']",
            "objectives.format.scaling=rank",
            "policy.lora.r=4",
        ],
    )
    assert config.grpo.learning_rate == 5e-5
    assert config.center_objectives is True
    assert config.name == "2024"
    assert config.task.kinds == ("no", "on")
    assert config.objectives[1].scaling == "rank"
    assert config.policy.lora.r == 4


def test_another_scalarizer_starts_from_its_own_defaults():
    config = load("quick", ["scalarizer.name=single", "scalarizer.objective=format"])
    assert config.scalarizer.objective == "format"
    same = load("quick", ["scalarizer.name=conductor"])
    assert same == load("quick")


def test_files_presets_and_what_is_neither(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("steps: 7\nobjectives: [format]\n")
    assert load(path).steps == 7
    with pytest.raises(ConfigError, match="quik: no such file.*did you mean 'quick'"):
        load("quik")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="a configuration is a mapping"):
        load(tmp_path / "list.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        load(tmp_path / "bytes.yaml")
    with pytest.raises(ConfigError, match="presets are quick, etudes, paper"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("~", None),
        ("", None),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text, value):
    assert parse(text) == value
    assert type(parse(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "line 2: the key 'a' stands twice"),
        ("a: &x [1]\nb: *x", "line 2: anchors and aliases are not supported"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "another document"),
        ("{1: 2}", "the key 1 is not text"),
        ("9" * 6000, "no usable number"),
        ("[" * 5000, "nested too deeply"),
        ("a" * 1_000_001, "a configuration has at most"),
    ],
)
def test_what_a_configuration_never_needs_is_refused(text, message):
    with pytest.raises(YamlError, match=message):
        parse(text)


def test_other_yaml_readers_see_the_same_values():
    import yaml

    values = [5e-5, 1e22, 0.1, 3, True, None, "no", "5e-5", "1:30", 'a\u2028\x7f"\\', "", "~"]
    assert yaml.safe_load(write_flow(values)) == values


def test_a_tag_runs_nothing(tmp_path):
    with pytest.raises(ConfigError):
        parse_text(f"name: !!python/object/apply:os.mkdir [{tmp_path}/made]")
    assert not (tmp_path / "made").exists()


def test_reading_a_configuration_imports_nothing_heavy():
    import subprocess

    code = (
        "import sys, workbench.config.text as c; c.load('quick'); c.keys_help();"
        "print(sorted({'torch','trl','transformers','datasets','pandas'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
