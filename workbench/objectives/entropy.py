"""entropy: how open the policy's choices were while it wrote, mapped to [0, 1).

The mean entropy H of the completion's next-token distributions, in nats, becomes 1 - exp(-H):
exp(H) is the effective number of words that could have come next, so 0 means "there was one", 0.5
"two", 0.9 "ten". Unlike H / log V the value does not depend on the size of the vocabulary. With
``sign: -1`` the objective asks for certainty, as entropy minimisation does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

NEEDS = frozenset({"entropy"})


def entropy(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    *,
    scores: Any,
    **columns: Any,
) -> list[float | None]:
    """``1 - exp(-mean token entropy)``, in [0, 1); None for an empty completion.

    Args:
        prompts: N prompts.
        completions: N completions.
        completion_ids: N token lists.
        scores: The scoring pass: ``token_entropies``, per row one value per token, in nats.
        **columns: The example's further columns; not read.
    """
    return [
        1.0 - math.exp(-float(np.mean(values))) if len(values) else None
        for values in scores.token_entropies
    ]
