"""The sentence that says what is wrong with a group, and what to try.

Pure: arrays of one group in, findings out, worst first. Symbols as in ``workbench.types``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.formatting import num
from workbench.types import Floats

FLAT = 1e-6
COLLAPSE = 0.1
MOSTLY = 0.75
"""A group that keeps more than this of its advantages is not worth a word."""
ORDER = ("bad", "warn", "note", "ok")


@dataclass(frozen=True)
class Group:
    """What is known of the G completions of one prompt at one step.

    ``rewards`` are those that were weighted (after sign, condition and scaling), ``weights`` and
    ``policy`` are (G, K) or None, the rest is (G,); ``judge`` is NaN where nobody asked, ``mask``
    holds factors on the rows' signal, None where all rows are whole; ``judge_share`` says how far
    the judge's score itself made the advantages, None where it did not.
    """

    objectives: Sequence[str]
    rewards: Floats
    weights: Floats
    advantages: Floats
    judge: Floats
    truncated: np.ndarray
    policy: Floats | None = None
    mask: Floats | None = None
    judge_share: Floats | None = None


@dataclass(frozen=True)
class Finding:
    """One finding: how bad, what is seen, why, what to try; ``row`` is the row it is about."""

    level: str
    title: str
    text: str
    advice: str = ""
    row: int | None = None
    objective: str | None = None


def findings(group: Group) -> list[Finding]:
    """Everything worth saying about a group, worst first; never empty."""
    found = [
        *_flat(group),
        *_by_the_judge(group),
        *_against_judge(group),
        *_yardsticks(group),
        *_collapse(group),
        *_truncated(group),
        *_held_back(group),
    ]
    if not found:
        found = [_fine(group)]
    return sorted(found, key=lambda f: ORDER.index(f.level))


def contributions(group: Group) -> Floats:
    """(G, K): by how much each weighted objective lifts a row above its group's mean."""
    parts = np.where(np.isnan(group.rewards), 0.0, group.rewards) * group.weights
    return np.asarray(parts - parts.mean(axis=0))


def _spread(values: Floats) -> float:
    values = values[~np.isnan(values)]
    return float(np.ptp(values)) if len(values) else 0.0


def _flat(group: Group) -> list[Finding]:
    silent = group.mask is not None and float(np.max(group.mask)) <= FLAT
    if silent or np.abs(group.advantages).max(initial=0.0) > FLAT:
        return []
    spreads = np.array([_spread(column) for column in group.rewards.T])
    if (spreads <= FLAT).all():
        return [
            Finding(
                "bad",
                "This group teaches nothing: every objective is flat.",
                "All completions got the same reward on every objective, so every advantage is 0.",
                "Raise the sampling temperature or the group size, or drop prompts this easy.",
            )
        ]
    varying = [n for n, s in zip(group.objectives, spreads, strict=True) if s > FLAT]
    weight = np.abs(group.weights[:, spreads > FLAT]).sum(axis=1).mean()
    if weight < 1e-3:
        return [
            Finding(
                "bad",
                "This group teaches nothing: all weight sits on flat objectives.",
                f"Only {', '.join(varying)} differ between the completions, and their weights sum "
                f"to {num(weight)}.",
                "Give the Conductor a floor (min_weight), lower emphasis, or raise entropy_coef.",
            )
        ]
    return [
        Finding(
            "bad",
            "This group teaches nothing: it is flat only after weighting.",
            f"{', '.join(varying)} differ, but their weighted sum is the same for every row.",
            "Try normalize_then_sum, or another reward_scaling: the differences cancel.",
        )
    ]


def _against_judge(group: Group) -> list[Finding]:
    asked = ~np.isnan(group.judge)
    if asked.sum() < 2 or _spread(group.judge) <= FLAT:
        return []
    judge, advantages = group.judge[asked], group.advantages[asked]
    rows = np.flatnonzero(asked)
    best = rows[int(np.argmax(judge))]
    agreement = float(np.mean((judge - judge.mean()) * (advantages - advantages.mean())))
    if agreement >= 0 and group.advantages[best] >= 0:
        return []
    lowest = int(np.argmin(group.advantages)) == best
    parts = contributions(group)[best]
    blame = int(np.argmin(parts))
    name = group.objectives[blame]
    text = (
        f"Row {best + 1}, which the judge likes best ({num(group.judge[best])}), was pushed "
        f"{'down' if group.advantages[best] < 0 else 'up by only'}"
        f"{' hardest' if lowest else ''} ({num(group.advantages[best], signed=True)}): {name} "
        f"has weight {_range(group.weights[:, blame])} here and puts that row "
        f"{num(abs(parts[blame]))} below its group."
    )
    return [
        Finding(
            "warn",
            "Advantage disagrees with the judge on this prompt.",
            text,
            "Try center_objectives, a lower emphasis, or an anchor on a few judged groups.",
            int(best),
            name,
        )
    ]


def _range(values: Floats) -> str:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return num(low) if high - low < 0.005 else f"{num(low)} to {num(high)}"


def _yardsticks(group: Group) -> list[Finding]:
    """Rows of one group scored by different weights: does the draw decide the sign?"""
    if max((_spread(column) for column in group.weights.T), default=0.0) < 0.02:
        return []
    rewards = np.where(np.isnan(group.rewards), 0.0, group.rewards)
    shared = rewards @ group.weights.mean(axis=0)
    shared = shared - shared.mean()
    flips = (shared * group.advantages < 0) & (np.abs(group.advantages) > 0.05)
    count = int(flips.sum())
    if count < max(2, len(flips) // 4):
        return []
    return [
        Finding(
            "note",
            f"{count} of {len(flips)} signs come from the drawn emphasis, not from the text.",
            "With one weight vector for the whole group those rows would be pushed the other way: "
            "rows are scored by different yardsticks, so the level of an objective counts too.",
            "Try center_objectives, a lower emphasis, or context: prompt.",
        )
    ]


def _collapse(group: Group) -> list[Finding]:
    shown = group.policy if group.policy is not None else group.weights
    mean = shown.mean(axis=0)
    count = len(group.objectives)
    if count < 2 or mean.sum() <= 0:
        return []
    share = mean / mean.sum()
    entropy = float(-(share * np.log(np.maximum(share, 1e-12))).sum() / np.log(count))
    if entropy >= COLLAPSE:
        return []
    name = group.objectives[int(np.argmax(mean))]
    return [
        Finding(
            "warn",
            f"The weights have collapsed onto {name}.",
            f"Emphasis entropy is {num(entropy)} of 1; the other objectives are as good as off.",
            "Raise entropy_coef, lower the Conductor's learning_rate, or set min_weight.",
            objective=name,
        )
    ]


def _truncated(group: Group) -> list[Finding]:
    count, of = int(group.truncated.sum()), len(group.truncated)
    if count * 2 < of or count == 0:
        return []
    return [
        Finding(
            "note",
            f"{count} of {of} completions hit the token limit.",
            "What a cut-off text earns says little about the text the policy meant.",
            "Raise grpo.max_completion_length.",
        )
    ]


def _by_the_judge(group: Group) -> list[Finding]:
    """Judged groups of a kernel head: the score itself trains them, as far as it is trusted."""
    if group.judge_share is None or not (group.judge_share > FLAT).any():
        return []
    share = float(np.nanmax(group.judge_share))
    return [
        Finding(
            "note",
            f"{100 * share:.0f} % of these advantages are the judge's own score.",
            "The group was judged, so the score trains it directly; the weights make the rest, and "
            "train the groups that were not judged.",
            "anchor.judge_rows: false trains judged groups by weights alone.",
        )
    ]


def _held_back(group: Group) -> list[Finding]:
    """A factor on the signal: of the whole group (an anchor's caution), or of rows (GD2PO)."""
    if group.mask is None:
        return []
    if _spread(group.mask) > FLAT:
        out = int((group.mask <= FLAT).sum())
        return [
            Finding(
                "note",
                f"{out} of {len(group.mask)} rows are left out.",
                "Their objectives pull in opposite directions, so the scalarizer takes them out.",
            )
        ]
    share = float(group.mask[0])
    if share > MOSTLY:
        return []
    alike = "none" if share < 0.05 else "few"
    return [
        Finding(
            "note",
            f"This group is held back to {100 * share:.0f} % of its advantages.",
            f"When it was sampled, {alike} of the judged groups had been like it, and weights that "
            "nobody checked can unlearn more than they teach.",
            "Raise anchor.fraction to judge more groups, or lower anchor.caution.",
        )
    ]


def _fine(group: Group) -> Finding:
    parts = np.abs(contributions(group)).mean(axis=0)
    total = parts.sum()
    if total <= 0:
        return Finding("ok", "Nothing stands out.", "")
    lead = int(np.argmax(parts))
    text = (
        f"{group.objectives[lead]} decides most here: {100 * parts[lead] / total:.0f} % of what "
        "separates the rows."
    )
    asked = ~np.isnan(group.judge)
    if asked.sum() >= 2 and _spread(group.judge) > FLAT:
        return Finding("ok", "Advantage agrees with the judge on this prompt.", text)
    return Finding("ok", "Nothing stands out.", text)
