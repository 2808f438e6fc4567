"""Whatever a valid configuration is, YAML and the command line give the same one back."""

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.config.doc import describe_fields
from workbench.config.io import PRESETS, ConfigError, load, parse_text, to_dict, validate
from workbench.config.text import as_sets, command_line, diff, dump, keys_help

SAFE_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
UNIT = st.floats(0, 1)
POSITIVE = st.floats(1e-300, 1e300)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
FREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | SAFE_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SAFE_TEXT, inner, max_size=3),
    max_leaves=5,
)
SCALARIZERS = st.one_of(
    st.just({"name": "static"}),
    st.builds(lambda a: {"name": "static", "weights": {"format": a}}, POSITIVE),
    st.just({"name": "single", "objective": "format"}),
    st.builds(lambda c: {"name": "random", "concentration": c}, POSITIVE),
    st.builds(lambda k, w: {"name": "oracle", "by_kind": {k: {"format": w}}}, SAFE_TEXT, POSITIVE),
    st.builds(lambda g: {"name": "sa_mrpo", "gamma": g}, POSITIVE),
    st.fixed_dictionaries(
        {"name": st.just("conductor")},
        optional={
            "emphasis": UNIT,
            "learn_temperature": st.booleans(),
            "anchor": st.just({})
            | st.builds(lambda f: {"source": "judge", "fraction": f}, st.floats(0.01, 1)),
        },
    ),
)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES,
        "seed": st.integers(0, 2**31),
        "steps": st.integers(1, 10**6),
        "scalarizer": SCALARIZERS,
        "task": st.fixed_dictionaries(
            {"name": st.just("file"), "path": st.text("abc /.\\é", min_size=1)},
            optional={"columns": st.dictionaries(SAFE_TEXT, SAFE_TEXT, max_size=2)},
        ),
        "policy": st.fixed_dictionaries(
            {"system_prompt": st.none() | SAFE_TEXT},
            optional={"lora": st.just({}) | st.builds(lambda r: {"r": r}, st.integers(1, 64))},
        ),
        "objectives": st.lists(NAMES, max_size=3, unique=True).map(
            lambda names: ["format", *(n for n in names if n != "format")]
        ),
        "offline": st.builds(
            lambda method, tau: {
                "method": method,
                "source": {"runs": ["a run"]},
                "rpo": {"tau": tau},
            },
            st.sampled_from(["rpo", "dro"]),
            POSITIVE,
        ),
        "grpo": st.fixed_dictionaries(
            {}, optional={"learning_rate": POSITIVE, "extra": st.dictionaries(SAFE_TEXT, FREE)}
        ),
    },
).map(validate)


@settings(max_examples=30, deadline=None)
@given(CONFIGS)
def test_yaml_gives_the_same_configuration_back(config):
    assert parse_text(dump(config)) == config
    assert parse_text(dump(config, comments=False)) == config
    assert validate(to_dict(config)) == config


@settings(max_examples=40, deadline=None)
@given(CONFIGS, CONFIGS)
def test_overrides_lead_from_any_configuration_to_any_other(start, goal):
    assert load(start, as_sets(goal, start)) == goal


@settings(max_examples=30, deadline=None)
@given(CONFIGS)
def test_the_command_line_starts_the_same_configuration(config):
    words = shlex.split(command_line(config))
    assert words[:4] == ["python", "-m", "workbench", "run"]
    sets = [value for flag, value in zip(words, words[1:], strict=False) if flag == "--set"]
    assert not any("\n" in word for word in words)
    if "--name" in words:
        sets.append("name=" + words[words.index("--name") + 1])
    assert load(words[4], sets) == config


@settings(max_examples=200, deadline=None)
@given(SAFE_TEXT | st.text("ab:{}[]- \n\"'&*!|>%#5e.,?"))
def test_arbitrary_text_is_a_configuration_or_one_clear_line(text):
    try:
        parse_text(text)
    except ConfigError as error:
        assert str(error) and "\n" not in str(error)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([f.path for f in describe_fields()] + ["", ".", "a.b", "grpo."]), FREE)
def test_arbitrary_values_under_any_key_are_a_configuration_or_one_clear_line(path, value):
    data: dict = {}
    target = data
    *sections, key = path.replace("[]", "").split(".")
    for section in sections:
        target = target.setdefault(section, {})
    target[key] = value
    try:
        validate(data)
    except ConfigError as error:
        assert str(error) and "\n" not in str(error)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_their_own_shortest_command(preset):
    config = load(preset)
    assert command_line(config) == f"python -m workbench run {preset}"
    assert diff(config, parse_text(dump(config))) == []


def test_diff_names_each_changed_key_once():
    first = load("quick")
    second = load("quick", ["steps=7", "scalarizer.emphasis=1", "policy.lora.r=4"])
    changed = {path: (a, b) for path, a, b in diff(first, second)}
    assert changed["steps"] == (50, 7)
    assert changed["scalarizer.emphasis"] == (0.5, 1.0)
    assert changed["policy.lora.r"] == (None, 4)
    assert "seed" not in changed


def test_every_key_is_documented_in_yaml_and_help():
    text, help_text = dump(load("quick")), keys_help()
    for field in describe_fields():
        assert field.help, f"{field.path} has no docstring"
        assert field.path in help_text
    assert "# Policy updates. A resumed run continues the same plan.\nsteps: 50" in text
