"""The small parts: prompt order, texts, random states, numbers, groups for the anchor."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer
from tiny_runs import tiny_config

from workbench.config import TaskConfig
from workbench.objectives.signature import RewardRows
from workbench.runs.checkpoints import find
from workbench.train import build
from workbench.train.anchors import Anchors, anchor_source
from workbench.train.evaluate import summarise, table
from workbench.train.fitting import fitted
from workbench.train.reference import Reference, frozen_copy
from workbench.train.rollout import isolated_rng, spread
from workbench.train.sampler import PromptOrder
from workbench.train.step_metrics import scalar_metrics, simplex_entropy
from workbench.train.text import (
    encode_answers,
    encode_prompts,
    example_columns,
    with_system_prompt,
)
from workbench.train.weighting import Weighing
from workbench.types import Example, RolloutBatch, Task

CHAT = [{"role": "user", "content": "w5 w6"}]


def test_every_pass_over_the_prompts_is_a_permutation() -> None:
    order = PromptOrder(5, prompts_per_batch=2, num_generations=3, batches=5, uses=1, seed=0)
    rows = list(order)
    assert len(rows) == len(order) == 30
    prompts = rows[::3]
    assert rows == [p for p in prompts for _ in range(3)]
    assert sorted(prompts[:5]) == sorted(prompts[5:]) == list(range(5))
    assert prompts[:5] != prompts[5:]
    other = PromptOrder(5, 2, 3, 5, 1, seed=1)
    assert list(other) != rows and list(order) == rows


def test_a_longer_plan_begins_like_a_shorter_one_and_batches_repeat() -> None:
    long = PromptOrder(7, 2, 2, batches=9, uses=1, seed=3)
    short = PromptOrder(7, 2, 2, batches=4, uses=1, seed=3)
    assert list(islice(long, len(short))) == list(short)
    twice = list(PromptOrder(7, 2, 2, batches=2, uses=2, seed=3))
    assert twice[:4] == twice[4:8] == list(short)[:4]


def test_random_states_are_given_back() -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = (random.random(), np.random.rand(), torch.rand(1).item())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with isolated_rng(7):
        first = (random.random(), np.random.rand(), torch.rand(1).item())
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
    with isolated_rng(7):
        assert (random.random(), np.random.rand(), torch.rand(1).item()) == first


def test_kinds_take_turns() -> None:
    examples = [Example("p", str(i), kind) for i, kind in enumerate("aaabbc")]
    assert [e.prompt_id for e in spread(examples, 5)] == ["0", "3", "5", "1", "4"]
    assert spread(examples, 0) == [] and len(spread(examples, 99)) == 6


def test_texts_and_conversations_become_tokens() -> None:
    plain, chat = tiny_tokenizer(), tiny_tokenizer(chat=True)
    assert encode_prompts(plain, ["w1 w2", "w3"]) == [[4, 5], [6]]
    # <eos> is 2, "w0" opens a turn, "w1" the answer
    assert encode_prompts(chat, [CHAT]) == [[3, 8, 9, 2, 4]]
    with pytest.raises(ValueError, match="no chat template"):
        encode_prompts(plain, [CHAT])
    assert encode_answers(plain, ["w4", None, "", "w4"]) == [[7], None, None, [7]]


def test_the_system_prompt_joins_conversations_without_one() -> None:
    joined = with_system_prompt(Example(CHAT, "c"), "w7")
    assert joined == [{"role": "system", "content": "w7"}, *CHAT]
    assert with_system_prompt(Example(joined, "c"), "w8") == joined
    assert with_system_prompt(Example("w1", "t"), "w8") == "w1"


def test_columns_are_complete() -> None:
    examples = [Example("p", "1", extra={"form": "x"}), Example("p", "2", "k", "ref", {"n": 3})]
    assert example_columns(examples) == {
        "form": ["x", None],
        "n": [None, 3],
        "prompt_id": ["1", "2"],
        "kind": ["default", "k"],
        "reference": [None, "ref"],
    }


def test_entropy_of_weights_is_in_units_of_log_k() -> None:
    assert simplex_entropy(np.full((3, 4), 0.25)) == pytest.approx(1.0)
    assert simplex_entropy(np.eye(4)) == 0.0
    assert simplex_entropy(np.ones((2, 1))) == 0.0


def test_trls_reward_numbers_of_the_weighted_sum() -> None:
    scalars = np.array([1.0, 1.0, 0.0, 2.0, np.nan, 3.0])
    # groups of two: flat; std 1.41; one row only, which has no deviation
    per_group = scalar_metrics(scalars, scalars, 2, "group")
    assert per_group["reward"] == pytest.approx(7 / 5)
    assert per_group["reward_std"] == pytest.approx(np.std([1, 1, 0, 2, 3], ddof=1))
    assert per_group["frac_reward_zero_std"] == pytest.approx(2 / 3)
    assert scalar_metrics(scalars, scalars, 2, "batch")["frac_reward_zero_std"] == 0.0


def test_anchors_are_asked_for_whole_groups_only() -> None:
    asked: list[list[str]] = []

    def source(rows: Any, rewards: Any) -> np.ndarray:
        asked.append(rows.columns["prompt_id"])
        return np.array([0.0, np.nan, rewards[2, 0]])

    names = [str(i) for i in range(12)]
    rows = RewardRows(["p"] * 12, ["c"] * 12, [[1]] * 12, {"prompt_id": names})
    batch = (3, rows, np.arange(12.0)[:, None])
    anchors = Anchors(source).ask(np.array([1, 3]), *batch)
    assert asked == [["3", "4", "5"], ["9", "10", "11"]]
    np.testing.assert_array_equal(anchors[3], [0.0, np.nan, 11.0])
    assert Anchors(None).ask(np.array([], dtype=int), *batch) == {}
    with pytest.raises(ValueError, match="there is no source"):
        Anchors(None).ask(np.array([0]), *batch)
    for wrong in ([0.0, np.inf, 1.0], [0.0]):
        with pytest.raises(ValueError, match="must give 3 finite scores"):
            Anchors(lambda *_, found=wrong: np.array(found)).ask(np.array([0]), *batch)


def test_an_anchor_has_a_source_or_is_refused(tmp_path: Path) -> None:
    def config(source: str) -> Any:
        anchor = {"source": source, "fraction": 0.5}
        scalarizer = {"name": "conductor", "meta_reward": "anchor", "anchor": anchor}
        return tiny_config(tmp_path, scalarizer=scalarizer)

    rewards = np.array([[1.0, 5.0], [2.0, 6.0]])
    by_objective = anchor_source(config("objective:low_words"), None)
    assert by_objective is not None and by_objective(
        RewardRows([], [], [], {}), rewards
    ).tolist() == [5.0, 6.0]
    with pytest.raises(ValueError, match="the task has no judge"):
        anchor_source(config("judge"), None)
    with pytest.raises(ValueError, match="'tiny_runs:nobody' cannot be imported"):
        anchor_source(config("tiny_runs:nobody"), None)
    with pytest.raises(ValueError, match="in a store; none was given"):
        anchor_source(config("ratings"), None)
    assert anchor_source(tiny_config(tmp_path), None) is None


def test_a_steps_draws_depend_on_seed_and_step_alone(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, scalarizer={"name": "random"})
    bounds = [(-1.0, 0.0), (0.0, 1.0)]
    rewards = np.random.default_rng(0).random((8, 2))
    fresh, used = Weighing(config, bounds, None), Weighing(config, bounds, None)
    for step in range(5):
        used.weigh(rewards, ["k"] * 8, 4, step)
    ours = fresh.weigh(rewards, ["k"] * 8, 4, 5).choice.weights
    theirs = used.weigh(rewards, ["k"] * 8, 4, 5).choice.weights
    np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(ours, used.weigh(rewards, ["k"] * 8, 4, 6).choice.weights)


def test_observing_leaves_no_trace(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, reward_scaling="running", scalarizer={"name": "conductor"})
    weighing = Weighing(config, [(-1.0, 0.0), (0.0, 1.0)], 16)
    rng = np.random.default_rng(0)
    rewards, hidden = rng.random((8, 2)), rng.random((8, 16))
    weighing.weigh(rewards, ["k"] * 8, 4, 0, hidden)
    before = {k: v.copy() for k, v in weighing.state().items()}
    weighing.weigh(rewards + 1, ["k"] * 8, 4, 0, hidden + 1, explore=False)
    after = weighing.state()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[k], after[k]) for k in before)
    restored = Weighing(config, [(-1.0, 0.0), (0.0, 1.0)], 16)
    restored.load(after)
    again = restored.weigh(rewards, ["k"] * 8, 4, 1, hidden)
    np.testing.assert_array_equal(
        again.advantages, weighing.weigh(rewards, ["k"] * 8, 4, 1, hidden).advantages
    )


def test_a_reference_stays_until_it_is_synced() -> None:
    policy = tiny_model()
    reference = Reference(policy, frozen_copy(policy, 1.0))
    before = reference.token_logps([[5, 6]], [[7, 8, 2]])[0]
    with torch.no_grad():
        policy.lm_head.weight.mul_(2.0)
    np.testing.assert_array_equal(reference.token_logps([[5, 6]], [[7, 8, 2]])[0], before)
    reference.sync()
    assert not np.allclose(reference.token_logps([[5, 6]], [[7, 8, 2]])[0], before)
    with pytest.raises(ValueError, match="needs a frozen copy"):
        Reference(policy, None)


def test_trls_fields_pass_through_and_unknown_ones_do_not(tmp_path: Path) -> None:
    args = build.grpo_config(
        tiny_config(tmp_path, grpo={"extra": {"top_k": 5, "epsilon_high": 0.3}}), tmp_path
    )
    assert (args.top_k, args.epsilon_high, args.max_steps) == (5, 0.3, 2)
    with pytest.raises(ValueError, match=r"grpo\.extra\.topk: unknown"):
        build.grpo_config(tiny_config(tmp_path, grpo={"extra": {"topk": 5}}), tmp_path)


def test_means_of_an_evaluation_by_kind() -> None:
    batch = RolloutBatch(
        step=3,
        split="report",
        objectives=("a", "b"),
        num_generations=1,
        prompts=["p", "q"],
        prompt_ids=["1", "2"],
        kinds=["x", "y"],
        completions=["c", "d"],
        num_tokens=np.array([2, 4]),
        truncated=np.array([False, True]),
        rewards=np.array([[1.0, np.nan], [3.0, np.nan]]),
        weights=np.array([[0.5, 0.5], [1.0, 0.0]]),
        scalars=np.zeros(2),
        advantages=np.zeros(2),
        judge=np.array([0.25, np.nan]),
    )
    summary = summarise(batch)
    assert summary["all"]["reward/a"] == 2.0 and "reward/b" not in summary["all"]
    assert summary["x"]["judge"] == 0.25 and "judge" not in summary["y"]
    assert summary["all"]["weight/a"] == 0.75 and summary["all"]["truncated"] == 0.5
    lines = table(summary, {"x": {"judge": 0.125}}).splitlines()
    assert lines[1].split() == ["x", "0.125", "0.250", "0.500", "0.500"]
    assert lines[2].split()[:3] == ["y", "nan", "nan"]


def test_a_missing_checkpoint_lists_what_there_is(tmp_path: Path) -> None:
    assert find(tmp_path, "base") is None
    with pytest.raises(FileNotFoundError, match="there are: none"):
        find(tmp_path, "last")


def task_of(*texts: str) -> Task:
    examples = tuple(Example(prompt=t, prompt_id=f"p{i}") for i, t in enumerate(texts))
    return Task("file", examples, examples[:1], examples[:1])


LONG = " ".join(["w3"] * 9)


def fit(tmp_path: Path, completion: int, task: Task, **settings: Any) -> Task:
    config = tiny_config(tmp_path, grpo={"max_completion_length": completion})
    file = {"name": "file", "path": "x.jsonl", **settings}
    config = replace(config, task=TaskConfig(**file))
    return fitted(config, tiny_model(), tiny_tokenizer(), task)


def test_prompts_must_leave_room_for_a_completion(tmp_path: Path) -> None:
    # 128 positions - 122 for the completion leave 6; LONG has 9 words
    with pytest.raises(ValueError, match="122 tokens do not fit behind the 9 tokens of .*'p1'"):
        fit(tmp_path, 122, task_of("w1 w2", LONG))
    left = fit(tmp_path, 122, task_of("w1 w2", LONG), too_long="leave_out")
    assert [e.prompt for e in left.train] == ["w1 w2"]
    assert left.notes == ("1 of 4 prompts left out: longer than 6 tokens",)
    cut = fit(tmp_path, 122, task_of("w1 w2", LONG), too_long="cut")
    assert [e.prompt for e in cut.train] == ["w1 w2", " ".join(["w3"] * 6)]
    with pytest.raises(ValueError, match="leave_out leaves no prompt to train on"):
        fit(tmp_path, 122, task_of(LONG), too_long="leave_out")


def test_a_tokenizer_that_does_not_cover_the_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not cover this text: 9 of 10 tokens"):
        fit(tmp_path, 8, task_of("les sanglots longs", "w1"))
    told = fit(tmp_path, 8, task_of("w1 w2 w3 quoi", "w1"))
    assert told.notes == (
        "3 of 13 tokens of the prompts (23%) are unknown to the policy's tokenizer",
    )
