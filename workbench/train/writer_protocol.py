"""Where a trainer publishes what it does: ``store.writer.RunWriter``, or a list in a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from workbench.types import RolloutBatch


class Publisher(Protocol):
    """The part of RunWriter that a trainer uses; every call returns at once."""

    def rollouts(self, batch: RolloutBatch) -> None:
        """Publish the N completions of one step."""
        ...

    def metrics(self, step: int, values: Mapping[str, float], split: str = "train") -> None:
        """Publish named numbers of one step."""
        ...

    def conductor_update(self, step: int, values: Mapping[str, Any]) -> None:
        """Publish one update of the Conductor."""
        ...

    def checkpoint(self, step: int, path: Path, values: Mapping[str, Any]) -> None:
        """Publish a saved or removed checkpoint."""
        ...

    def warning(self, step: int, code: str, message: str, advice: str) -> None:
        """Publish a finding of the diagnostics."""
        ...

    def state(self, **changes: Any) -> None:
        """Merge into the run's state."""
        ...

    def flush(self) -> bool:
        """Wait until everything so far is durable; False when it could not be written."""
        ...


class NullWriter:
    """What the other processes of a distributed run publish to: one process writes the store."""

    attempt = 0
    problems: tuple[str, ...] = ()

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        """Ignore what is published."""

    rollouts = metrics = conductor_update = checkpoint = evaluation = warning = _nothing
    state = close = _nothing

    def flush(self) -> bool:
        """There is nothing to write."""
        return True
