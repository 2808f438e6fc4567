"""Losses for learning from logged (prompt, response, reward) rows.

RPO (Faye, Azzag, Lebbah, arXiv 2506.13702) estimates the prompt's value V(x) = tau log Z(x) from
the rows that share the prompt; DRO (Richemond et al. 2024) learns it with a network. Both have the
optimum pi proportional to pi_ref e^{r/tau}, where log-probabilities are summed over the response
and Z is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from workbench.core.arrays import as_floats, to_like
from workbench.types import Floats

MODES = ("monte_carlo", "authors")


def _reduced(losses: torch.Tensor, reduction: str) -> torch.Tensor:
    if reduction == "none":
        return losses
    if reduction == "mean":
        return losses.mean()
    raise ValueError(f"reduction: {reduction!r} unknown; allowed are 'mean' and 'none'")


def _check(tau: float, **tensors: torch.Tensor) -> None:
    if not tau > 0:
        raise ValueError(f"tau: {tau} must be above 0")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"shapes differ, all must be (N,): {shapes}")


def rpo_loss(
    logp: torch.Tensor,
    logp_ref: torch.Tensor,
    rewards: torch.Tensor,
    values: torch.Tensor,
    tau: float = 1.0,
    reduction: str = "mean",
) -> torch.Tensor:
    """RPO: 1/2 (l_theta - l_ref - (r - V)/tau)^2.

    Args:
        logp: (N,) log-probability of each response under the policy, summed over its tokens (or
            averaged, which gives up the closed-form optimum).
        logp_ref: (N,) the same under the frozen reference.
        rewards: (N,).
        values: (N,) V of each row's prompt, from ``partition_value``.
        tau: strength of the pull to the reference, above 0.
        reduction: ``mean`` or ``none``.

    Raises:
        ValueError: When shapes differ or tau is not positive.
    """
    _check(tau, logp=logp, logp_ref=logp_ref, rewards=rewards, values=values)
    return _reduced(0.5 * (logp - logp_ref - (rewards - values) / tau) ** 2, reduction)


def dro_loss(
    logp: torch.Tensor,
    logp_ref: torch.Tensor,
    rewards: torch.Tensor,
    values: torch.Tensor,
    tau: float = 1.0,
    reduction: str = "mean",
) -> torch.Tensor:
    """DRO: 1/2 (r - V(x) - tau (l_theta - l_ref))^2, with gradient into policy and value network.

    Args:
        logp: (N,) log-probability of each response under the policy.
        logp_ref: (N,) the same under the frozen reference.
        rewards: (N,).
        values: (N,) V(x) of each row's prompt, from the value network.
        tau: strength of the pull to the reference, above 0.
        reduction: ``mean`` or ``none``.

    Raises:
        ValueError: When shapes differ or tau is not positive.
    """
    _check(tau, logp=logp, logp_ref=logp_ref, rewards=rewards, values=values)
    return _reduced(0.5 * (rewards - values - tau * (logp - logp_ref)) ** 2, reduction)


def partition_value(
    rewards: Any,
    tau: float,
    logp_ref: Any = None,
    logp_behaviour: Any = None,
    mode: str | None = None,
) -> Any:
    """V = tau log Z of one prompt, from the rewards of its rows; stable at extreme rewards.

    ``monte_carlo``: Z = mean_y e^{r/tau}. Z (not V, which is concave in it) is unbiased for rows
    sampled from the reference; with the log-probabilities of another policy that sampled them each
    term is weighted by pi_ref / pi_behaviour, which keeps that.
    ``authors``: Z = sum_y pi_ref(y|x) e^{r/tau}, exact when the rows enumerate the responses.

    One row without weights gives V = r: a pure pull to the reference.

    Args:
        rewards: (n,) rewards of one prompt's rows.
        tau: above 0.
        logp_ref: (n,) summed log-probabilities under the reference.
        logp_behaviour: (n,) the same under the policy that sampled the rows.
        mode: which estimate; None takes ``authors`` when only ``logp_ref`` is given.

    Returns:
        V: a float, or a tensor without dimensions when ``rewards`` is one.

    Raises:
        ValueError: On NaN, no rows, shapes that differ or inputs that the mode lacks.
    """
    r = _one_prompt(rewards, "rewards")
    groups = np.zeros(len(r), dtype=np.int64)
    value = partition_values(r, groups, tau, logp_ref, logp_behaviour, mode)[:1].reshape(())
    return to_like(value, rewards) if isinstance(rewards, torch.Tensor) else float(value)


def partition_values(
    rewards: Any,
    groups: Any,
    tau: float,
    logp_ref: Any = None,
    logp_behaviour: Any = None,
    mode: str | None = None,
) -> Floats:
    """``partition_value`` of every row's prompt at once: (N,) rows in any order, (N,) group ids.

    Raises:
        ValueError: As ``partition_value``.
    """
    r = _one_prompt(rewards, "rewards")
    if not tau > 0:
        raise ValueError(f"tau: {tau} must be above 0")
    if mode is None:
        mode = "authors" if logp_ref is not None and logp_behaviour is None else "monte_carlo"
    if mode not in MODES:
        raise ValueError(f"mode: {mode!r} unknown; allowed are {MODES}")
    if logp_ref is None and (mode == "authors" or logp_behaviour is not None):
        raise ValueError("logp_ref: missing; only plain monte_carlo does without it")
    exponent = r / tau
    if mode == "authors" or logp_behaviour is not None:
        exponent = exponent + _one_prompt(logp_ref, "logp_ref", len(r))
    if mode == "monte_carlo" and logp_behaviour is not None:
        exponent = exponent - _one_prompt(logp_behaviour, "logp_behaviour", len(r))
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    if index.shape != r.shape:
        raise ValueError(f"groups: shape {index.shape} is not (N,) = {r.shape}")
    largest = np.full(index.max() + 1, -np.inf)
    np.maximum.at(largest, index, exponent)
    sums: Floats = np.bincount(index, weights=np.exp(exponent - largest[index])).astype(np.float64)
    if mode == "monte_carlo":
        sums = np.asarray(sums / np.bincount(index))
    return np.asarray((tau * (largest + np.log(sums)))[index])


def _one_prompt(values: Any, name: str, rows: int | None = None) -> Floats:
    array = as_floats(values, name)
    if array.ndim != 1 or array.size == 0 or (rows is not None and len(array) != rows):
        wanted = "(n,) with n >= 1" if rows is None else f"({rows},)"
        raise ValueError(f"{name}: shape {array.shape} is not {wanted}")
    if np.isnan(array).any():
        raise ValueError(f"{name}: contains NaN; leave those rows out and report them")
    return array
