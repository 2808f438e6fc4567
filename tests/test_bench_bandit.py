"""The bandit tier: planted worlds, the gradient in closed form, and what must come out of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.bench import bandit, bandit_sensitivity, sensitivity
from workbench.bench.problems import TRAPS, plant


@pytest.mark.parametrize("conflict", [-0.8, 0.0, 0.8])
def test_the_dial_sets_the_correlation_inside_pairs_alone(conflict: float) -> None:
    worlds = [plant(conflict, seed=s) for s in range(4)]
    rewards = np.concatenate([w.rewards.reshape(-1, 4) for w in worlds])
    found = np.corrcoef(rewards.T)
    # about 4,000 independent rows: three standard errors are 0.05
    assert found[0, 1] == pytest.approx(conflict, abs=0.05)
    assert found[2, 3] == pytest.approx(conflict, abs=0.05)
    assert np.abs(found[:2, 2:]).max() < 0.06
    assert worlds[0].utilities.sum(axis=1) == pytest.approx(np.ones(7))


def test_traps_are_what_they_say_and_nobody_wants_them() -> None:
    clean = plant()
    for trap in TRAPS:
        world = plant(trap=trap)
        assert np.array_equal(world.rewards[..., :4], clean.rewards)
        assert (world.utilities[:, -1] == 0).all()
        last = world.rewards[..., -1]
        low, mean, spread = {
            "constant": (0.5, 0.5, 0.0),
            "saturated": (0.98, 0.99, 0.002),
            "biased_high": (0.6, 0.9, 0.05),
            "noise": (0.5, 0.5, 0.0),
        }[trap]
        assert last.min() >= low
        assert last.mean() == pytest.approx(mean, abs=0.005)
        assert last.std() == pytest.approx(spread, abs=0.005)
    rng = np.random.default_rng(0)
    rows = np.zeros(1000, dtype=np.int64)
    assert plant(trap="noise").observe(rows, rows, rng)[:, -1].std() == pytest.approx(
        0.29, abs=0.02
    )
    with pytest.raises(ValueError, match="trap: 'door' unknown"):
        plant(trap="door")
    with pytest.raises(ValueError, match="conflict: 2"):
        plant(2)


def test_groups_hold_each_arm_in_its_share() -> None:
    learner = bandit.Learner(plant())
    learner.logits[:] = np.random.default_rng(0).normal(size=learner.logits.shape)
    prompts = np.arange(10)
    arms = learner.draw(prompts, np.random.default_rng(1))
    expected = bandit.GROUP * learner.probabilities(prompts)
    counts = np.stack([np.bincount(row, minlength=expected.shape[1]) for row in arms])
    assert np.abs(counts - expected).max() < 1  # systematic sampling
    assert (counts.sum(axis=1) == bandit.GROUP).all()


def test_the_step_is_the_gradient_of_the_policys_log_likelihood() -> None:
    learner = bandit.Learner(plant())
    rng = np.random.default_rng(2)
    learner.logits[:] = rng.normal(size=learner.logits.shape)
    prompts = np.array([3, 17])
    arms = learner.draw(prompts, rng)
    advantages = rng.normal(size=arms.size)
    theta = torch.tensor(learner.logits[prompts], requires_grad=True)
    chosen = theta.log_softmax(dim=1).gather(1, torch.from_numpy(arms))
    (chosen * torch.from_numpy(advantages).reshape(arms.shape)).mean(dim=1).sum().backward()
    before = learner.logits[prompts].copy()
    learner.ascend(prompts, arms, advantages)
    assert theta.grad is not None
    moved = (learner.logits[prompts] - before) / bandit.RATE
    assert moved == pytest.approx(theta.grad.numpy(), abs=1e-12)


def test_value_is_the_exact_expectation() -> None:
    world = plant()
    # uniform policy: the plain mean of the utilities
    assert bandit.Learner(world).value() == pytest.approx(world.utility.mean(), abs=1e-12)


def test_a_constant_objective_changes_nothing_under_group_normalisation() -> None:
    # equal weights over five instead of four scale R by 4/5 and shift it: the same advantages
    equal = bandit.PLAYERS["equal"]
    clean, trapped = (bandit.play(equal, plant(trap=t), 0, 60) for t in (None, "constant"))
    assert trapped["utility"] == pytest.approx(clean["utility"], abs=2e-3)


def test_true_weights_beat_equal_ones_and_an_anchor_finds_them() -> None:
    world = plant(seed=1)
    runs = {
        "oracle": bandit.play(bandit.oracle(world), world, 1, 100),
        **{k: bandit.play(bandit.PLAYERS[k], world, 1, 100) for k in ("equal", "anchored")},
    }
    oracle, equal, anchored = (runs[k] for k in ("oracle", "equal", "anchored"))
    assert oracle["weight_error"] == pytest.approx(0, abs=1e-12)
    # an equal weighting errs by the mean total variation of w* from 1/4
    assert equal["weight_error"] == pytest.approx(
        0.5 * np.abs(world.utilities - 0.25).sum(axis=1).mean()
    )
    assert anchored["weight_error"] < 0.6 * equal["weight_error"]
    gap = oracle["utility"] - equal["utility"]
    assert gap > 0.02
    assert anchored["utility"] - equal["utility"] > 0.8 * gap
    # 14 groups a step, one in eight judged: floor(100 * 14 / 8) groups of 16
    assert anchored["judged"] == 175 * 16
    assert equal["judged"] == 0


def test_a_shared_policys_step_is_the_gradient_through_its_parameters() -> None:
    """Against finite differences of sum_p (1/G) sum_i A_i log pi(a_i | p) in every parameter."""
    world = plant(seed=4, shared=True)
    learner = bandit.SharedLearner(world)
    draw = np.random.default_rng(5)
    learner.matrix = 0.3 * draw.normal(size=learner.matrix.shape)
    learner.follow()
    prompts = np.array([0, 9, 23])
    arms, advantages = draw.integers(0, 24, (3, 4)), draw.normal(size=12)

    def value() -> float:
        chosen = np.log(learner.probabilities(prompts))[np.arange(3)[:, None], arms]
        return float((advantages.reshape(3, 4) * chosen).sum() / 4)

    before = learner.matrix.copy()
    slopes = np.zeros_like(before)
    for place in np.ndindex(before.shape):
        ends = []
        for shift in (1e-5, -1e-5):
            learner.matrix = before.copy()
            learner.matrix[place] += shift
            learner.follow()
            ends.append(value())
        slopes[place] = (ends[0] - ends[1]) / 2e-5
    learner.matrix = before.copy()
    learner.follow()
    learner.ascend(prompts, arms, advantages)
    np.testing.assert_allclose(learner.matrix - before, bandit.RATE * slopes, atol=1e-8)


def test_where_prompts_share_the_policy_few_judged_groups_reach_all() -> None:
    """A table learns nothing from groups that are not judged; shared parameters do."""
    worse, better = (
        bandit.play(bandit.PLAYERS["judge-only"], plant(seed=1, shared=shared), 1, 100)
        for shared in (False, True)
    )
    equal = [
        bandit.play(bandit.PLAYERS["equal"], plant(seed=1, shared=shared), 1, 100)
        for shared in (False, True)
    ]
    assert worse["utility"] < equal[0]["utility"]
    assert better["utility"] > equal[1]["utility"]


def test_the_kernel_head_finds_the_true_weights_and_leaves_equal_ones_under_shuffling() -> None:
    world, steps = plant(seed=1), 100
    best = bandit.play(bandit.oracle(world), world, 1, steps)["utility"]
    equal, kernel, shuffled = (
        bandit.play(bandit.PLAYERS[name], world, 1, steps)["utility"]
        for name in ("equal", "kernel", "kernel-shuffled")
    )
    assert kernel - equal > 0.8 * (best - equal) > 0
    assert shuffled == pytest.approx(equal, abs=0.03)


def test_judging_everything_is_the_oracle_up_to_epsilon() -> None:
    world = plant(seed=2)
    everywhere = bandit.play(bandit.PLAYERS["judge-everywhere"], world, 2, 60)
    best = bandit.play(bandit.oracle(world), world, 2, 60)
    assert everywhere["utility"] == pytest.approx(best["utility"], abs=2e-3)
    assert everywhere["judged"] == 60 * 14 * 16


def test_a_tournament_reports_every_player() -> None:
    rows = bandit.tournament("trap noise", 0, steps=3)
    assert {r["method"] for r in rows} == {*bandit.PLAYERS, "oracle"}
    by = {r["method"]: r for r in rows}
    assert by["oracle"]["regret"] == 0 and by["equal"]["recovered"] == 0
    assert np.isnan(by["gdpo"]["weight_error"])  # its weights act on z-scores


@pytest.mark.parametrize("judge", sorted(bandit.JUDGES))
def test_judges_of_the_tier_are_what_they_say(judge: str) -> None:
    world = plant(seed=3)
    prompts, arms = np.repeat(np.arange(42), 24), np.tile(np.arange(24), 42)
    true = world.utility[prompts, arms]
    first = world.rewards[prompts, arms, 0]
    early, late = (bandit.JUDGES[judge](world, share, prompts, arms) for share in (0.0, 1.0))
    expected = {
        "true": (true, true),
        "biased": (true + 0.3 * first, true + 0.3 * first),
        "drifting": (true, 2 * (true + 0.6 * first) - 1),
    }
    if judge.startswith("weak-"):
        wanted = float(judge.removeprefix("weak-")) / 100
        each = [np.corrcoef(early[prompts == p], true[prompts == p])[0, 1] for p in range(42)]
        assert np.mean(each) == pytest.approx(wanted, abs=0.1)  # three standard errors
        assert not np.array_equal(early, late)
    elif judge == "outside":
        assert np.array_equal(early, late)
        assert abs(np.corrcoef(early, true)[0, 1]) < 0.1  # three standard errors of 1,008 rows
    else:
        np.testing.assert_allclose(early, expected[judge][0])
        np.testing.assert_allclose(late, expected[judge][1])


def test_a_judge_that_says_nothing_of_the_objectives_leaves_equal_weights() -> None:
    world = plant(seed=1)
    equal = bandit.play(bandit.PLAYERS["equal"], world, 1, 100)["utility"]
    true, shuffled, outside = (
        bandit.play(bandit.PLAYERS[f"anchored{end}"], world, 1, 100)["utility"]
        for end in ("", "-shuffled", "-outside")
    )
    assert shuffled == pytest.approx(equal, abs=0.35 * (true - equal))
    # a fixed table of random scores does agree a little with the rewards of so few arms
    assert outside > equal - 0.6 * (true - equal)


def test_a_setting_measures_the_way_to_the_oracle_per_setting() -> None:
    rows = bandit_sensitivity.measure("group_size", 0.0, 0, steps=4)
    methods = {m: len(players) for m, players in bandit_sensitivity.SETTINGS["group_size"].items()}
    assert {r["method"] for r in rows} == set(methods)
    assert len(rows) == sum(methods.values())
    assert all(np.isfinite(r["recovered"]) for r in rows)
    with pytest.raises(ValueError, match="setting: 'rho' unknown"):
        bandit_sensitivity.run("rho", Path("."), [0])
    assert set(bandit_sensitivity.SETTINGS) == set(sensitivity.SETTINGS) == set(sensitivity.TITLES)
