"""The anchored Conductor: its gradient, its budget, its trust, exact resume."""

import math

import numpy as np
import pytest
import torch
from anchor_world import NAMES, B, D, G, K, learner, make_scene, rng, train

from workbench.config.scalarizers import AnchorConfig
from workbench.config.scalarizers import Conductor as Config
from workbench.core.alignment import EVIDENCE, agreement, normalize_scores, trust_of
from workbench.core.emphasis import weights_from_state
from workbench.core.scalarizers import ScalarizerInput, build_scalarizer

# -- the objective --------------------------------------------------------------------------------


def test_agreement_literal():
    # one group of two, w = (1/4, 3/4): R = (1/4, 3/4), A = -+ (1/4) / (1/2/sqrt(2) + e)
    value, _ = agreement(np.array([[0.25, 0.75]]), np.eye(2)[None], np.array([[-1.0, 1.0]]))
    assert value == pytest.approx(0.25 / (0.5 / math.sqrt(2) + 1e-4), rel=1e-12)


def test_agreement_is_the_correlation_up_to_the_group_size():
    draw = rng()
    z, u, w = draw.normal(size=(1, 8, K)), draw.normal(size=8), draw.dirichlet(np.ones(K))
    value, _ = agreement(w[None], z, normalize_scores(u)[None])
    assert value == pytest.approx(7 / 8 * np.corrcoef(z[0] @ w, u)[0, 1], abs=1e-3)


def test_scores_are_standardised_and_nan_says_nothing():
    got = normalize_scores(np.array([1.0, np.nan, 3.0]))
    np.testing.assert_allclose(got, [-1 / (math.sqrt(2) + 1e-4), 0, 1 / (math.sqrt(2) + 1e-4)])
    np.testing.assert_array_equal(normalize_scores(np.full(4, 0.7)), np.zeros(4))


def problem(m=5, flat=False):
    draw = rng(3)
    z, v = draw.normal(size=(m, G, K)), draw.normal(size=(m, G))
    if flat:
        z[0] = 0.5
    return draw.normal(size=(m, D)), z, v


def autograd(conductor, hidden, z, v):
    """The same objective, differentiated by torch."""
    head, m = conductor.conductor, conductor.config.min_weight
    log_policy = head.log_probabilities(torch.tensor(hidden))
    weights = m + (1 - K * m) * log_policy.exp()
    r = (torch.tensor(z) * weights[:, None, :]).sum(dim=2)
    centred = r - r.mean(dim=1, keepdim=True)
    std = ((centred**2).sum(dim=1, keepdim=True) / (G - 1)).clamp_min(1e-20).sqrt()
    fit = (centred / (std + 1e-4) * torch.tensor(v)).mean()
    entropy = -(log_policy.exp() * log_policy).sum(dim=1).mean()
    value = fit + conductor.anchor.entropy_coef * entropy
    value = value - conductor.anchor.ridge * (head.weight**2).sum()
    return float(value.detach()), torch.autograd.grad(value, list(head.parameters()))


@pytest.mark.parametrize("min_weight", [0.0, 0.1])
def test_gradient_against_finite_differences_and_autograd(min_weight):
    conductor = learner(entropy_coef=0.3, ridge=0.2, config={"min_weight": min_weight})
    parameters = list(conductor.conductor.parameters())
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.tensor(rng(4).normal(size=parameter.shape)))
    data = problem()
    value, gradients = conductor.objective(*data)
    assert value == pytest.approx(autograd(conductor, *data)[0], rel=1e-12)
    for parameter, gradient, other in zip(
        parameters, gradients, autograd(conductor, *data)[1], strict=True
    ):
        np.testing.assert_allclose(gradient, other.numpy(), atol=1e-12)
        flat = parameter.detach().view(-1)
        for i in range(flat.numel()):
            ends = []
            for shift in (1e-5, -1e-5):
                kept = float(flat[i])
                flat[i] += shift
                ends.append(conductor.objective(*data)[0])
                flat[i] = kept
            numeric = (ends[0] - ends[1]) / 2e-5
            assert np.asarray(gradient).ravel()[i] == pytest.approx(numeric, abs=1e-7)


def test_flat_group_has_a_finite_gradient_of_zero():
    _, gradient = agreement(np.full((5, K), 1 / K), *problem(flat=True)[1:])
    np.testing.assert_allclose(gradient[0], 0, atol=1e-9)
    assert np.isfinite(gradient).all() and np.abs(gradient[1:]).min() > 0


# -- the budget -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "per_step"),
    [
        (1 / 8, [1, 1, 1, 1]),
        (1 / 16, [0, 1, 0, 1]),
        (1 / 64, [0, 0, 0, 0, 0, 0, 0, 1]),
        (0.3, [2, 2, 3, 2, 3]),  # 2.4 a step: 2.4, 4.8, 7.2, 9.6, 12
        (1.0, [8, 8]),
    ],
)
def test_the_budget_is_met_exactly_and_carried_over(fraction, per_step):
    conductor, (scene, _) = learner(fraction=fraction), make_scene(0)
    got = [len(conductor.anchor_groups(scene, rng(step))) for step in range(len(per_step))]
    assert got == per_step


def test_random_groups_are_distinct_depend_on_the_generator_alone_and_reach_everybody():
    scene, _ = make_scene(0)
    seen = set()
    for seed in range(40):
        first, second = (learner(fraction=0.25, select="random") for _ in range(2))
        groups = first.anchor_groups(scene, rng(seed))
        np.testing.assert_array_equal(groups, second.anchor_groups(scene, rng(seed)))
        assert len(set(groups)) == 2
        seen |= set(groups.tolist())
    assert seen == set(range(B))


def test_disagreement_asks_where_weights_matter_most():
    scene, _ = make_scene(0)
    rewards = np.repeat(scene.rewards[:, :1], K, axis=1)  # all objectives agree everywhere ...
    rewards[5 * G : 6 * G, 1] *= -1  # ... but in group 5
    scene = ScalarizerInput(**{**scene.__dict__, "rewards": rewards})
    conductor = learner(select="disagreement")
    assert conductor.anchor_groups(scene, rng()).tolist() == [5]


def test_uncertain_asks_where_the_distribution_is_most_open():
    conductor = learner(select="uncertain", config={"normalize_hidden": False})
    with torch.no_grad():
        conductor.conductor.weight[0, 0] = 1.0
    scene, _ = make_scene(0)
    hidden = np.zeros((B * G, D))
    hidden[:, 0] = 5.0  # sure everywhere ...
    hidden[2 * G : 3 * G, 0] = 0.0  # ... but in group 2
    scene = ScalarizerInput(**{**scene.__dict__, "hidden": hidden})
    assert conductor.anchor_groups(scene, rng()).tolist() == [2]


def test_spent_counts_scores_and_not_those_that_nobody_gave():
    conductor = learner(fraction=0.25)
    last = train(conductor, range(3), score=lambda seed, s: np.where(s > 5, s, np.nan))[-1]
    assert last["anchor_spent"] == 0
    assert train(learner(fraction=0.25), range(3))[-1]["anchor_spent"] == 3 * 2 * G


def test_nothing_is_learned_before_the_first_anchor():
    conductor = learner(fraction=1 / 64)
    metrics = train(conductor, range(8))
    assert metrics[:7] == [None] * 7 and metrics[7] is not None
    assert set(metrics[7]) >= {
        "loss",
        "entropy",
        "temperature",
        "grad_norm",
        "meta_reward",
        "anchor_agreement",
        "anchor_spent",
        "anchor_trust",
        "policy/a",
    }


def test_the_first_groups_are_judged_at_once_and_the_budget_catches_up():
    # 8 groups a step, one in 8: 8 + 2 at once, then none until 10 are due, in the tenth step
    conductor = learner(first=10)
    counts = [len(conductor.anchor_groups(make_scene(s)[0], rng(s))) for s in range(14)]
    assert counts == [8, 2] + 8 * [0] + 4 * [1]


def test_the_first_groups_never_exceed_the_budget_of_the_run():
    # 4 steps of 8 groups, one in 8: 4 groups in all
    settings = Config(meta_reward="anchor", anchor=AnchorConfig(source="judge", first=8))
    conductor = build_scalarizer(settings, NAMES, D, G, planned=4 * B)
    counts = [len(conductor.anchor_groups(make_scene(s)[0], rng(s))) for s in range(4)]
    assert counts == [4, 0, 0, 0]


# -- trust ----------------------------------------------------------------------------------------


def test_agreement_of_a_random_order_has_the_variance_that_trust_assumes():
    draw = rng(5)
    for size in (4, 8):
        a, v = (
            np.array([normalize_scores(row) for row in draw.normal(size=(4000, size))])
            for _ in range(2)
        )
        f = (a * v).mean(axis=1)
        assert f.var() == pytest.approx((size - 1) / size**2, rel=0.08)


def test_weights_stand_between_equal_and_learned():
    conductor = learner()
    with torch.no_grad():
        conductor.conductor.bias.copy_(torch.tensor([5.0, 0.0, 0.0]))
    scene, _ = make_scene(0)
    conductor.gains = [np.array([-0.9, 0.2, -0.9, 0.2])] * EVIDENCE
    np.testing.assert_allclose(conductor.choose(scene, rng()).weights, 1 / K)
    conductor.gains = [np.array([0.6, 0.2, 0.6, 0.2])] * EVIDENCE
    learned = conductor.choose(scene, rng())
    np.testing.assert_allclose(learned.weights, learned.policy)
    conductor.gains = [np.array([f, 0.2, f, 0.2]) for f in (0.3, 0.2, 0.4)]
    t = trust_of(np.array(conductor.gains))
    assert 0.1 < t < 0.9
    np.testing.assert_allclose(
        conductor.choose(scene, rng()).weights, (1 - t) / K + t * learned.policy, rtol=1e-6
    )


# -- state ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [0, 1, 7])
def test_resume_is_exact_bit_for_bit(stop):
    def fresh():
        return learner(fraction=1 / 16, noise=0.2, shuffle=True, replay=3)

    straight = fresh()
    train(straight, range(12))
    first, resumed = fresh(), fresh()
    train(first, range(stop))
    resumed.load({key: value.copy() for key, value in first.state().items()})
    train(resumed, range(stop, 12))
    expected, got = straight.state(), resumed.state()
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(value, got[key], err_msg=key)


def test_saved_state_answers_what_if_without_torch():
    conductor = learner(fraction=1.0, config={"min_weight": 0.05})
    train(conductor, range(4))
    assert 0 < conductor.trust < 1
    scene, _ = make_scene(9)
    expected = conductor.choose(scene, rng(), explore=False).weights
    groups = np.repeat(np.arange(B), G)
    got = weights_from_state(conductor.state(), scene.hidden, groups)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_one_weight_vector_per_prompt_and_the_simplex():
    conductor = learner(fraction=1.0)
    train(conductor, range(6))
    choice = conductor.choose(make_scene(7)[0], rng())
    np.testing.assert_allclose(choice.weights.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(choice.weights, np.repeat(choice.weights[::G], G, axis=0))
    assert choice.actions is None and (choice.weights >= 0).all()


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        ({8: np.zeros(G)}, "group 8 is not among 0..7"),
        ({0: np.zeros(G + 1)}, r"anchors\[0\]: shape \(5,\) is not \(G,\) = \(4,\)"),
    ],
)
def test_bad_anchors_are_refused(anchors, message):
    conductor, (scene, _) = learner(), make_scene(0)
    choice = conductor.choose(scene, rng())
    with pytest.raises(ValueError, match=message):
        conductor.learn(scene, choice, np.zeros(B * G), anchors)
