"""Votes and several judges in the kernel head's model: against brute force and what they find."""

import numpy as np
import pytest

from workbench.core.alignment import agreements, normalize_scores
from workbench.core.kernel import fit
from workbench.core.kernel_votes import fit_votes, judge_noise


def rng(seed=0):
    return np.random.default_rng(seed)


def problem(m=30, g=4, k=3, d=5, seed=0):
    draw = rng(seed)
    z = draw.normal(size=(m, g, k))
    z = z - z.mean(axis=1, keepdims=True)
    return draw.normal(size=(m, d)), z, z @ np.array([1.0, -0.5, 0.0])


def voted(u, seed=1, per_group=3, temperature=0.0):
    """Random pairs of each group, the better row first."""
    draw, votes = rng(seed), []
    for group, row in enumerate(u):
        for _ in range(per_group):
            a, b = draw.choice(len(row), 2, replace=False)
            gap = row[a] - row[b] + temperature * draw.logistic()
            votes.append((group, a, b) if gap > 0 else (group, b, a))
    return np.array(votes)


def test_literal_one_vote():
    # K = 1, z = (1, -1), t = 1/2: the vote's row is d = 2 / t = 4 in theta. The maximum of
    # log sigma(4 theta) - theta^2 / 2 solves 4 (1 - sigma(4 theta)) = theta.
    found = fit_votes(np.ones((1, 2)), np.array([[[1.0], [-1.0]]]), np.array([[0, 0, 1]]))
    theta = found.theta[0, 0]
    assert 4 / (1 + np.exp(4 * theta)) == pytest.approx(theta)
    p = 1 / (1 + np.exp(-4 * theta))
    # posterior variance 1 / (1 + 16 p (1 - p)), over a prior variance of 1
    assert found.variance(np.ones((1, 2)))[0] == pytest.approx(1 / (1 + 16 * p * (1 - p)))
    np.testing.assert_allclose(found.left_out, [[0.0, 0.0]], atol=1e-5)  # nothing else is known


def test_without_votes_it_is_the_fit_of_the_scores():
    contexts, z, u = problem()
    u = np.array([normalize_scores(row) for row in u])
    none = np.zeros((0, 3), dtype=np.int64)
    plain = fit(contexts, z, u, 0.5)
    both = fit_votes(contexts, z, none, scores=u)
    asked = rng(9).normal(size=(4, 5))
    np.testing.assert_allclose(both.weights(asked), plain.weights(asked), atol=1e-8)
    np.testing.assert_allclose(both.variance(asked), plain.variance(asked), atol=1e-8)
    np.testing.assert_allclose(both.left_out, plain.left_out, atol=1e-8)
    # noise per group is that of fit, whose noise is a factor on lambda
    noise = rng(3).uniform(0.5, 4.0, len(u))
    other = fit_votes(contexts, z, none, scores=u, noise=0.5 * noise)
    expected = fit(contexts, z, u, 0.5, noise=noise)
    np.testing.assert_allclose(other.weights(asked), expected.weights(asked), atol=1e-8)


def test_the_maximum_is_one_and_its_slope_is_zero():
    contexts, z, u = problem(m=6)
    votes = voted(u)
    found = fit_votes(contexts, z, votes, guess=0.7)

    def value(theta):
        moved = type(found)(**{**vars(found), "theta": theta})
        sums = np.einsum("mgk,mk->mg", z, moved.weights(contexts))
        gaps = sums[votes[:, 0], votes[:, 1]] - sums[votes[:, 0], votes[:, 2]]
        return -np.log1p(np.exp(-gaps / 0.7)).sum() - 0.5 * (theta**2).sum()

    best = value(found.theta)
    draw = rng(5)
    for _ in range(20):
        assert value(found.theta + 1e-3 * draw.normal(size=found.theta.shape)) < best


def test_votes_find_the_weights_and_leaving_out_is_honest():
    contexts, z, u = problem(m=60)
    contexts = np.ones_like(contexts)
    found = fit_votes(contexts, z, voted(u, temperature=0.3))
    truth = np.array([1.0, -0.5, 0.0])
    w = found.weights(contexts[:1])[0]
    assert w @ truth / np.linalg.norm(w) / np.linalg.norm(truth) > 0.95
    v = np.array([normalize_scores(row) for row in u])
    assert agreements(found.left_out, v).mean() > 0.9 * 0.75
    shuffled = fit_votes(contexts, z, voted(rng(7).permutation(u.ravel()).reshape(u.shape)))
    assert abs(agreements(shuffled.left_out, v).mean()) < 0.35
    assert np.abs(shuffled.weights(contexts[:1])).max() < 0.5 * np.abs(w).max()


def test_bad_votes_are_refused():
    contexts, z, _ = problem(m=2)
    for vote in ([2, 0, 1], [0, 0, 4], [0, 1, 1], [-1, 0, 1]):
        with pytest.raises(ValueError, match=r"is not a group below 2 with two different rows"):
            fit_votes(contexts, z, np.array([vote]))
    with pytest.raises(ValueError, match=r"\(V, 3\)"):
        fit_votes(contexts, z, np.zeros((1, 2), dtype=np.int64))


def test_the_noisier_of_two_judges_is_found_and_counts_less():
    contexts, z, u = problem(m=120)
    contexts = np.ones_like(contexts)
    judges, draw = np.arange(120) % 2, rng(4)
    said = u + np.array([0.1, 3.0])[judges][:, None] * draw.normal(size=u.shape)
    v = np.array([normalize_scores(row) for row in said])
    plain = fit(contexts, z, v)
    noise = judge_noise(plain.left_out, v, judges)
    assert noise[0] < 0.6 < 1.2 < noise[1]
    truth = np.array([1.0, -0.5, 0.0]) / np.linalg.norm([1.0, -0.5, 0.0])
    errors = []
    for found in (plain, fit(contexts, z, v, noise=noise[judges])):
        w = found.weights(contexts[:1])[0]
        errors.append(1 - w @ truth / np.linalg.norm(w))
    assert errors[1] < errors[0]
    np.testing.assert_array_equal(judge_noise(np.zeros((0, 4)), np.zeros((0, 4)), judges[:0]), [])
