"""length: a penalty on tokens, as a reward for saying it briefly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NEEDS: frozenset[str] = frozenset()


def length(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    *,
    scores: Any,
    **columns: Any,
) -> list[float | None]:
    """``1 - tokens / max_completion_length``, in [0, 1]; a truncated completion gets 0.

    Args:
        prompts: N prompts.
        completions: N completions.
        completion_ids: N token lists, end token included.
        scores: The scoring pass: ``max_completion_length``, the run's limit.
        **columns: The example's further columns; not read.
    """
    limit = scores.max_completion_length
    return [max(0.0, 1.0 - len(ids) / limit) for ids in completion_ids]
