"""Objectives behind TRL's signature: values pass, everything else is named."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from workbench.objectives import Objective
from workbench.objectives.signature import RewardRows, as_reward
from workbench.train.rewards import ObjectiveReward, RewardError, all_needs, reward_matrix
from workbench.train.scoring import Scores

PROMPTS, COMPLETIONS, IDS = ["p0", "p1", "p2"], ["a", "bb", "ccc"], [[1], [1, 2], [1, 2, 3]]
SCORES = Scores(
    hidden=np.zeros((3, 2), np.float32),
    token_logps=[np.zeros(n) for n in (1, 2, 3)],
    token_entropies=[np.full(n, 0.5) for n in (1, 2, 3)],
    truncated=np.array([False, True, False]),
    max_completion_length=3,
)


def made(name, function, needs=frozenset()):  # type: ignore[no-untyped-def]
    return ObjectiveReward(Objective(name, function, None, None, frozenset(needs), ""))


def test_values_pass_and_none_becomes_nan() -> None:
    def lengths(prompts, completions, completion_ids, scores, kind, **kwargs):
        assert list(scores.truncated) == [False, True, False]
        return [None, len(completions[1]) * len(kind[1]), np.float32(len(completions[2]))]

    reward = made("lengths", lengths)
    values = reward(PROMPTS, COMPLETIONS, IDS, kind=["x", "yy", "z"], scores=SCORES)
    assert math.isnan(values[0]) and values[1:] == [4.0, 3.0]


def test_a_function_without_kwargs_gets_only_what_it_names() -> None:
    reward = made("bare", lambda prompts, completions, completion_ids: [1, 2, 3])
    assert reward(PROMPTS, COMPLETIONS, IDS, kind=["x", "y", "z"]) == [1.0, 2.0, 3.0]


def test_an_async_objective_is_awaited() -> None:
    async def remote(prompts, completions, completion_ids, **kwargs):
        return [0.0, 0.5, 1.0]

    assert made("remote", remote)(PROMPTS, COMPLETIONS, IDS) == [0.0, 0.5, 1.0]


def test_an_objective_that_raises_names_itself_the_row_and_its_texts() -> None:
    def divides(prompts, completions, completion_ids, scores, kind, **kwargs):
        return [
            1 / (len(c) - 2) + entropies.mean() + len(k)
            for c, entropies, k in zip(completions, scores.token_entropies, kind, strict=True)
        ]

    reward = made("divides", divides)
    with pytest.raises(RewardError) as caught:
        reward(PROMPTS, COMPLETIONS, IDS, kind=["x", "y", "z"], scores=SCORES)
    text = str(caught.value)
    assert "'divides' raised ZeroDivisionError" in text
    assert "row: 1 of 3" in text and "'p1'" in text and "'bb'" in text
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_failure_of_the_batch_alone_is_told_apart() -> None:
    def whole(prompts, completions, completion_ids, **kwargs):
        if len(prompts) > 1:
            raise KeyError("batch")
        return [0.0]

    with pytest.raises(RewardError, match="on no single one"):
        made("whole", whole)(PROMPTS, COMPLETIONS, IDS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], "returned 2 values for 3 completions"),
        (4.0, "returned a float for 3 completions"),
        ([1.0, math.inf, 2.0], "returned inf.*\n  row: 1"),
        ([1.0, 2.0, "high"], "returned 'high'.*\n  row: 2"),
    ],
)
def test_wrong_length_and_non_finite_values_are_refused(values: object, message: str) -> None:
    reward = made("bad", lambda **kwargs: values)
    with pytest.raises(RewardError, match=f"'bad' {message}"):
        reward(PROMPTS, COMPLETIONS, IDS)


def test_matrix_has_one_column_per_objective_in_float32_steps() -> None:
    rewards = [
        made("third", lambda **kwargs: [1 / 3] * 3, frozenset({"entropy"})),
        made("absent", lambda **kwargs: [None] * 3, frozenset({"answer"})),
    ]
    matrix = reward_matrix(rewards, RewardRows(PROMPTS, COMPLETIONS, IDS, {}, {"scores": SCORES}))
    assert matrix.shape == (3, 2) and matrix.dtype == np.float64
    assert matrix[0, 0] == np.float32(1 / 3) and np.isnan(matrix[:, 1]).all()
    assert all_needs(rewards) == {"entropy", "answer"}


def test_a_function_may_leave_out_what_it_does_not_read() -> None:
    assert made("texts", lambda completions: [len(c) for c in completions])(
        PROMPTS, COMPLETIONS, IDS
    ) == [1.0, 2.0, 3.0]


def test_the_old_form_of_a_judge_is_called_row_by_row_and_said_to_be_old() -> None:
    def judge(example, text):  # type: ignore[no-untyped-def]
        return len(text) + len(example.reference) + example.extra["level"] + (example.kind == "k")

    with pytest.warns(DeprecationWarning, match="task.judge: judge.example, text. is the old form"):
        function = as_reward(judge, "task.judge")
    found = function(
        prompts=["p", "q"],
        completions=["a", [{"role": "assistant", "content": "bb"}]],
        completion_ids=[[1], [2]],
        reference=["r", "rr"],
        kind=["k", "l"],
        prompt_id=["0", "1"],
        level=[10, 20],
        trainer_state=None,
    )
    assert found == [1 + 1 + 10 + 1, 2 + 2 + 20]


def test_another_signature_is_refused_before_anything_is_called() -> None:
    def f(a, b, c):  # type: ignore[no-untyped-def]
        raise AssertionError("called")

    with pytest.raises(ValueError, match="anchor: f.a, b, c. has another signature; allowed is f"):
        as_reward(f, "anchor")
    with pytest.raises(ValueError, match="anchor: 3 is not callable"):
        as_reward(3, "anchor")  # type: ignore[arg-type]


def test_log_metric_and_trainer_state_are_keywords_like_any_other() -> None:
    measured: dict[str, float] = {}

    def follows(completions, trainer_state, log_metric, **columns):  # type: ignore[no-untyped-def]
        log_metric("seen", len(completions))
        return [trainer_state] * len(completions)

    rows = RewardRows(
        PROMPTS, COMPLETIONS, IDS, {}, {"trainer_state": 7, "log_metric": measured.__setitem__}
    )
    assert made("follows", follows).of(rows) == [7.0] * 3 and measured == {"seen": 3}


def test_a_tensor_is_as_good_as_a_list() -> None:
    tensor = made("tensor", lambda completions: torch.tensor([0.5, 1.0, 2.0]))
    assert tensor(PROMPTS, COMPLETIONS, IDS) == [0.5, 1.0, 2.0]
    with pytest.raises(RewardError, match="returned 3 values|returned a"):
        made("text", lambda completions: "abc")(PROMPTS, COMPLETIONS, IDS)
