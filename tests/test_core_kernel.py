"""The kernel head's mathematics against the closed form it comes from, and against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.kernel import (
    PRIOR_RIDGE,
    context_kernel,
    fit,
    in_units,
    inducing_groups,
    log_evidence,
    weights_on_rewards,
)

RIDGE, SHARED = PRIOR_RIDGE, 0.2


def rng(seed=0):
    return np.random.default_rng(seed)


def problem(seed=0, m=6, g=4, k=3, d=5):
    """Contexts (M, D), centred rewards (M, G, K) and scores (M, G)."""
    draw = rng(seed)
    z, u = draw.normal(size=(m, g, k)), draw.normal(size=(m, g))
    return (
        draw.normal(size=(m, d)),
        z - z.mean(axis=1, keepdims=True),
        u - u.mean(axis=1, keepdims=True),
    )


def dense(contexts, z, u, asked, ridge=RIDGE, noise=None):
    """w = sum_j alpha_j k(c, c_j) z_j / K and its covariance, from the whole kernel matrix."""
    m, g, k = z.shape
    rows, group = z.reshape(-1, k), np.repeat(np.arange(m), g)
    kernel = context_kernel(contexts, contexts, SHARED)[np.ix_(group, group)]
    kernel = kernel * (rows @ rows.T) / k
    factors = np.ones(m) if noise is None else noise
    inverse = np.linalg.inv(kernel + ridge * np.diag(factors[group]))
    cross = context_kernel(asked, contexts, SHARED)[:, group]  # (B, M G)
    weights = (cross * (inverse @ u.reshape(-1))) @ rows / k
    b = cross[:, None, :] * rows.T[None] / k  # (B, K, M G)
    covariance = np.eye(k) / k - b @ inverse @ np.swapaxes(b, 1, 2)
    return weights, covariance


def test_literal_one_group_one_objective():
    # K = 1, z = (1, -1), u = (1, -1), lambda = 1/2. The kernel matrix [[1, -1], [-1, 1]] has the
    # eigenvector u with eigenvalue 2: alpha = u / 2.5 and w = sum alpha_i z_i = 2 / 2.5 = 0.8 for
    # the judged context; at a right angle k = 0.2: w = 0.16. var w = 1 - 2 k^2 / 2.5, over 1.
    c, z, u = np.array([[2.0, 0.0]]), np.array([[[1.0], [-1.0]]]), np.array([[1.0, -1.0]])
    found = fit(c, z, u, RIDGE, SHARED)
    asked = np.array([[5.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(found.weights(asked), [[0.8], [0.16], [0.16]])
    np.testing.assert_allclose(found.variance(asked), [0.2, 1 - 0.04 * 0.8, 1 - 0.04 * 0.8])
    # without the only group nothing predicts it; judging it again: log det(I + z z' 0.2 / 0.5) / 2
    np.testing.assert_allclose(found.left_out, [[0.0, 0.0]], atol=1e-12)
    again = 0.5 * np.log(1 + 2 * 0.2 / 0.5)
    np.testing.assert_allclose(found.information(c, z), [again])


def test_context_kernel_literal():
    # equal directions 1, 60 degrees 0.2 + 0.8 / 4, right angles and opposites 0.2
    others = np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)], [0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(
        context_kernel(np.array([[3.0, 0.0]]), others, 0.2), [[1.0, 0.4, 0.2, 0.2]]
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(2, 5), st.integers(1, 4))
def test_the_linear_form_is_the_closed_form(seed, m, g, k):
    contexts, z, u = problem(seed, m, g, k)
    asked = rng(seed + 1).normal(size=(3, contexts.shape[1]))
    found = fit(contexts, z, u, RIDGE, SHARED)
    weights, covariance = dense(contexts, z, u, asked)
    np.testing.assert_allclose(found.weights(asked), weights, atol=1e-8)
    trace = np.trace(covariance, axis1=1, axis2=2)  # the prior's is 1
    np.testing.assert_allclose(found.variance(asked), trace, atol=1e-8)


def test_leaving_a_group_out_equals_fitting_without_it():
    contexts, z, u = problem()
    found = fit(contexts, z, u, RIDGE, SHARED)
    for group in range(len(u)):
        kept = np.arange(len(u)) != group
        weights, _ = dense(contexts[kept], z[kept], u[kept], contexts[group : group + 1])
        np.testing.assert_allclose(found.left_out[group], z[group] @ weights[0], atol=1e-9)


def test_information_is_the_entropy_that_judging_takes_away():
    """log det of the scores' covariance given what is known, over lambda: from the whole kernel."""
    contexts, z, u = problem()
    found = fit(contexts[:4], z[:4], u[:4], RIDGE, SHARED)
    for group in (4, 5):
        _, covariance = dense(contexts[:4], z[:4], u[:4], contexts[group : group + 1])
        inside = np.eye(z.shape[1]) + z[group] @ covariance[0] @ z[group].T / RIDGE
        expected = 0.5 * np.linalg.slogdet(inside)[1]
        got = found.information(contexts[group : group + 1], z[group : group + 1])
        np.testing.assert_allclose(got, [expected], atol=1e-9)
    assert found.information(contexts[:1], np.zeros_like(z[:1])).tolist() == [0.0]  # a flat group
    assert found.information(contexts[:1], z[:1]) < fit(
        contexts[1:4], z[1:4], u[1:4], RIDGE, SHARED
    ).information(contexts[:1], z[:1])  # a group that is known already


def test_nothing_judged_is_the_prior():
    contexts, z, u = problem()
    empty = fit(contexts[:0], z[:0], u[:0], None, SHARED)
    np.testing.assert_array_equal(empty.weights(contexts), 0.0)
    np.testing.assert_array_equal(empty.variance(contexts), 1.0)
    assert empty.left_out.shape == (0, 4)


def test_noise_per_judge_is_the_closed_form_with_that_noise():
    contexts, z, u = problem()
    noise = np.array([1.0, 4.0, 1.0, 0.25, 1.0, 9.0])
    found = fit(contexts, z, u, RIDGE, SHARED, noise=noise)
    np.testing.assert_allclose(
        found.weights(contexts), dense(contexts, z, u, contexts, noise=noise)[0], atol=1e-9
    )
    deaf = fit(contexts, z, u, RIDGE, SHARED, noise=np.where(np.arange(6) == 2, 1e12, 1.0))
    kept = np.arange(6) != 2
    without = dense(contexts[kept], z[kept], u[kept], contexts)[0]
    np.testing.assert_allclose(deaf.weights(contexts), without, atol=1e-6)


def test_inducing_groups_bound_the_parameters_and_hardly_change_the_weights():
    draw = rng(4)
    kinds = draw.normal(size=(4, 12))
    contexts = kinds[draw.integers(0, 4, 60)] + 0.02 * draw.normal(size=(60, 12))
    z = draw.normal(size=(60, 4, 3))
    u = np.einsum("mgk,k->mg", z, [1.0, -1.0, 0.0])
    few, all_ = (fit(contexts, z, u, RIDGE, SHARED, rank) for rank in (8, 60))
    assert len(few.inducing) <= 8 and len(few.spread) <= 24
    np.testing.assert_allclose(few.weights(kinds), all_.weights(kinds), atol=2e-2)
    chosen = inducing_groups(context_kernel(contexts, contexts, SHARED), 4)
    nearest = [int(np.argmax(context_kernel(contexts[i : i + 1], kinds, 0.0))) for i in chosen]
    assert sorted(nearest) == [0, 1, 2, 3]  # one of each kind


def test_evidence_is_the_marginal_likelihood_and_finds_the_noise():
    contexts, z, u = problem(m=5)
    k, n = z.shape[2], u.size
    rows, group = z.reshape(-1, k), np.repeat(np.arange(5), 4)
    kernel = context_kernel(contexts, contexts, SHARED)[np.ix_(group, group)] * (rows @ rows.T) / k
    roots, basis = np.linalg.eigh(kernel)
    # with X = Q sqrt(l), b = Q'X'u = sqrt(l) Q'u
    heard = np.sqrt(np.maximum(roots, 0)) * (basis.T @ u.reshape(-1))
    ridges = np.array([0.3, 2.0])
    got = log_evidence(roots, heard, float((u**2).sum()), n, ridges)
    expected = []
    for ridge in ridges:
        whole = kernel + ridge * np.eye(n)
        quadratic = u.reshape(-1) @ np.linalg.solve(whole, u.reshape(-1))
        expected.append(-0.5 * n * np.log(quadratic) - 0.5 * np.linalg.slogdet(whole)[1])
    np.testing.assert_allclose(got, expected, atol=1e-8)
    draw = rng(2)
    contexts, z = np.ones((80, 3)), draw.normal(size=(80, 8, 3))
    truth = np.einsum("mgk,k->mg", z, [1.0, 1.0, 1.0]) / np.sqrt(3)
    clear = fit(contexts, z, truth + 0.3 * draw.normal(size=truth.shape), None, SHARED).ridge
    blurred = fit(contexts, z, truth + 4.0 * draw.normal(size=truth.shape), None, SHARED).ridge
    assert clear < 1 < 4 < blurred


def test_weights_on_rewards_literal():
    # s = (1, 2): equal weights are a = (1, 2) / sqrt(5) per deviation; learned (0, -3) is
    # b = (0, -1). Trust 0: a / s = (1, 1) -> (1/2, 1/2). Trust 1: (0, -1/2) -> (0, -1).
    s, learned = np.array([1.0, 2.0]), np.array([[0.0, -3.0]])
    np.testing.assert_allclose(weights_on_rewards(learned, s, 0.0), [[0.5, 0.5]])
    np.testing.assert_allclose(weights_on_rewards(learned, s, 1.0), [[0.0, -1.0]])
    a = np.array([1.0, 2.0]) / np.sqrt(5)
    mixed = (0.5 * a + 0.5 * np.array([0.0, -1.0])) / s
    np.testing.assert_allclose(weights_on_rewards(learned, s, 0.5), [mixed / np.abs(mixed).sum()])
    np.testing.assert_allclose(weights_on_rewards(0 * learned, s, 1.0), [[0.5, 0.5]])
    # a constant objective carries no weight; with all constant, equal weights
    np.testing.assert_allclose(
        weights_on_rewards(np.array([[1.0, 1.0]]), np.array([0.0, 2.0]), 1.0), [[0.0, 1.0]]
    )
    np.testing.assert_allclose(weights_on_rewards(learned, np.zeros(2), 1.0), [[0.5, 0.5]])
    np.testing.assert_allclose(in_units(np.ones((1, 2)), np.array([0.0, 4.0])), [[0.0, 0.25]])


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_weights_on_rewards_have_absolute_sum_one(seed, trust):
    draw = rng(seed)
    weights = weights_on_rewards(draw.normal(size=(5, 4)), draw.random(4), trust)
    np.testing.assert_allclose(np.abs(weights).sum(axis=1), 1.0)


def test_a_fit_by_evidence_is_repeated_by_its_own_lambda():
    """A saved Conductor keeps the lambda that was found, and is computed again from it."""
    contexts, z, u = problem()
    found = fit(contexts, z, u, None, SHARED)
    again = fit(contexts, z, u, found.ridge, SHARED)
    assert found.ridge == pytest.approx(again.ridge)
    np.testing.assert_allclose(found.theta, again.theta)


def test_a_noisy_judge_leaves_the_variance_as_it_is():
    """What was judged is known to have been judged, whatever lambda the scores make likely."""
    contexts, z, u = problem()
    clear, noisy = fit(contexts, z, u, 0.25, SHARED), fit(contexts, z, u, 32.0, SHARED)
    np.testing.assert_array_equal(clear.variance(contexts), noisy.variance(contexts))
    assert np.abs(noisy.weights(contexts)).max() < np.abs(clear.weights(contexts)).max()
