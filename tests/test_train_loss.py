"""What enters the loss is what the store says, and every option acts or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_trainer_checkpoint import monitor_of
from tiny_runs import EXAMPLES, Recorder, tiny_config, tiny_trainer

from workbench.core.scalarizers import ScalarizerInput, build_scalarizer
from workbench.objectives import Objective
from workbench.train import build, maestro, scored_rollouts
from workbench.train.rewards import ObjectiveReward
from workbench.train.weighting import generations

CONDUCTOR = {"name": "conductor", "update_every": 1}


def trained(tmp_path: Path, **changes: Any) -> tuple[Any, Recorder]:
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, recorder, **changes)
    trainer.train()
    return trainer, recorder


def test_rows_that_enter_no_loss_are_said_to_carry_no_signal(tmp_path: Path) -> None:
    grpo = {"extra": {"mask_truncated_completions": True}, "beta": 0.1}
    _, recorder = trained(tmp_path, grpo=grpo, scalarizer=CONDUCTOR)
    cut = np.concatenate([b.truncated for b in recorder.batches])
    assert cut.any() and not cut.all()
    for batch in recorder.batches:
        mask = np.ones(16) if batch.mask is None else batch.mask
        np.testing.assert_array_equal(mask == 0.0, batch.truncated)
        assert not batch.advantages[batch.truncated].any()
        # TRL's pass under the reference did not read them either: unknown, not 0
        np.testing.assert_array_equal(np.isnan(batch.reference_logp), batch.truncated)
        expected = np.where(batch.truncated, 0, batch.num_tokens)
        np.testing.assert_array_equal(batch.loss_tokens, expected)
    audits = [n["audit_error"] for _, split, n in recorder.numbers if "audit_error" in n]
    assert max(audits) < 1e-9


def test_an_advantage_that_was_not_logged_is_noticed_where_it_enters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = maestro.MaestroTrainer._compute_loss

    def tampered(self: Any, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        inputs["advantages"] = inputs["advantages"] + 0.25
        return compute(self, model, inputs)

    monkeypatch.setattr(maestro.MaestroTrainer, "_compute_loss", tampered)
    trainer, recorder = trained(tmp_path, steps=1)
    assert trainer.diagnostics["audit_error"] == pytest.approx(0.25, abs=1e-6)
    assert any(n.get("audit_error", 0.0) > 0.2 for _, _, n in recorder.numbers)


def test_an_entropy_bonus_trains_in_a_shared_pass(tmp_path: Path) -> None:
    found = []
    for extra in ({}, {"entropy_coef": 0.5}):
        trainer, _ = trained(tmp_path, steps=2, grpo={"extra": extra})
        assert trainer.shares_pass
        found.append(torch.cat([p.detach().flatten() for p in trainer.policy.parameters()]))
    assert float((found[0] - found[1]).abs().max()) > 1e-4


def test_the_reward_of_gdpo_is_the_weighted_reward(tmp_path: Path) -> None:
    _, recorder = trained(tmp_path, aggregation="normalize_then_sum")
    logged = [n["reward"] for _, split, n in recorder.numbers if "reward" in n]
    for batch, value in zip(recorder.batches, logged, strict=True):
        sums = np.nansum(batch.rewards * batch.weights, axis=1)
        np.testing.assert_allclose(batch.scalars, sums, atol=1e-9)
        assert value == pytest.approx(sums.mean(), abs=1e-6) and abs(value) > 1e-3


def test_reward_functions_get_trls_keywords_in_probes_too(tmp_path: Path) -> None:
    def follows(completions, trainer_state, log_metric, log_extra, **columns):  # type: ignore[no-untyped-def]
        log_metric("followed", trainer_state.global_step / trainer_state.max_steps)
        log_extra("shown", [len(text) for text in completions])
        return [float(len(text)) for text in completions]

    reward = ObjectiveReward(Objective("short", follows, None, None, frozenset(), ""))
    other = ObjectiveReward(Objective("low_words", follows, None, None, frozenset(), ""))
    recorder = Recorder()
    probe = {"every": 1, "num_generations": 2}
    trainer = tiny_trainer(tmp_path, recorder, [reward, other], steps=2, probe=probe)
    trainer.add_callback(monitor_of(trainer, EXAMPLES[:1], None))
    trainer.train()
    probes = {step: n["followed"] for step, split, n in recorder.numbers if split == "probe"}
    assert probes == {0: 0.0, 1: 0.5, 2: 1.0}
    train = [n["followed"] for _, split, n in recorder.numbers if "followed" in n and "loss" in n]
    assert train == [0.0, 0.5]


def test_a_graph_that_would_not_fit_is_left_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = trained(tmp_path, steps=2)
    monkeypatch.setattr(scored_rollouts, "GRAPH_SHARE", 1e-12)
    apart, recorder = trained(tmp_path, steps=2)
    assert apart.too_large and not apart.shares_pass
    assert [code for _, code, *_ in recorder.warnings] == ["shared_pass"]
    shared = [n["shared_pass"] for _, _, n in recorder.numbers if "shared_pass" in n]
    assert shared == [0.0, 0.0]
    one, two = (
        torch.cat([p.detach().flatten() for p in t.policy.parameters()]) for t in (whole, apart)
    )
    assert float((one - two).abs().mean()) < 2e-5


def test_warm_up_acts_under_the_constant_schedule(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, grpo={"warmup_steps": 3})
    assert build.grpo_config(config, tmp_path).lr_scheduler_type == "constant_with_warmup"
    _, recorder = trained(tmp_path, steps=2, grpo={"warmup_steps": 4})
    rates = [n["learning_rate"] for _, _, n in recorder.numbers if "learning_rate" in n]
    assert rates == pytest.approx([0.0, 0.01 / 4])


def test_clocks_count_policy_steps_and_budgets_sampled_groups(tmp_path: Path) -> None:
    # 6 updates, 3 on each generation: 2 generations of 4 groups are sampled in all
    config = tiny_config(tmp_path, steps=6, grpo={"num_iterations": 3})
    assert generations(config) == 2
    settings = tiny_config(tmp_path, scalarizer={"name": "conductor", "update_every": 3}).scalarizer
    conductor = build_scalarizer(settings, ("a", "b"), 4)
    rng = np.random.default_rng(0)
    updates = []
    for policy_steps in (1, 1, 1, 3):
        rewards = rng.random((8, 2))
        scene = ScalarizerInput(
            rewards=rewards,
            raw=rewards,
            lower=np.zeros(2),
            upper=np.ones(2),
            kinds=["k"] * 8,
            num_generations=4,
            step=0,
            hidden=rng.random((8, 4)),
            policy_steps=policy_steps,
        )
        choice = conductor.choose(scene, rng)
        updates.append(conductor.learn(scene, choice, rng.random(8), {}) is not None)
    assert updates == [False, False, True, True]
