"""What is odd about the completions of one prompt at one step, worst first.

Pure: arrays of one group in, findings out. Symbols as in ``workbench.types``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.config import RunConfig
from workbench.core.advice import advice, chosen_by_hand
from workbench.core.diagnostics import COLLAPSED, DEGENERATE, degenerate_groups, emphasis_entropy
from workbench.core.findings import Finding
from workbench.formatting import num
from workbench.types import Floats

ORDER = ("bad", "warn", "note", "ok")
TINY = 1e-6
"""Weights, masks and differences of a score up to this are nothing."""
VARIED = 0.02
"""Weights of one group's rows that differ by no more count as one weight vector."""
MOSTLY = 0.75
"""A group that keeps more than this of its advantages is not worth a word; one of which more than
this is the same text is."""
ALIKE = 0.9
"""Texts that share this part of their words are nearly the same."""
WORDS = 2000
"""Words of a text that are compared."""
GAP = 0.05
"""A difference below this part of what the step's rewards span is noise."""


@dataclass(frozen=True)
class Group:
    """What is known of the G completions of one prompt at one step.

    Attributes:
        objectives: names of the K objectives.
        rewards: (G, K) as weighted: after sign, condition and scaling.
        weights: (G, K), NaN where an objective does not apply.
        advantages: (G,).
        judge: (G,), NaN where it was not asked.
        truncated: (G,) whether the token limit was hit.
        policy: (G, K) a Conductor's distribution, or None.
        mask: (G,) factors on the rows' signal; None: all rows are whole.
        judge_share: (G,) how far the judge's score itself made the advantages; None: it did not.
        completions: the texts; empty: not known.
        span: (K,) largest less smallest reward of the whole step; None: not known.
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
    completions: Sequence[str] = ()
    span: Floats | None = None


def findings(group: Group, config: RunConfig | None = None) -> list[Finding]:
    """Everything worth saying about a group, worst first; never empty.

    Args:
        group: the group.
        config: the run's; advice that cannot matter under it is left out.
    """
    found = [
        *_degenerate(group, config),
        *_by_the_judge(group, config),
        *_against_judge(group, config),
        *_alike(group, config),
        *_noise(group, config),
        *_varied(group, config),
        *_collapse(group, config),
        *_truncated(group, config),
        *_held_back(group, config),
    ]
    return sorted(found or [_fine(group)], key=lambda f: ORDER.index(f.level))


def contributions(rewards: Floats, weights: Floats) -> Floats:
    """(G, K): by how much each weighted objective lifts a row above its group's mean."""
    parts = np.nan_to_num(rewards * weights)
    return np.asarray(parts - parts.mean(axis=0))


def _spread(values: Floats) -> float:
    values = values[~np.isnan(values)]
    return float(np.ptp(values)) if len(values) else 0.0


def _differs_by_row(group: Group) -> bool:
    return max((_spread(column) for column in group.weights.T), default=0.0) >= VARIED


def _degenerate(group: Group, config: RunConfig | None) -> list[Finding]:
    aggregation = "sum_then_normalize" if config is None else config.aggregation
    one = np.zeros(len(group.advantages), dtype=np.int64)
    code = DEGENERATE[degenerate_groups(group.rewards, group.weights, one, aggregation)[0]]
    if code == "no":
        return []
    spreads = np.array([_spread(column) for column in group.rewards.T])
    varying = [n for n, s in zip(group.objectives, spreads, strict=True) if s > TINY]
    if code == "flat_all":
        noise = np.abs(group.advantages).max(initial=0.0) > TINY
        return [
            Finding(
                code,
                "This group teaches nothing: every objective is flat.",
                advice(config, "temperature", "group size", "prompts"),
                "All completions got the same reward on every objective, so "
                + (
                    "what their advantages say is the difference of their weights alone."
                    if noise
                    else "every advantage is 0."
                ),
                "bad",
            )
        ]
    if code == "flat_emphasised":
        weight = np.nansum(np.abs(group.weights[:, spreads > TINY]), axis=1).mean()
        return [
            Finding(
                code,
                "This group teaches nothing: all weight sits on flat objectives.",
                advice(
                    config, "floor", "emphasis", "entropy", "anchor entropy", "weights", "saturated"
                ),
                f"Only {', '.join(varying)} differ between the completions, and their weights sum "
                f"to {num(weight)}.",
                "bad",
            )
        ]
    return [
        Finding(
            code,
            "This group teaches nothing: it is flat only after weighting.",
            advice(config, "z-scores", "scaling", "weights"),
            f"{', '.join(varying)} differ, but their weighted sum is the same for every row.",
            "bad",
        )
    ]


def _against_judge(group: Group, config: RunConfig | None) -> list[Finding]:
    asked = ~np.isnan(group.judge)
    if asked.sum() < 2 or _spread(group.judge) <= TINY:
        return []
    judge, advantages = group.judge[asked], group.advantages[asked]
    best = int(np.flatnonzero(asked)[np.argmax(judge)])
    agreement = float(np.mean((judge - judge.mean()) * (advantages - advantages.mean())))
    if agreement >= 0 and group.advantages[best] >= 0:
        return []
    parts = contributions(group.rewards, group.weights)[best]
    blame = int(np.argmin(parts))
    name = group.objectives[blame]
    text = (
        f"Row {best + 1}, which the judge likes best ({num(group.judge[best])}), was pushed "
        f"{'down' if group.advantages[best] < 0 else 'up by only'}"
        f"{' hardest' if int(np.argmin(group.advantages)) == best else ''} "
        f"({num(group.advantages[best], signed=True)}): {name} has weight "
        f"{_range(group.weights[:, blame])} here and puts that row "
        f"{num(abs(parts[blame]))} below its group."
    )
    return [
        Finding(
            "against_judge",
            "Advantage disagrees with the judge on this prompt.",
            advice(config, "center", "emphasis", "anchor", "fraction", "conductor"),
            text,
            "warn",
            best,
            name,
        )
    ]


def _range(values: Floats) -> str:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return num(low) if high - low < 0.005 else f"{num(low)} to {num(high)}"


def _alike(group: Group, config: RunConfig | None) -> list[Finding]:
    """How many texts are nearly the same as the one that most others are like."""
    bags = [Counter(text.casefold().split()[:WORDS]) for text in group.completions]
    sizes = [sum(bag.values()) for bag in bags]
    most = 0
    for bag, size in zip(bags, sizes, strict=True):
        shared = [(bag & other).total() for other in bags]
        longest = [max(size, other) for other in sizes]
        alike = sum(s >= ALIKE * n for s, n in zip(shared, longest, strict=True))
        most = max(most, alike)
    if most < 3 or most < MOSTLY * len(bags):
        return []
    return [
        Finding(
            "alike",
            f"{most} of {len(bags)} completions are nearly the same text.",
            advice(config, "temperature", "group size", "prompts"),
            "A group compares its completions with each other; copies have little to compare.",
            "warn",
        )
    ]


def _noise(group: Group, config: RunConfig | None) -> list[Finding]:
    """Whether dividing by the group's deviation has made a large advantage of a tiny gap."""
    if group.span is None or (config is not None and config.grpo.scale_rewards == "none"):
        return []
    size = np.abs(np.nan_to_num(group.weights)).mean(axis=0)
    whole = float(np.nan_to_num(size * group.span).sum())
    gap = _spread(np.nan_to_num(group.rewards * group.weights).sum(axis=1))
    largest = group.advantages[int(np.argmax(np.abs(group.advantages)))]
    if not TINY * whole < gap < GAP * whole or abs(largest) < 1:
        return []
    return [
        Finding(
            "noise",
            f"A reward gap of {num(gap)} became an advantage of {num(largest, signed=True)}.",
            advice(config, "scale", "temperature", "prompts"),
            f"The rewards of this step span {num(whole)}: here the completions hardly differ, and "
            "dividing by the group's deviation makes the difference as large as any.",
            "warn",
        )
    ]


def _varied(group: Group, config: RunConfig | None) -> list[Finding]:
    """Whether signs come from rows having different weights, and not from the texts."""
    if not _differs_by_row(group):
        return []
    shared = np.nan_to_num(group.rewards * group.weights.mean(axis=0)).sum(axis=1)
    flips = (shared - shared.mean()) * group.advantages < 0
    count = int((flips & (np.abs(group.advantages) > 0.05)).sum())
    if count < max(2, len(flips) // 4):
        return []
    return [
        Finding(
            "drawn_signs",
            f"{count} of {len(flips)} signs come from the drawn emphasis, not from the text.",
            advice(config, "center", "emphasis", "context", "one draw"),
            "With one weight vector for the whole group those rows would be pushed the other way: "
            "rows are scored by different weights, so the level of an objective counts too.",
            "note",
        )
    ]


def _collapse(group: Group, config: RunConfig | None) -> list[Finding]:
    shown = group.policy if group.policy is not None else group.weights
    applies = ~np.isnan(shown).all(axis=0)
    if applies.sum() < 2 or (config is not None and chosen_by_hand(config)):
        return []
    mean = np.nan_to_num(shown).mean(axis=0)[applies]
    entropy = float(emphasis_entropy(mean[None])[0])
    if not entropy < COLLAPSED:
        return []
    name = group.objectives[int(np.flatnonzero(applies)[np.argmax(np.abs(mean))])]
    return [
        Finding(
            "collapse",
            f"The weights have collapsed onto {name}.",
            advice(config, "entropy", "anchor entropy", "rate", "anchor rate", "floor", "anchor"),
            f"Emphasis entropy is {num(entropy)} of 1; the other objectives are as good as off.",
            "warn",
            objective=name,
        )
    ]


def _truncated(group: Group, config: RunConfig | None) -> list[Finding]:
    count, of = int(group.truncated.sum()), len(group.truncated)
    if count * 2 < of or count == 0:
        return []
    return [
        Finding(
            "truncation",
            f"{count} of {of} completions hit the token limit.",
            advice(config, "length"),
            "What a cut-off text earns says little about the text the policy meant.",
            "note",
        )
    ]


def _by_the_judge(group: Group, config: RunConfig | None) -> list[Finding]:
    """Judged groups of a kernel head: the score itself trains them, as far as it is trusted."""
    if group.judge_share is None or not (group.judge_share > TINY).any():
        return []
    share = float(np.nanmax(group.judge_share))
    return [
        Finding(
            "by_the_judge",
            f"{100 * share:.0f} % of these advantages are the judge's own score.",
            advice(config, "judge rows"),
            "The group was judged, so the score trains it directly; the weights make the rest, and "
            "train the groups that were not judged.",
            "note",
        )
    ]


def _held_back(group: Group, config: RunConfig | None) -> list[Finding]:
    """A factor on the signal: of the whole group (an anchor's caution), or of rows (GD2PO)."""
    if group.mask is None:
        return []
    if _spread(group.mask) > TINY:
        out = int((group.mask <= TINY).sum())
        return [
            Finding(
                "masked",
                f"{out} of {len(group.mask)} rows are left out.",
                text="Their objectives pull in opposite directions, so the scalarizer takes them "
                "out.",
                level="note",
            )
        ]
    share = float(group.mask[0])
    if share > MOSTLY:
        return []
    return [
        Finding(
            "held_back",
            f"This group is held back to {100 * share:.0f} % of its advantages.",
            advice(config, "fraction", "caution"),
            f"When it was sampled, {'none' if share < 0.05 else 'few'} of the judged groups had "
            "been like it, and weights without a check can unlearn more than they teach.",
            "note",
        )
    ]


def _fine(group: Group) -> Finding:
    parts = np.abs(contributions(group.rewards, group.weights)).mean(axis=0)
    asked = ~np.isnan(group.judge)
    agrees = asked.sum() >= 2 and _spread(group.judge) > TINY
    message = "Advantage agrees with the judge on this prompt." if agrees else "Nothing stands out."
    lead, total = int(np.argmax(parts)), parts.sum()
    text = (
        f"{group.objectives[lead]} decides most here: {100 * parts[lead] / total:.0f} % of what "
        "separates the rows."
        if total > 0
        else ""
    )
    return Finding("ok", message, text=text, level="ok")
