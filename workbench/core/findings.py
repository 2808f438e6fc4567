"""From a step's rollouts to its diagnostic metrics, and from their history to words that help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.core import diagnostics as d
from workbench.core.advantages import nan_mean_std
from workbench.types import Floats, RolloutBatch

AUDIT_TOLERANCE = 1e-8
"""Largest difference of recomputed from used advantages that float64 arithmetic explains."""


@dataclass(frozen=True)
class Finding:
    """Something that needs attention: a stable code, what was seen, what to try."""

    code: str
    message: str
    advice: str


def step_metrics(
    batch: RolloutBatch,
    aggregation: str = "sum_then_normalize",
    scale_rewards: str = "group",
    penalty: Floats | None = None,
) -> dict[str, float]:
    """Diagnostics of one step, to be logged as metrics.

    Args:
        batch: the rollouts as logged.
        aggregation: the run's.
        scale_rewards: the run's.
        penalty: (N,) what KL took from the scalar reward, where it did.

    Returns:
        ``emphasis_entropy`` and ``collapsed_prompts`` (where there is a policy),
        ``self_favouring``, ``degenerate`` and its three kinds ``degenerate/...`` as shares of the
        groups, ``audit_error``, ``length``, ``truncated``, ``kl``, each also per kind as
        ``length/KIND`` and so on, ``objective/NAME`` (mean raw reward), ``judge`` (where asked).
    """
    weighted = batch.rewards if batch.scaled is None else batch.scaled
    g = batch.num_generations
    codes = d.degenerate_groups(weighted, batch.weights, g, aggregation)
    values = {
        "self_favouring": d.self_favouring(batch.weights, weighted),
        "degenerate": float((codes > 0).mean()),
        **{f"degenerate/{d.DEGENERATE[c]}": float((codes == c).mean()) for c in (1, 2, 3)},
        "audit_error": d.audit(
            weighted,
            batch.weights,
            batch.advantages,
            g,
            aggregation,
            scale_rewards,
            penalty,
            batch.mask,
            batch.judge,
            batch.judge_share,
        ),
    }
    per_row: dict[str, Floats] = {
        "length": batch.num_tokens.astype(np.float64),
        "truncated": batch.truncated.astype(np.float64),
    }
    if batch.kl is not None:
        per_row["kl"] = batch.kl
    if batch.policy is not None:
        per_row["emphasis_entropy"] = d.emphasis_entropy(batch.policy)
        values["collapsed_prompts"] = d.collapsed_share(batch.policy, g)
    for name, rows in per_row.items():
        values[name] = float(nan_mean_std(rows, axis=None)[0].reshape(()))
        values |= {f"{name}/{kind}": mean for kind, mean in d.by_kind(rows, batch.kinds).items()}
    means = nan_mean_std(batch.rewards, axis=0)[0][0]
    values |= {f"objective/{n}": float(m) for n, m in zip(batch.objectives, means, strict=True)}
    if batch.judge is not None and not np.isnan(batch.judge).all():
        values["judge"] = float(np.nanmean(batch.judge))
    return values


def warnings_from(
    history: Sequence[Mapping[str, float]], trusted: str = "judge", window: int = 10
) -> list[Finding]:
    """What the metrics of the steps so far say, in words.

    Args:
        history: one mapping per step, oldest first, as ``step_metrics`` gives them.
        trusted: metric that rising objectives are held against: ``judge``, ``anchor_agreement``.
        window: steps that a present state is averaged over; fewer steps say nothing but an audit.

    Returns:
        Findings with codes ``audit``, ``collapse``, ``degenerate``, ``truncation``,
        ``reward_hacking``; empty when all is well.
    """
    found: list[Finding] = []
    audits = [m["audit_error"] for m in history if "audit_error" in m]
    if audits and not max(audits) <= AUDIT_TOLERANCE:
        found.append(
            Finding(
                "audit",
                f"Advantages that trained the policy differ from the logged rewards and weights "
                f"by up to {max(audits):.2g}.",
                "Do not trust this run's figures: something between the objectives and the loss "
                "changes the rewards. Check custom objectives for randomness and report it.",
            )
        )
    if len(history) < window:
        return found
    recent = {
        name: float(np.mean([m[name] for m in history[-window:] if name in m]))
        for name in {name for m in history[-window:] for name in m}
    }
    if recent.get("collapsed_prompts", 0.0) > 0.5:
        found.append(
            Finding(
                "collapse",
                f"The Conductor puts nearly all weight on one objective for "
                f"{recent['collapsed_prompts']:.0%} of the prompts.",
                "Raise scalarizer.entropy_coef, lower scalarizer.learning_rate or "
                "scalarizer.emphasis, or give it an anchor (meta_reward: anchor).",
            )
        )
    if recent.get("degenerate", 0.0) > 0.5:
        found.append(_degenerate(recent))
    if recent.get("truncated", 0.0) > 0.3:
        found.append(
            Finding(
                "truncation",
                f"{recent['truncated']:.0%} of the completions hit the token limit; their rewards "
                "are those of unfinished text.",
                "Raise grpo.max_completion_length, or weigh a length objective that makes the "
                "policy stop sooner.",
            )
        )
    return found + _hacking(history, trusted)


_DEGENERATE_WORDS = {
    "flat_all": (
        "every objective gives all completions of a group the same reward",
        "Raise grpo.temperature or grpo.num_generations so that completions differ, or use prompts "
        "that are neither always solved nor never.",
    ),
    "flat_emphasised": (
        "all weight sits on objectives that do not tell the completions apart",
        "Lower scalarizer.emphasis, raise scalarizer.min_weight, or drop the objective that is "
        "saturated.",
    ),
    "flat_weighted": (
        "objectives disagree and cancel in the weighted sum",
        "Use aggregation: normalize_then_sum, other weights, or a condition that makes one "
        "objective count only where the other is met.",
    ),
}


def _degenerate(recent: Mapping[str, float]) -> Finding:
    kind = max(_DEGENERATE_WORDS, key=lambda name: recent.get(f"degenerate/{name}", 0.0))
    reason, advice = _DEGENERATE_WORDS[kind]
    message = f"{recent['degenerate']:.0%} of the groups teach nothing, mostly because {reason}."
    return Finding("degenerate", message, advice)


def _hacking(history: Sequence[Mapping[str, float]], trusted: str) -> list[Finding]:
    names = sorted({n for m in history for n in m if n.startswith("objective/")})
    if not names:
        return []
    means = np.array([[m.get(name, np.nan) for name in names] for m in history])
    scores = np.array([m.get(trusted, np.nan) for m in history])
    rising = [names[k].removeprefix("objective/") for k in d.reward_hacking(means, scores)]
    if not rising:
        return []
    return [
        Finding(
            "reward_hacking",
            f"{', '.join(rising)} rise while the {trusted.replace('_', ' ')} falls: likely reward "
            "hacking.",
            "Read recent completions, go back to an earlier checkpoint, lower the weight of these "
            "objectives, or raise grpo.beta to stay nearer to the reference.",
        )
    ]
