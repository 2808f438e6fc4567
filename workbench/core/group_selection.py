"""How much of the prompts has been judged: which groups to ask about, and how far to go without.

Equal weights, with which an anchored Conductor starts, can unlearn in a dozen steps what a family
of prompts could do, before the first of its groups is judged. Two things follow from the hidden
states that the Conductor reads anyway: ask about the groups that are least like those that were
judged, and hold the policy back on those that are like none of them.
"""

from __future__ import annotations

import numpy as np

from workbench.types import Floats, Ints


class JudgeBudget:
    """How many groups may be judged at a step.

    The ``first`` groups are judged at once, because weights matter most while the policy is young;
    then none until the budget has caught up. From there on floor(fraction * groups seen so far)
    are judged in all: what a step cannot spend whole is carried over, so that 1/16 of 8 groups is
    one group every second step.
    """

    def __init__(self, fraction: float, first: int = 0, planned: int | None = None) -> None:
        """``planned``: groups of the whole run; its budget may be smaller than ``first``."""
        self.fraction = fraction
        self.first = first if planned is None else min(first, int(fraction * planned + 1e-9))
        self.due = 0.0
        self.asked = 0

    def take(self, groups: int) -> int:
        """Count a step of so many groups; how many of them are judged."""
        self.due += self.fraction * groups
        wanted = max(int(self.due + 1e-9), self.first - self.asked)
        count = min(groups, max(0, wanted))
        self.due -= count
        self.asked += count
        return count


def similarity(contexts: Floats, others: Floats) -> Floats:
    """Squared cosines of (B, D) with (M, D) standardised contexts, 0 where they point apart."""
    here, there = (
        x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-12) for x in (contexts, others)
    )
    return np.asarray(np.maximum(here @ there.T, 0.0) ** 2)


def coverage(contexts: Floats, judged: Floats) -> Floats:
    """Judged groups that each context is like, (B,): the sum of its similarities to (M, D)."""
    return np.asarray(similarity(contexts, judged).sum(axis=1))


def signal_share(covered: Floats, caution: float) -> Floats:
    """Share of the advantages that is kept: 1 - caution / (1 + n) with n judged groups alike.

    With ``caution`` 1 that is n / (n + 1), the factor by which a mean of n observations shrinks
    under a prior that is worth one: nothing where no group was judged, half after one group.
    """
    return np.asarray(1.0 - caution / (1.0 + covered))


def most_novel(contexts: Floats, judged: Floats, count: int) -> Ints:
    """``count`` of B groups, one after the other the one least like what is judged by then.

    Args:
        contexts: (B, D) standardised contexts of the groups on offer; the first wins a tie.
        judged: (M, D) those of the judged groups.
        count: how many to choose, at most B.
    """
    covered = coverage(contexts, judged)
    alike = similarity(contexts, contexts)
    chosen: list[int] = []
    for _ in range(count):
        open_ = np.where(np.isin(np.arange(len(covered)), chosen), np.inf, covered)
        chosen.append(int(np.argmin(open_)))
        covered = covered + alike[chosen[-1]]
    return np.array(chosen, dtype=np.int64)
