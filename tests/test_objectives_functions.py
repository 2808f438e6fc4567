import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from workbench.config import ObjectiveConfig
from workbench.objectives import NEEDS, OBJECTIVES, resolve
from workbench.objectives.entropy import entropy
from workbench.objectives.format import format, text_of
from workbench.objectives.length import length
from workbench.objectives.perplexity import perplexity
from workbench.tasks.etudes import load


@dataclass
class FakeScores:
    token_logps: list
    token_entropies: list
    truncated: np.ndarray
    max_completion_length: int = 10
    answer_logps: list | None = None
    reference_token_logps: list | None = None


def scores(**changes):
    values = {
        "token_logps": [np.log([0.5, 0.5])],
        "token_entropies": [np.array([0.0])],
        "truncated": np.array([False]),
    }
    return FakeScores(**values | changes)


def call(function, scored, completions=("a b c .",), ids=((1, 2),), **columns):
    return function(
        ["p"] * len(completions), list(completions), list(ids), scores=scored, **columns
    )


def test_the_papers_five_objectives_declare_their_range_and_what_they_need():
    assert list(OBJECTIVES) == ["perplexity", "format", "entropy", "length", "preference"]
    for name, objective in OBJECTIVES.items():
        assert objective.name == name and objective.description
        assert (objective.lower, objective.upper) == (0.0, 1.0)
        assert objective.needs <= NEEDS
    assert OBJECTIVES["perplexity"].needs == {"answer"}
    assert OBJECTIVES["entropy"].needs == {"entropy"}


def test_perplexity_is_the_geometric_mean_probability_of_the_answer():
    # sqrt(0.9 * 0.4) = 0.6
    found = call(perplexity, scores(answer_logps=[np.log([0.9, 0.4])]))
    assert found == [pytest.approx(0.6)]


def test_perplexity_without_an_answer_is_that_of_the_response_itself():
    own = [np.log([0.5, 0.5])]
    assert call(perplexity, scores(token_logps=own)) == [pytest.approx(0.5)]
    frozen = scores(token_logps=own, reference_token_logps=[np.log([0.2, 0.2])])
    assert call(perplexity, frozen) == [pytest.approx(0.2)]
    mixed = scores(
        token_logps=own * 2, answer_logps=[None, np.log([0.3])], truncated=np.array([False] * 2)
    )
    found = call(perplexity, mixed, ["x", "y"], [[1], [1]])
    assert found == [pytest.approx(0.5), pytest.approx(0.3)]


def test_perplexity_does_not_apply_to_an_empty_response_without_answer():
    assert call(perplexity, scores(token_logps=[np.array([])])) == [None]


def test_entropy_counts_effective_choices():
    # one choice: 0; two equal choices, H = log 2: 1 - 1/2; mean of log 1 and log 4 is log 2
    rows = [[0.0, 0.0], [math.log(2)], [0.0, math.log(4)], []]
    found = call(entropy, scores(token_entropies=[np.array(r) for r in rows]), ["x"] * 4, [[1]] * 4)
    assert found[:3] == [pytest.approx(0.0), pytest.approx(0.5), pytest.approx(0.5)]
    assert found[3] is None


def test_length_falls_with_tokens_and_is_zero_at_the_limit():
    found = call(length, scores(), ["x"] * 4, [[], [1] * 4, [1] * 10, [1] * 12])
    assert found == [1.0, pytest.approx(0.6), 0.0, 0.0]


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        (None, "anything", 1.0),
        ("", "", 0.0),
        ("sentence", "the lemon is yellow .", 1.0),
        ("sentence", "yellow .", 0.7),
        ("sentence", "yellow", 0.0),
        ("steps", "a is in b , b is in c , so a is in c .", 1.0),
        ("steps", "a is in c .", 0.7),
        ("steps", "so a is in c .", 0.7),
        ("story", "the hen sat . the hen ran . the hen slept .", 1.0),
        ("story", "the hen sat .", 0.5),
        ("list:3", "1 red ; 2 blue ; 3 green ;", 1.0),
        ("list:3", "1. red\n2. blue\n3. green", 1.0),
        ("list:3", "1 red ; 2 blue ;", 0.85),  # text 0.4, form 0.3, one off 0.15
        ("list:3", "1 red ; 3 blue ; 2 green ;", 0.4 + 0.3 / 3 + 0.3),  # one in its place
        ("list:3", "1 red ; 2 blue ; 3", 0.4 + 0.3 * 2 / 3 + 0.3),  # the last is no entry
        ("list:3", "red and blue and green .", 0.4),
        ("list", "1 red ; 2 blue ;", 1.0),
        ("tags:think,answer", "<think>a</think> <answer>b</answer>", 1.0),
        ("tags:think,answer", "<answer>b</answer> <think>a</think>", 0.5),
        ("tags:think,answer", "<think>a</think> b", 0.25),
        ("json", '{"a": 1}', 1.0),
        ("json:a,b", '{"a": 1}', 0.75),
        ("json", "{a", 0.0),
        ("regex:[0-9]+", "42", 1.0),
        ("regex:[0-9]+", "42 ", 1.0),
        ("regex:[0-9]+", "about 42", 0.0),
    ],
)
def test_format_of_literal_texts(form, text, value):
    assert call(format, scores(), [text], format=[form]) == [pytest.approx(value)]


def test_a_cut_off_response_keeps_half_of_its_format():
    cut = scores(truncated=np.array([True]))
    assert call(format, cut, ["the lemon is yellow ."], format=["sentence"]) == [0.5]
    assert call(format, cut, ["anything"]) == [0.5]


def test_an_unknown_form_is_refused_with_its_row():
    two = scores(truncated=np.array([False, False]))
    with pytest.raises(ValueError, match=r"row 1: format 'sonnet' unknown.*sentence"):
        call(format, two, ["a", "b"], [[1], [1]], format=["", "sonnet"])


def test_chat_completions_are_read_as_text():
    assert text_of([{"role": "assistant", "content": "a b c ."}]) == "a b c ."
    message = [{"role": "assistant", "content": "a b c ."}]
    assert call(format, scores(), [message], format=["sentence"]) == [1.0]


def test_every_etude_asks_for_a_known_form_that_its_reference_has():
    for e in load().report:
        found = call(format, scores(), [e.reference], format=[e.extra["format"]])
        # reason's reference has no working
        assert found == [pytest.approx(0.7 if e.kind == "reason" else 1.0)], e


def vowels(completions, **columns):
    """Share of vowels."""
    return [sum(c in "aeiou" for c in text) / len(text) for text in completions]


vowels.needs = {"entropy"}
number = 3


def test_an_objective_of_ones_own_is_resolved_with_its_bounds_and_needs():
    config = ObjectiveConfig(name="vowels", function=f"{__name__}:vowels", lower=0.0)
    found = resolve(config)
    assert (found.lower, found.upper, found.needs) == (0.0, None, {"entropy"})
    assert found.description == "Share of vowels."
    assert found.function(completions=["ab"], prompts=["p"]) == [0.5]


def test_bounds_of_a_builtin_can_be_overridden():
    found = resolve(ObjectiveConfig(name="length", lower=-1.0, upper=2.0))
    assert (found.lower, found.upper) == (-1.0, 2.0)
    assert call(found.function, scores()) == [pytest.approx(0.8)]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "rhyme"}, r"'rhyme' unknown.*perplexity.*package\.module:function"),
        ({"name": "x", "function": "no_such_module:f"}, "'no_such_module:f' cannot be imported"),
        ({"name": "x", "function": "math:no_such"}, "'math:no_such' cannot be imported"),
        (
            {"name": "x", "function": f"{__name__}:number"},
            "number' is not callable",
        ),
        ({"name": "length", "model": "some/model"}, "length.model: 'length' is built in"),
    ],
)
def test_what_cannot_be_resolved_is_refused_by_name(config, message):
    with pytest.raises(ValueError, match=message):
        resolve(ObjectiveConfig(**config))


def test_needs_that_do_not_exist_are_refused(monkeypatch):
    monkeypatch.setattr(vowels, "needs", {"attention"})
    config = ObjectiveConfig(name="v", function=f"{__name__}:vowels")
    with pytest.raises(ValueError, match=r"needs \['attention'\] unknown.*answer"):
        resolve(config)


def test_scores_are_all_that_the_functions_read_of_the_pass():
    plain = SimpleNamespace(
        token_logps=[[-1.0]],
        token_entropies=[[0.3]],
        truncated=[False],
        max_completion_length=4,
        answer_logps=None,
        reference_token_logps=None,
    )
    for function in (perplexity, format, entropy, length):
        (value,) = call(function, plain)
        assert 0.0 <= value <= 1.0
