"""The Kernel Conductor's mathematics: weights as a Gaussian process over prompts, in closed form.

The model. A judged group has a context c (D,), rewards z (G, K), centred in the group and in units
of their usual deviation there, and a score u (G,), standardised in the group. Each prompt has a
weight vector of its own, drawn from a Gaussian process over contexts, and the score is the weighted
sum of the rewards plus noise:

    u_i = w(c) . z_i + e_i,   e_i ~ N(0, lambda),   w(c) ~ GP(0, k(c, c') I / K),
    k(c, c') = s + (1 - s) max(cos(c, c'), 0)^2,    s = 0.2.

So scores of two rows have the covariance k(c, c') z . z' / K, ridge regression with that kernel is
the posterior mean, and with alpha = (K + lambda I)^-1 u it follows that

    w(c) = sum_j alpha_j k(c, c_j) z_j / K:

one signed vector per prompt, linear in what was said, with a variance, no learning rate and nothing
to schedule.

How it is computed. Let P be inducing groups, chosen by pivoted Cholesky among the judged ones, and
phi(c) = L^-1 k(P, c) with L L' = k(P, P): then phi(c) . phi(c') = k(c, c') up to a tolerance of the
variance, and exactly where P holds every judged group. With x = vec(phi(c) z') / sqrt(K) the model
is Bayesian linear regression with R K parameters, theta ~ N(0, I):

    S = (X'X + lambda I)^-1,  theta = S X'u,  w(c) = Theta' phi(c) / sqrt(K),
    cov w(c) = lambda (phi' x I) S (phi x I) / K + (k(c, c) - |phi|^2) I / K.

The cost is O(M G (R K)^2 + (R K)^3) for M judged groups, whatever D is: bounded by R and a window.

Leaving one group out is exact without fitting again: with H = X_g S X_g' the block of the hat
matrix, u_g - prediction without g = (I - H)^-1 (u_g - X_g theta).

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), sections 2.2, 5.4
and 8.3; Cook and Weisberg (1982) for the leave-out identity. The kernel, its constants and its use
for weights are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.core.group_selection import similarity
from workbench.types import Floats

RANK_TOLERANCE = 1e-3
"""Share of a context's prior variance that inducing groups may leave unexplained."""

RIDGES = np.array([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
"""Values of lambda that the evidence chooses from."""
PRIOR_RIDGE = 0.5
"""Lambda before any score, and of every variance: what has been judged counts as much whether the
scores turned out noisy or not. Under a judge that says little the likeliest lambda is large, and a
variance with it would hold the policy back for good."""


def context_kernel(contexts: Floats, others: Floats, shared: float) -> Floats:
    """k(c, c') = s + (1 - s) max(cos, 0)^2, (B, D) with (M, D) to (B, M); k(c, c) is 1."""
    return np.asarray(shared + (1.0 - shared) * similarity(contexts, others))


def inducing_groups(kernel: Floats, rank: int, tolerance: float = RANK_TOLERANCE) -> list[int]:
    """Indices chosen by pivoted Cholesky of an (M, M) kernel with a diagonal of 1.

    One after the other the group that the chosen ones explain least, until what any group lacks is
    below the tolerance, or ``rank`` are chosen.
    """
    left = np.diag(kernel).copy()
    rows = np.zeros((0, len(kernel)))
    chosen: list[int] = []
    while len(chosen) < min(rank, len(kernel)):
        pivot = int(np.argmax(left))
        if left[pivot] <= tolerance:
            break
        row = (kernel[pivot] - rows[:, pivot] @ rows) / np.sqrt(left[pivot])
        rows = np.vstack([rows, row])
        left = np.maximum(left - row**2, 0.0)
        chosen.append(pivot)
    return chosen


@dataclass(frozen=True)
class KernelFit:
    """The posterior over weights after M judged groups.

    ``inducing`` (R, D) and ``factor`` (R, R), the inverse of L, give phi. ``theta`` (R, K) is the
    posterior mean of the parameters, ``spread`` (R K, R K) is S under ``PRIOR_RIDGE``; ``left_out``
    (M, G) are the predictions of each group's scores by all others. ``ridge`` is the lambda of the
    mean and of these.
    """

    inducing: Floats
    factor: Floats
    theta: Floats
    spread: Floats
    left_out: Floats
    ridge: float
    shared: float

    @property
    def objectives(self) -> int:
        """K."""
        return int(self.theta.shape[1])

    def features(self, contexts: Floats) -> Floats:
        """Phi of (B, D) standardised contexts, (B, R)."""
        return context_kernel(contexts, self.inducing, self.shared) @ self.factor.T

    def weights(self, contexts: Floats) -> Floats:
        """Posterior mean of w, (B, D) to (B, K): signed, in units of the standardised rewards."""
        return np.asarray(self.features(contexts) @ self.theta / np.sqrt(self.objectives))

    def variance(self, contexts: Floats) -> Floats:
        """Mean posterior variance of the K weights over their prior one, (B,), in [0, 1].

        1 where nothing like it was judged, towards 0 where much was, under ``PRIOR_RIDGE``.
        """
        phi = self.features(contexts)
        rank, k = self.theta.shape
        blocks = self.spread.reshape(rank, k, rank, k)
        within = PRIOR_RIDGE * np.einsum("br,rksk,bs->b", phi, blocks, phi) / k
        return np.asarray(np.clip(within + 1.0 - (phi**2).sum(axis=1), 0.0, 1.0))

    def information(self, contexts: Floats, z: Floats) -> Floats:
        """Nats that judging each group would add about the weights, (B, D), (B, G, K) to (B,).

        The mutual information of a group's scores with w under the model,
        log det(I + cov(w . z) / lambda) / 2 with lambda ``PRIOR_RIDGE``: it needs no score, so it
        can be known before asking.
        A group whose rewards are flat, or which is known already, has nothing to add.
        """
        phi = self.features(contexts)
        x = row_features(phi, z)  # (B, G, R K)
        lacking = np.maximum(1.0 - (phi**2).sum(axis=1), 0.0) / (PRIOR_RIDGE * self.objectives)
        covariance = x @ self.spread @ np.swapaxes(x, 1, 2)
        covariance = covariance + lacking[:, None, None] * (z @ np.swapaxes(z, 1, 2))
        inside = np.eye(z.shape[1]) + covariance
        return np.asarray(0.5 * np.linalg.slogdet(inside)[1])


def row_features(phi: Floats, z: Floats) -> Floats:
    """X = vec(phi z') / sqrt(K) of every row: (M, R), (M, G, K) to (M, G, R K)."""
    products = phi[:, None, :, None] * z[:, :, None, :]  # (M, G, R, K)
    width = phi.shape[1] * z.shape[2]
    return np.asarray(products.reshape(*z.shape[:2], width) / np.sqrt(z.shape[2]))


def fit(
    contexts: Floats,
    z: Floats,
    scores: Floats,
    ridge: float | None = 0.5,
    shared: float = 0.2,
    rank: int = 32,
    noise: Floats | None = None,
) -> KernelFit:
    """Weights from judged groups; see the module's text for the model.

    Args:
        contexts: (M, D) standardised contexts; M may be 0.
        z: (M, G, K) rewards, centred in each group, 0 where an objective does not apply.
        scores: (M, G) trusted scores, standardised in each group, 0 where nothing is known.
        ridge: lambda, the variance of the noise of a score against a signal of variance 1; None
            takes that of ``RIDGES`` under which the scores are most likely.
        shared: s, the part of the weights' variance that all prompts share.
        rank: R at most, how many inducing groups.
        noise: (M,) factors on lambda, one per group, where scores are not equally good; None: 1.
    """
    kernel = context_kernel(contexts, contexts, shared)
    chosen = inducing_groups(kernel, rank)
    lower = np.linalg.cholesky(kernel[np.ix_(chosen, chosen)])
    factor = np.linalg.inv(lower) if len(chosen) else np.zeros((0, 0))
    phi = kernel[:, chosen] @ factor.T
    groups, size, k = z.shape
    scale = np.ones(groups) if noise is None else 1.0 / np.sqrt(noise)
    x = row_features(phi, z) * scale[:, None, None]
    u = scores * scale[:, None]
    flat = x.reshape(groups * size, len(chosen) * k)
    roots, basis = np.linalg.eigh(flat.T @ flat)
    heard = basis.T @ (flat.T @ u.reshape(-1))
    chosen_ridge = ridge
    if chosen_ridge is None:
        evidence = log_evidence(roots, heard, float((u**2).sum()), groups * (size - 1), RIDGES)
        chosen_ridge = float(RIDGES[np.argmax(evidence)]) if groups else PRIOR_RIDGE
    roots = np.maximum(roots, 0.0)
    spread = (basis / (roots + chosen_ridge)) @ basis.T
    theta = spread @ (flat.T @ u.reshape(-1))
    rest = u - x @ theta
    hat = x @ spread @ np.swapaxes(x, 1, 2)  # (M, G, G)
    alone = np.linalg.solve(np.eye(size) - hat, rest[:, :, None])[:, :, 0]
    left_out = (u - alone) / scale[:, None]
    known = (basis / (roots + PRIOR_RIDGE)) @ basis.T
    return KernelFit(
        contexts[chosen], factor, theta.reshape(-1, k), known, left_out, chosen_ridge, shared
    )


def log_evidence(roots: Floats, heard: Floats, energy: float, count: int, ridges: Floats) -> Floats:
    """Log marginal likelihood of the scores for each lambda, up to a constant, (L,).

    With l the eigenvalues of X'X, b = Q'X'u and n scores,
    u'(X X' + lambda I)^-1 u = (u'u - sum b^2 / (l + lambda)) / lambda = q, and with the variance of
    the signal at its best value q / n, the logarithm is
    -n/2 log q - 1/2 (sum log(1 + l / lambda) + n log lambda).

    Args:
        roots: (P,) eigenvalues l.
        heard: (P,) b.
        energy: u'u.
        count: n, free scores: groups times (G - 1), as a group's scores sum to 0.
        ridges: (L,) values of lambda.
    """
    known, noise = np.maximum(roots, 0.0)[None, :], ridges[:, None]
    quadratic = (energy - (heard**2 / (known + noise)).sum(axis=1)) / ridges
    penalty = np.log1p(known / noise).sum(axis=1) + count * np.log(ridges)
    return np.asarray(-0.5 * count * np.log(np.maximum(quadratic, 1e-300)) - 0.5 * penalty)


def in_units(rows: Floats, deviation: Floats) -> Floats:
    """Centred rewards (..., K) over their deviations (K,); 0 for a constant objective."""
    return np.asarray(rows * inverse(deviation))


def inverse(deviation: Floats) -> Floats:
    """1 / s (K,), 0 where s is 0."""
    return np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)


def weights_on_rewards(learned: Floats, deviation: Floats, trust: float) -> Floats:
    """Weights on rewards from weights per deviation, mixed with equal ones as far as trusted.

    With b the learned weights (B, K) and a = s, what equal weights on rewards are per deviation,
    both divided by their lengths: v = ((1 - t) a + t b) / s, divided by the sum of |v|. Where
    nothing is learned, equal weights.
    """
    k = len(deviation)
    norms = np.linalg.norm(learned, axis=1, keepdims=True)
    known = norms > 1e-12
    length = np.linalg.norm(deviation)
    equal = deviation / length if length > 0 else np.full(k, 1.0 / np.sqrt(k))
    along = np.where(known, learned / np.where(known, norms, 1.0), equal)
    mixed = ((1.0 - trust) * equal + trust * along) * inverse(deviation)
    size = np.abs(mixed).sum(axis=1, keepdims=True)
    return np.asarray(np.where(size > 0, mixed / np.where(size > 0, size, 1.0), 1.0 / k))
