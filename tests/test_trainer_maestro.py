"""MaestroTrainer on a tiny model: what is logged is what trained, and nothing leaks."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import EXAMPLES, OBJECTIVES, Recorder, tiny_trainer

from workbench.core.advantages import aggregate
from workbench.objectives import Objective
from workbench.train.rewards import ObjectiveReward, RewardError
from workbench.types import RolloutBatch

CONDUCTOR = {"name": "conductor", "update_every": 2, "learning_rate": 0.05}
ANCHORED = {
    "name": "conductor",
    "meta_reward": "anchor",
    "anchor": {"source": "judge", "fraction": 0.25},
}


def trained(tmp_path: Path, **changes: Any) -> tuple[Any, Recorder]:
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, recorder, **changes)
    trainer.train()
    return trainer, recorder


def recomputed(batch: RolloutBatch, config: Any) -> np.ndarray:
    weighted = batch.rewards if batch.scaled is None else batch.scaled
    penalty = None
    if config.grpo.kl_in_reward:  # k1: log pi - log pi_ref of the whole completion
        penalty = config.grpo.beta * (batch.behaviour_logp - batch.reference_logp)
    return aggregate(
        weighted,
        batch.weights,
        batch.num_generations,
        config.aggregation,
        config.grpo.scale_rewards,
        penalty,
        batch.mask,
    )[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"scalarizer": CONDUCTOR},
        {"scalarizer": CONDUCTOR, "reward_scaling": "rank", "center_objectives": True},
        {"scalarizer": {"name": "random"}, "aggregation": "normalize_then_sum"},
        {"scalarizer": {"name": "gd2po"}, "reward_scaling": "running"},
        {
            "scalarizer": {"name": "saw"},
            "grpo": {"beta": 0.1, "kl_in_reward": True, "reference_sync_every": 2},
        },
    ],
    ids=["conductor", "ranks", "gdpo", "masked", "kl"],
)
def test_rows_add_up(tmp_path: Path, changes: dict[str, Any]) -> None:
    trainer, recorder = trained(tmp_path, steps=3, **changes)
    assert [b.step for b in recorder.batches] == [0, 1, 2]
    for batch in recorder.batches:
        assert batch.rewards.shape == (16, 2) and np.isnan(batch.rewards).sum() < 16
        np.testing.assert_allclose(batch.weights.sum(axis=1), 1.0, atol=1e-12)
        np.testing.assert_allclose(batch.advantages, recomputed(batch, trainer.config), atol=1e-9)
        kinds = {e.prompt_id: e.kind for e in EXAMPLES}
        for group in range(4):
            ids = {batch.prompt_ids[i] for i in range(4 * group, 4 * group + 4)}
            assert len(ids) == 1
        assert [kinds[i] for i in batch.prompt_ids] == list(batch.kinds)
    logged = [n for _, split, n in recorder.numbers if split == "train" and "reward" in n]
    for batch, numbers in zip(recorder.batches, logged, strict=True):
        assert numbers["reward"] == pytest.approx(np.nanmean(batch.scalars))
        assert numbers["audit_error"] <= 1e-9
        assert numbers["weights_entropy"] <= 1.0


def test_advantages_that_train_are_those_that_are_logged(tmp_path: Path) -> None:
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, recorder, scalarizer=CONDUCTOR, steps=1)
    used: list[torch.Tensor] = []
    compute = trainer._compute_loss

    def spy(model: Any, inputs: dict[str, Any]) -> Any:
        used.append(inputs["advantages"])
        return compute(model, inputs)

    trainer._compute_loss = spy  # type: ignore[method-assign]
    trainer.train()
    # TRL shuffles a batch after it was weighed
    np.testing.assert_array_equal(
        np.sort(used[0].numpy()), np.sort(recorder.batches[0].advantages.astype(np.float32))
    )


def test_a_conductor_update_leaves_the_policy_alone_and_the_reverse(tmp_path: Path) -> None:
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, recorder, scalarizer=CONDUCTOR, steps=2)
    conductor = trainer.weighing.scalarizer.conductor  # type: ignore[attr-defined]
    learn = trainer._learn

    def during_learning(*args: Any) -> Any:
        policy = copy.deepcopy(trainer.model.state_dict())
        gradients = [p.grad for p in trainer.model.parameters()]
        result = learn(*args)
        assert all(torch.equal(policy[k], v) for k, v in trainer.model.state_dict().items())
        assert [p.grad for p in trainer.model.parameters()] == gradients
        return result

    heads: list[dict[str, torch.Tensor]] = []
    compute = trainer._compute_loss

    def during_loss(model: Any, inputs: Any) -> Any:
        heads.append(copy.deepcopy(conductor.state_dict()))
        loss = compute(model, inputs)
        loss.backward(retain_graph=True)
        assert all(torch.equal(heads[-1][k], v) for k, v in conductor.state_dict().items())
        trainer.model.zero_grad()
        return loss

    trainer._learn = during_learning  # type: ignore[method-assign]
    trainer._compute_loss = during_loss  # type: ignore[method-assign]
    policy_before = copy.deepcopy(trainer.model.state_dict())
    trainer.train()
    assert [s for s, _ in recorder.updates] == [1]  # every second step
    assert not torch.equal(heads[0]["weight"], conductor.weight)
    assert any(not torch.equal(policy_before[k], v) for k, v in trainer.model.state_dict().items())


def test_a_reward_that_raises_names_itself_and_keeps_what_was_published(tmp_path: Path) -> None:
    calls = []

    def breaks(prompts: Any, completions: Any, completion_ids: Any, **columns: Any) -> list[float]:
        calls.append(len(prompts))
        if len(calls) > 1:
            return [1 / (0 if "w" in c else 1) for c in completions]
        return [0.0] * len(prompts)

    rewards = [
        ObjectiveReward(OBJECTIVES["short"]),
        ObjectiveReward(Objective("low_words", breaks, 0.0, 1.0, frozenset(), "")),
    ]
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, recorder, rewards, steps=3)
    with pytest.raises(RewardError, match=r"'low_words' raised ZeroDivisionError.*\n  row: 0 of"):
        trainer.train()
    assert [b.step for b in recorder.batches] == [0]


def test_only_requested_groups_are_judged(tmp_path: Path) -> None:
    asked: list[str] = []
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, recorder, scalarizer=ANCHORED, steps=4)
    anchor = trainer.anchors.source
    assert anchor is not None

    def counted(rows: Any, rewards: Any) -> Any:
        asked.extend(rows.columns["prompt_id"])
        return anchor(rows, rewards)

    trainer.anchors = replace(trainer.anchors, source=counted)
    trainer.train()
    # a quarter of 4 groups a step is one group of 4 completions, each of one prompt
    assert len(asked) == 16 == trainer.counters.anchor_calls
    assert all(len(set(asked[i : i + 4])) == 1 for i in range(0, 16, 4))
    for batch in recorder.batches:
        judged = ~np.isnan(batch.judge).reshape(4, 4)
        assert judged.all(axis=1).sum() == 1 and judged.sum() == 4
    assert recorder.updates[-1][1]["anchor_spent"] == 16


def test_the_objectives_get_the_examples_columns_and_their_scores(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def looks(prompts: Any, completions: Any, completion_ids: Any, **columns: Any) -> list[float]:
        seen.append({"prompts": prompts, "ids": completion_ids, **columns})
        return [0.0] * len(prompts)

    needs = frozenset({"answer", "reference", "entropy"})
    rewards = [
        ObjectiveReward(Objective("short", looks, 0.0, 1.0, needs, "")),
        ObjectiveReward(OBJECTIVES["low_words"]),
    ]
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, recorder, rewards, steps=1)
    trainer.train()
    row, batch = seen[0], recorder.batches[0]
    references = {e.prompt_id: e.reference for e in EXAMPLES}
    assert row["reference"] == [references[i] for i in row["prompt_id"]]
    assert row["prompt_id"] == batch.prompt_ids and row["kind"] == batch.kinds
    scores = row["scores"]
    for i, answer in enumerate(row["reference"]):
        assert len(scores.token_logps[i]) == len(row["ids"][i]) == batch.num_tokens[i]
        assert (scores.answer_logps[i] is None) == (answer is None)
    # before the first update the reference is the policy itself
    np.testing.assert_allclose(batch.reference_logp, batch.behaviour_logp, atol=1e-4)
    np.testing.assert_allclose(batch.kl, 0.0, atol=1e-6)


def test_beta_in_the_loss_logs_trls_own_reference(tmp_path: Path) -> None:
    _, recorder = trained(tmp_path, steps=3, grpo={"beta": 0.05, "learning_rate": 0.05})
    first, last = recorder.batches[0], recorder.batches[-1]
    np.testing.assert_allclose(first.reference_logp, first.behaviour_logp, atol=1e-4)
    assert last.kl is not None and last.kl.mean() > 1e-4


def test_contexts_stop_at_their_budget(tmp_path: Path) -> None:
    # 16 rows x 16 hidden units x 2 bytes = 512 bytes a step
    logging = {"checkpoint_every": 0, "contexts_mb": 0.0011, "token_entropies": False}
    _, recorder = trained(tmp_path, steps=3, logging=logging)
    assert [b.contexts is None for b in recorder.batches] == [False, False, True]
    assert recorder.batches[0].contexts.dtype == np.float16
    assert recorder.batches[0].token_entropies is None
