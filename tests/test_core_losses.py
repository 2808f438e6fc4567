"""RPO and DRO: partition values in closed form, losses that vanish at the optimum and reach it."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.losses import dro_loss, partition_value, partition_values, rpo_loss

REWARDS = np.array([1.0, -0.5, 2.0, 0.0])
REFERENCE = np.array([0.1, 0.4, 0.2, 0.3])  # a policy of four responses


# -- partition values -----------------------------------------------------------------------------


def test_monte_carlo_literal():
    # mean(e^{0/2}, e^{2 log 3 / 2}) = (1 + 3) / 2
    assert partition_value([0.0, 2 * math.log(3)], tau=2.0) == pytest.approx(2 * math.log(2))


def test_authors_literal_is_exact_when_the_rows_enumerate_the_responses():
    exact = 0.5 * math.log(float((REFERENCE * np.exp(REWARDS / 0.5)).sum()))
    assert partition_value(REWARDS, 0.5, np.log(REFERENCE)) == pytest.approx(exact, rel=1e-12)
    explicit = partition_value(REWARDS, 0.5, np.log(REFERENCE), mode="authors")
    assert explicit == pytest.approx(exact, rel=1e-12)


def test_extreme_rewards_neither_overflow_nor_vanish():
    # tau log mean(e^{1e6/1e-3}, 1) = 1e6 - tau log 2
    assert partition_value([1e6, 0.0], 1e-3) == pytest.approx(1e6 - 1e-3 * math.log(2), abs=1e-9)
    assert partition_value([-1e6, -1e6], 1e-3) == pytest.approx(-1e6)
    assert partition_value([1e6, 1e6], 1e-3, [-700.0, -700.0]) == pytest.approx(
        1e6 + 1e-3 * (math.log(2) - 700)
    )


def test_one_row_gives_its_own_reward():
    assert partition_value([0.7], 3.0) == pytest.approx(0.7)


def test_large_tau_gives_the_mean_and_small_tau_the_maximum():
    assert partition_value(REWARDS, 1e6) == pytest.approx(REWARDS.mean(), abs=1e-5)
    assert partition_value(REWARDS, 1e-6) == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_z_of_monte_carlo_is_unbiased_under_reference_sampling_and_v_is_not(tau):
    exact = float((REFERENCE * np.exp(REWARDS / tau)).sum())
    mean_z = mean_v = 0.0
    for rows in itertools.product(range(4), repeat=3):  # every sample of three rows
        probability = float(np.prod(REFERENCE[list(rows)]))
        value = partition_value(REWARDS[list(rows)], tau)
        mean_z += probability * math.exp(value / tau)
        mean_v += probability * value
    assert mean_z == pytest.approx(exact, rel=1e-12)
    assert mean_v < tau * math.log(exact) - 1e-3  # Jensen: V is concave in Z


def test_behaviour_weights_keep_z_unbiased_for_rows_of_another_policy():
    behaviour, tau = np.array([0.7, 0.1, 0.1, 0.1]), 1.0
    exact = float((REFERENCE * np.exp(REWARDS / tau)).sum())
    weighted = plain = 0.0
    for rows in itertools.product(range(4), repeat=2):
        index = list(rows)
        probability = float(np.prod(behaviour[index]))
        corrected = partition_value(
            REWARDS[index], tau, np.log(REFERENCE[index]), np.log(behaviour[index])
        )
        weighted += probability * math.exp(corrected / tau)
        plain += probability * math.exp(partition_value(REWARDS[index], tau) / tau)
    assert weighted == pytest.approx(exact, rel=1e-12)
    assert abs(plain - exact) > 0.1


def test_many_prompts_at_once_in_any_order():
    groups = np.array(["q", "p", "q", "p", "p"])
    rewards = np.array([1.0, 2.0, 3.0, -1.0, 0.5])
    logp = np.log([0.1, 0.2, 0.3, 0.4, 0.5])
    for args in ((), (logp,), (logp, logp - 0.3)):
        got = partition_values(rewards, groups, 0.7, *args)
        for name in "pq":
            rows = groups == name
            expected = partition_value(rewards[rows], 0.7, *(a[rows] for a in args))
            np.testing.assert_allclose(got[rows], expected, rtol=1e-12)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(0.1, 10), st.floats(-3, 3))
@settings(deadline=None)
def test_value_lies_between_the_rewards_and_moves_with_them(rewards, tau, shift):
    value = partition_value(rewards, tau)
    assert min(rewards) - 1e-9 <= value <= max(rewards) + 1e-9
    assert np.mean(rewards) - 1e-9 <= value  # Jensen
    moved = partition_value([r + shift for r in rewards], tau)
    assert moved == pytest.approx(value + shift, abs=1e-8)


def test_tensors_give_tensors():
    got = partition_value(torch.tensor(REWARDS, dtype=torch.float32), 1.0)
    assert got.shape == () and got.dtype == torch.float32
    assert float(got) == pytest.approx(partition_value(REWARDS, 1.0), rel=1e-6)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (([], 1.0), "rewards: shape"),
        (([math.nan], 1.0), "rewards: contains NaN"),
        (([1.0], 0.0), "tau: 0.0 must be above 0"),
        (([1.0], 1.0, [0.1, 0.2]), r"logp_ref: shape \(2,\) is not \(1,\)"),
        (([1.0], 1.0, None, [0.1]), "logp_ref: missing"),
        (([1.0], 1.0, None, None, "authors"), "logp_ref: missing"),
        (([1.0], 1.0, None, None, "mean"), "mode: 'mean' unknown"),
    ],
)
def test_partition_refusals(args, message):
    with pytest.raises(ValueError, match=message):
        partition_value(*args)


# -- losses ---------------------------------------------------------------------------------------


def tensors(*values):
    return [torch.tensor(v, dtype=torch.float64) for v in values]


def test_losses_literal():
    # l - l_ref = (1, -1), (r - V)/tau = (0.5, 0.5), tau = 2
    args = tensors([-1.0, -3.0], [-2.0, -2.0], [3.0, 1.0], [2.0, 0.0])
    np.testing.assert_allclose(rpo_loss(*args, tau=2.0, reduction="none"), [0.125, 1.125])
    # r - V - tau (l - l_ref) = (1 - 2, 1 + 2)
    np.testing.assert_allclose(dro_loss(*args, tau=2.0, reduction="none"), [0.5, 4.5])
    assert float(dro_loss(*args, tau=2.0)) == 2.5
    # the two differ by the factor tau^2 and by who provides V
    assert float(dro_loss(*args, tau=2.0)) == pytest.approx(4 * float(rpo_loss(*args, tau=2.0)))


@pytest.mark.parametrize("tau", [0.3, 1.0, 5.0])
def test_both_losses_vanish_at_the_closed_form_optimum(tau):
    value = partition_value(REWARDS, tau, np.log(REFERENCE))
    optimum = REFERENCE * np.exp((REWARDS - value) / tau)
    assert optimum.sum() == pytest.approx(1.0)  # pi_ref e^{r/tau} / Z
    args = tensors(np.log(optimum), np.log(REFERENCE), REWARDS, np.full(4, value))
    assert float(rpo_loss(*args, tau=tau)) == pytest.approx(0, abs=1e-20)
    assert float(dro_loss(*args, tau=tau)) == pytest.approx(0, abs=1e-20)
    wrong = args[:3] + [args[3] + 0.1]
    assert float(rpo_loss(*wrong, tau=tau)) > 1e-6


@pytest.mark.parametrize("method", ["rpo", "dro"])
def test_gradient_descent_reaches_the_optimum_of_a_dozen_responses(method):
    rng = np.random.default_rng(0)
    reference, rewards, tau = rng.dirichlet(np.ones(12)), rng.normal(size=12), 0.7
    value = partition_value(rewards, tau, np.log(reference))
    optimum = reference * np.exp((rewards - value) / tau)
    logits = torch.tensor(np.log(reference), requires_grad=True)
    learned = torch.zeros((), dtype=torch.float64, requires_grad=True)
    logp_ref, r = torch.tensor(np.log(reference)), torch.tensor(rewards)
    optimizer = torch.optim.Adam([logits, learned], lr=0.05)
    for _ in range(800):
        logp = torch.log_softmax(logits, dim=0)
        if method == "rpo":
            loss = rpo_loss(logp, logp_ref, r, torch.full((12,), value, dtype=torch.float64), tau)
        else:  # V is learned with the policy
            loss = dro_loss(logp, logp_ref, r, learned.expand(12), tau)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(torch.softmax(logits, 0).detach(), optimum, atol=1e-4)
    if method == "dro":
        assert float(learned.detach()) == pytest.approx(value, abs=1e-3)


def test_length_normalised_log_probabilities_move_the_optimum():
    """The closed form holds for summed log-probabilities only: averaging leaves a loss there."""
    tau = 1.0
    value = partition_value(REWARDS, tau, np.log(REFERENCE))
    optimum = REFERENCE * np.exp((REWARDS - value) / tau)
    lengths = np.array([1.0, 2.0, 4.0, 8.0])
    args = tensors(np.log(optimum) / lengths, np.log(REFERENCE) / lengths, REWARDS)
    assert float(rpo_loss(*args, torch.full((4,), value, dtype=torch.float64), tau)) > 0.01


@pytest.mark.parametrize("loss", [rpo_loss, dro_loss])
def test_loss_refusals(loss):
    one, two = torch.zeros(1), torch.zeros(2)
    with pytest.raises(ValueError, match="shapes differ"):
        loss(one, one, two, one)
    with pytest.raises(ValueError, match="tau: -1"):
        loss(one, one, one, one, tau=-1)
    with pytest.raises(ValueError, match="reduction: 'sum'"):
        loss(one, one, one, one, reduction="sum")
