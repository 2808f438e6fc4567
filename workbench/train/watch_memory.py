"""What the watching of a training decides by.

It is part of every checkpoint, so that a resumed run warns, stops and counts as one that went
through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LONG = ("weight/", "policy/", "length/", "truncated/", "kl/", "emphasis_entropy/")
"""Metrics that no finding reads; left out, so that checkpoints stay small."""


@dataclass
class WatchMemory:
    """Diagnostics of every step so far, findings that were told, judge calls by split."""

    history: list[dict[str, float]] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    judge_calls: dict[str, int] = field(default_factory=dict)

    def add(self, diagnostics: Mapping[str, float]) -> None:
        """Remember one step; an anchor's few groups are a noisier judge than the probes."""
        kept = {k: v for k, v in diagnostics.items() if not k.startswith(LONG) and k != "judge"}
        self.history.append(kept)

    def state(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "history": self.history,
            "told": sorted(self.told),
            "judge_calls": self.judge_calls,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned, in place: others hold ``judge_calls``."""
        self.history[:] = state["history"]
        self.told = set(state["told"])
        self.judge_calls.clear()
        self.judge_calls.update(state["judge_calls"])
