"""What was noticed, in words; and what the history of a run's metrics says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.config import RunConfig
from workbench.core.advice import advice
from workbench.core.diagnostics import reward_hacking

AUDIT_TOLERANCE = 1e-8
"""Largest difference of recomputed from used advantages that float64 arithmetic explains."""


@dataclass(frozen=True)
class Finding:
    """Something that was noticed of a group, a step or a run.

    Attributes:
        code: stable name of its kind.
        message: what is seen, in a sentence.
        advice: what to try; empty where nothing can help.
        text: why, with the figures.
        level: ``bad``, ``warn``, ``note`` or ``ok``.
        row: the row of the group that it is about.
        objective: the objective that it is about.
    """

    code: str
    message: str
    advice: str = ""
    text: str = ""
    level: str = "warn"
    row: int | None = None
    objective: str | None = None


def warnings_from(
    history: Sequence[Mapping[str, float]],
    trusted: str = "judge",
    window: int = 10,
    config: RunConfig | None = None,
) -> list[Finding]:
    """What the metrics of the steps so far say, in words.

    Args:
        history: one mapping per step, oldest first, as ``diagnostics.step_metrics`` gives them.
        trusted: metric that rising objectives are held against: ``judge``, ``anchor_agreement``.
        window: steps that a present state is averaged over; fewer steps say nothing but an audit.
        config: the run's; advice that cannot matter under it is left out.

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
                advice(
                    config, "entropy", "anchor entropy", "rate", "anchor rate", "emphasis", "anchor"
                ),
            )
        )
    if recent.get("degenerate", 0.0) > 0.5:
        found.append(_degenerate(recent, config))
    if recent.get("truncated", 0.0) > 0.3:
        found.append(
            Finding(
                "truncation",
                f"{recent['truncated']:.0%} of the completions hit the token limit; their rewards "
                "are those of unfinished text.",
                advice(config, "length", "stop sooner"),
            )
        )
    return found + _hacking(history, trusted)


_WHY = {
    "flat_all": (
        "every objective gives all completions of a group the same reward",
        ("temperature", "group size", "prompts"),
    ),
    "flat_emphasised": (
        "all weight sits on objectives that do not tell the completions apart",
        ("emphasis", "floor", "weights", "saturated"),
    ),
    "flat_weighted": (
        "objectives disagree and cancel in the weighted sum",
        ("z-scores", "scaling", "weights"),
    ),
}
"""Kinds of groups that teach nothing: why, and what to try."""


def _degenerate(recent: Mapping[str, float], config: RunConfig | None) -> Finding:
    kind = max(_WHY, key=lambda name: recent.get(f"degenerate/{name}", 0.0))
    reason, changes = _WHY[kind]
    message = f"{recent['degenerate']:.0%} of the groups teach nothing, mostly because {reason}."
    return Finding("degenerate", message, advice(config, *changes))


def _hacking(history: Sequence[Mapping[str, float]], trusted: str) -> list[Finding]:
    names = sorted({n for m in history for n in m if n.startswith("objective/")})
    if not names:
        return []
    means = np.array([[m.get(name, np.nan) for name in names] for m in history])
    scores = np.array([m.get(trusted, np.nan) for m in history])
    rising = [names[k].removeprefix("objective/") for k in reward_hacking(means, scores)]
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
