"""What the Conductor's estimator is: its exact mean over all actions, where 0 and where not."""

import itertools

import numpy as np
import pytest
import torch

from workbench.config.scalarizers import Conductor as Config
from workbench.core.advantages import grpo_advantages
from workbench.core.conductor import ConductorLearner
from workbench.core.emphasis import continuous_weights, discrete_weights

# -- what the estimator is ------------------------------------------------------------------------

G, K, D = 3, 2, 2
ADVANTAGE_REWARDS = np.array([[0.0, 1.0], [0.7, 0.1], [0.2, 0.9]])
SHARED = np.tile([0.5, -1.0], (G, 1))
OWN = np.array([[0.5, -1.0], [2.0, 0.3], [-0.7, 1.1]])


def tilted():
    """A Conductor away from its start, where nothing vanishes by symmetry."""
    conductor = ConductorLearner(Config(entropy_coef=0.0), ("a", "b"), hidden_size=D)
    with torch.no_grad():
        conductor.conductor.weight.copy_(torch.tensor([[0.4, -0.2], [-0.3, 0.8]]))
        conductor.conductor.bias.copy_(torch.tensor([0.1, -0.2]))
    return conductor


def gradient(conductor, hidden, actions, advantages):
    conductor.conductor.zero_grad()
    conductor.loss(torch.tensor(hidden), torch.tensor(actions), torch.tensor(advantages)).backward()
    return np.concatenate([p.grad.numpy().ravel() for p in conductor.conductor.parameters()])


def expectation(hidden, weights_of, one_action_per_group=False):
    """The exact mean of the estimator over all actions, and its largest single draw."""
    conductor = tilted()
    policy = conductor.conductor(torch.tensor(hidden)).detach().numpy()
    total, largest = 0.0, 0.0
    if one_action_per_group:  # drawn from the first row's distribution
        draws = [((a,) * G, policy[0, a]) for a in range(K)]
    else:
        draws = [
            (a, float(np.prod(policy[np.arange(G), a])))
            for a in itertools.product(range(K), repeat=G)
        ]
    assert sum(p for _, p in draws) == pytest.approx(1)
    for actions, probability in draws:
        advantages = grpo_advantages(ADVANTAGE_REWARDS, weights_of(np.array(actions), policy), G)
        one = gradient(conductor, hidden, list(actions), advantages)
        total, largest = total + probability * one, max(largest, np.abs(one).max())
    return np.abs(total).max(), largest


def follow_the_action(actions, policy):
    return discrete_weights(actions, K, 0.8)


def test_vanishes_exactly_where_a_group_shares_one_action_and_one_context():
    mean, largest = expectation(SHARED, follow_the_action, one_action_per_group=True)
    assert mean < 1e-12 and largest < 1e-12  # not only on average: the advantages sum to 0


def test_does_not_vanish_where_a_group_shares_one_action_but_not_its_context():
    mean, _ = expectation(OWN, follow_the_action, one_action_per_group=True)
    assert mean > 1e-2


@pytest.mark.parametrize("hidden", [SHARED, OWN])
def test_vanishes_in_expectation_where_weights_do_not_follow_the_action(hidden):
    """Continuous mode, and emphasis 0: every draw has a gradient, their mean has none."""
    for weights_of in (
        lambda actions, policy: continuous_weights(policy, 0.1),
        lambda actions, policy: discrete_weights(actions, K, 0.0),
    ):
        mean, largest = expectation(hidden, weights_of)
        assert mean < 1e-12 and largest > 1e-2


@pytest.mark.parametrize("hidden", [SHARED, OWN])
def test_does_not_vanish_where_weights_follow_each_rows_own_action(hidden):
    """MAESTRO's heterogeneous sampling: self-credit inside a zero-sum group."""
    mean, _ = expectation(hidden, follow_the_action)
    assert mean > 1e-2


def test_the_meta_objective_itself_is_zero_whatever_the_actions():
    for actions in itertools.product(range(K), repeat=G):
        advantages = grpo_advantages(
            ADVANTAGE_REWARDS, discrete_weights(np.array(actions), K, 0.8), G
        )
        assert abs(advantages.mean()) < 1e-12
