"""The Conductor: its distribution, its weights, the exact estimator, its clock, resume."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.config.scalarizers import Conductor as Config
from workbench.core.advantages import grpo_advantages
from workbench.core.conductor import Conductor, ConductorLearner
from workbench.core.emphasis import (
    conductor_probabilities,
    continuous_weights,
    discrete_weights,
    floor_probabilities,
    sample_actions,
    standardize_hidden,
    weights_from_state,
)
from workbench.core.scalarizers import ScalarizerInput, build_scalarizer

NAMES = ("a", "b", "c")


def make_scene(n=8, g=4, k=3, d=5, seed=0, step=0):
    rng = np.random.default_rng(seed)
    rewards = rng.random((n, k))
    return ScalarizerInput(
        rewards=rewards,
        raw=rewards,
        lower=np.zeros(k),
        upper=np.ones(k),
        kinds=["x"] * n,
        num_generations=g,
        step=step,
        hidden=rng.normal(1, 3, (n, d)),
    )


def learner(**config):
    return build_scalarizer(Config(**config), NAMES, hidden_size=5, num_generations=4)


def rng(seed=0):
    return np.random.default_rng(seed)


# -- distribution and weights -------------------------------------------------------------------


def test_distribution_starts_equal_whatever_the_context():
    conductor = Conductor(6, 4)
    probabilities = conductor(torch.randn(3, 6))
    np.testing.assert_array_equal(probabilities.detach(), np.full((3, 4), 0.25))


def test_distribution_literal_and_its_numpy_twin():
    conductor = Conductor(2, 2, temperature=0.5)
    with torch.no_grad():
        conductor.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        conductor.bias.copy_(torch.tensor([0.5, 0.0]))
    # h = (1, 1): logits (1.5, 2) / 0.5 = (3, 4); h = (1, 0.75): equal
    h = np.array([[1.0, 1.0], [1.0, 0.75]])
    expected = [[1 / (1 + math.e), math.e / (1 + math.e)], [0.5, 0.5]]
    np.testing.assert_allclose(conductor(torch.tensor(h)).detach(), expected, rtol=1e-12)
    twin = conductor_probabilities(h, conductor.weight.detach(), conductor.bias.detach(), 0.5)
    np.testing.assert_allclose(twin, expected, rtol=1e-12)


def test_discrete_weights_literal():
    # rho = 0.4, K = 4: 0.15 each, and 0.4 more on the action
    np.testing.assert_allclose(
        discrete_weights(np.array([2, 0]), 4, 0.4),
        [[0.15, 0.15, 0.55, 0.15], [0.55, 0.15, 0.15, 0.15]],
    )


def test_continuous_weights_literal():
    # m = 0.1, K = 3: 0.1 + 0.7 pi
    got = continuous_weights(np.array([[0.5, 0.5, 0.0]]), 0.1)
    np.testing.assert_allclose(got, [[0.45, 0.45, 0.1]])


def test_floor_is_renormalised():
    got = floor_probabilities(np.array([[1.0, 0.0, 0.0]]), 0.25)
    np.testing.assert_allclose(got, [[1 / 1.5, 0.25 / 1.5, 0.25 / 1.5]])


def test_actions_follow_the_distribution():
    policy = np.tile([0.2, 0.0, 0.8], (20000, 1))
    actions = sample_actions(policy, rng())
    assert (actions != 1).all() and abs((actions == 0).mean() - 0.2) < 0.01
    assert (sample_actions(np.array([[1 - 1e-17, 0.0]]), rng()) == 0).all()


@pytest.mark.parametrize("mode", ["discrete", "continuous"])
def test_exploring_draws_an_action_per_response_even_with_one_context_per_prompt(mode):
    scene = make_scene(n=64, g=32)
    conductor = learner(mode=mode, context="prompt", emphasis=0.7, min_weight=0.1)
    choice = conductor.choose(scene, rng())
    assert set(choice.actions[:32]) == {0, 1, 2} == set(choice.actions[32:])
    np.testing.assert_array_equal(choice.policy[:32], np.tile(choice.policy[0], (32, 1)))
    if mode == "discrete":
        np.testing.assert_allclose(choice.weights, 0.1 + 0.7 * np.eye(3)[choice.actions])
    else:
        np.testing.assert_allclose(choice.weights, 0.1 + 0.7 * choice.policy)


def test_without_exploring_the_distribution_is_the_weights_and_nothing_is_remembered():
    conductor = learner(min_probability=0.2)
    conductor.choose(make_scene(), rng())
    before = conductor.state()
    choice = conductor.choose(make_scene(seed=1), rng(), explore=False)
    np.testing.assert_array_equal(choice.weights, floor_probabilities(choice.policy, 0.2))
    assert choice.actions is None
    for key, value in conductor.state().items():
        np.testing.assert_array_equal(value, before[key])


def test_contexts_are_standardised_by_running_moments_and_divided_by_sqrt_d():
    conductor, scene = learner(), make_scene()
    conductor.choose(scene, rng())
    conductor.learn(scene, conductor.choose(scene, rng()), np.zeros(8), {})
    both = np.concatenate([scene.hidden, scene.hidden])
    expected = (scene.hidden - both.mean(axis=0)) / (both.std(axis=0, ddof=1) + 1e-6) / np.sqrt(5)
    np.testing.assert_allclose(conductor.buffer[0][0], expected, rtol=1e-10)
    raw = learner(normalize_hidden=False)
    raw.learn(scene, raw.choose(scene, rng()), np.zeros(8), {})
    np.testing.assert_array_equal(raw.buffer[0][0], scene.hidden)


def test_a_constant_dimension_of_the_context_stays_finite():
    got = standardize_hidden(np.full((2, 1), 3.0), np.array([3.0]), np.array([0.0]))
    np.testing.assert_array_equal(got, [[0.0], [0.0]])


# -- the update ---------------------------------------------------------------------------------


def test_first_update_literal():
    # pi = (1/2, 1/2); score wrt the logits is e_a - pi. Rows: h = 1, a = 0, A = 2; h = 3, a = 1,
    # A = -1. grad W_0 = mean(2 * 0.5 * 1, -1 * -0.5 * 3) = 1.25 = -grad W_1; grad b_0 = 0.75.
    # The entropy is at its maximum, so its gradient is 0.
    conductor = ConductorLearner(Config(entropy_coef=0.3), ("a", "b"), hidden_size=1)
    loss = conductor.loss(
        torch.tensor([[1.0], [3.0]], dtype=torch.float64),
        torch.tensor([0, 1]),
        torch.tensor([2.0, -1.0], dtype=torch.float64),
    )
    loss.backward()
    np.testing.assert_allclose(conductor.conductor.weight.grad, [[-1.25], [1.25]])
    np.testing.assert_allclose(conductor.conductor.bias.grad, [-0.75, 0.75])
    np.testing.assert_allclose(conductor.conductor.log_temperature.grad, 0.0, atol=1e-15)
    # J = mean(2 log 1/2, -1 log 1/2) + 0.3 log 2
    assert float(loss.detach()) == pytest.approx(0.5 * math.log(2) - 0.3 * math.log(2))


def test_adam_moves_each_parameter_by_its_rate_at_first():
    conductor = learner(learning_rate=0.01, update_every=1, entropy_coef=0.0)
    scene = make_scene()
    choice = conductor.choose(scene, rng())
    metrics = conductor.learn(scene, choice, rng(1).normal(size=8), {})
    bias = conductor.conductor.bias.detach().numpy()
    np.testing.assert_allclose(np.abs(bias), 0.01, rtol=1e-4)  # Adam's first step is lr * sign
    assert metrics["grad_norm"] > 0 and metrics["entropy"] == pytest.approx(math.log(3), abs=1e-3)
    assert sum(metrics[f"policy/{n}"] for n in NAMES) == pytest.approx(1)


def test_updates_come_every_m_policy_steps_from_a_buffer_that_is_then_cleared():
    conductor = learner(update_every=3)
    updated = []
    for step in range(7):
        scene = make_scene(seed=step)
        choice = conductor.choose(scene, rng(step))
        updated.append(conductor.learn(scene, choice, rng(step).normal(size=8), {}) is not None)
    assert updated == [False, False, True, False, False, True, False]
    assert len(conductor.buffer) == 1


def test_a_fixed_temperature_stays():
    conductor = learner(temperature=0.7, learn_temperature=False, update_every=1)
    scene = make_scene()
    for step in range(3):
        conductor.learn(scene, conductor.choose(scene, rng(step)), rng(step).normal(size=8), {})
    assert conductor.conductor.temperature == pytest.approx(0.7, abs=1e-15)
    learned = learner(temperature=0.7, update_every=1)
    for step in range(3):
        learned.learn(scene, learned.choose(scene, rng(step)), rng(step).normal(size=8), {})
    assert abs(learned.conductor.temperature - 0.7) > 1e-4


def test_entropy_bonus_alone_pulls_back_to_equal():
    conductor = learner(update_every=1, entropy_coef=1.0, learning_rate=0.1)
    with torch.no_grad():
        conductor.conductor.bias.copy_(torch.tensor([1.0, 0.0, -1.0]))
    scene, entropies = make_scene(), []
    for step in range(30):
        choice = conductor.choose(scene, rng(step))
        entropies.append(conductor.learn(scene, choice, np.zeros(8), {})["entropy"])
    assert entropies[-1] > 0.99 * math.log(3) > entropies[0]


# -- state ----------------------------------------------------------------------------------------


def run(conductor, steps):
    for step in steps:
        scene = make_scene(seed=step, step=step)
        choice = conductor.choose(scene, rng(100 + step))
        advantages = grpo_advantages(scene.rewards, choice.weights, 4)
        conductor.learn(scene, choice, advantages, {})
    return conductor


@pytest.mark.parametrize("stop", [1, 3, 5])
@pytest.mark.parametrize("context", ["response", "prompt"])
def test_resume_is_exact_bit_for_bit(stop, context):
    straight = run(learner(context=context), range(8)).state()
    resumed = learner(context=context)
    resumed.load(
        {k: v.copy() for k, v in run(learner(context=context), range(stop)).state().items()}
    )
    resumed = run(resumed, range(stop, 8)).state()
    assert straight.keys() == resumed.keys()
    for key, value in straight.items():
        np.testing.assert_array_equal(value, resumed[key], err_msg=key)


def test_state_of_another_shape_or_context_is_refused():
    state = run(learner(), range(3)).state()
    other = build_scalarizer(Config(), ("a", "b"), hidden_size=5)
    with pytest.raises(ValueError, match=r"weight: saved shape \(3, 5\) is not \(2, 5\)"):
        other.load(state)
    with pytest.raises(ValueError, match="other kind of context"):
        learner(context="prompt").load(state)


@pytest.mark.parametrize("context", ["response", "prompt"])
@pytest.mark.parametrize("normalize", [True, False])
def test_saved_state_answers_what_if_without_torch(context, normalize):
    conductor = run(learner(context=context, normalize_hidden=normalize), range(6))
    scene = make_scene(seed=9)
    expected = conductor.choose(scene, rng(), explore=False).weights
    groups = np.repeat(["q", "p"], 4)
    got = weights_from_state(conductor.state(), scene.hidden, groups)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    order = rng().permutation(8)
    shuffled = weights_from_state(conductor.state(), scene.hidden[order], groups[order])
    np.testing.assert_allclose(shuffled, expected[order], rtol=1e-12)


@given(st.integers(0, 10**6), st.sampled_from(["discrete", "continuous"]), st.booleans())
@settings(deadline=None, max_examples=25)
def test_weights_are_on_the_simplex(seed, mode, explore):
    conductor = learner(mode=mode, emphasis=0.9)
    with torch.no_grad():
        conductor.conductor.weight.copy_(torch.tensor(rng(seed).normal(0, 30, (3, 5))))
    choice = conductor.choose(make_scene(seed=seed), rng(seed), explore)
    assert (choice.weights >= 0).all()
    np.testing.assert_allclose(choice.weights.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(choice.policy.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        (None, "hidden: missing"),
        (np.zeros((8, 4)), r"shape \(8, 4\) is not \(N, D\) = \(8, 5\)"),
        (np.full((8, 5), np.nan), "NaN or infinity"),
    ],
)
def test_bad_contexts_are_refused(hidden, message):
    scene = make_scene()
    with pytest.raises(ValueError, match=message):
        learner().choose(ScalarizerInput(**{**scene.__dict__, "hidden": hidden}), rng())


def test_other_refusals():
    with pytest.raises(ValueError, match="temperature: 0"):
        Conductor(2, 2, temperature=0)
    with pytest.raises(ValueError, match=r"\(3,\) is not \(N, D\)"):
        Conductor(3, 2)(torch.zeros(3))
    scene, conductor = make_scene(), learner()
    with pytest.raises(ValueError, match="actions: missing"):
        conductor.learn(scene, conductor.choose(scene, rng(), explore=False), np.zeros(8), {})
    with pytest.raises(ValueError, match="need"):
        conductor_probabilities(np.zeros((2, 3)), np.zeros((2, 4)), np.zeros(2))
