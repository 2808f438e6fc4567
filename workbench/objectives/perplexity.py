"""perplexity: how probable the reference answer becomes once prompt and response are given.

NOVER's idea (arXiv 2505.16022): a response that reasons well makes the reference answer likely, so
the answer's perplexity can stand in for a verifier. The map is ``exp(mean log p)`` over the
answer's tokens, the inverse perplexity: in (0, 1], monotone, 1 when the answer is certain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

NEEDS = frozenset({"answer"})


def perplexity(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    *,
    scores: Any,
    **columns: Any,
) -> list[float | None]:
    """Inverse perplexity of the reference answer after prompt and response, in (0, 1].

    A row without a reference answer gets the inverse perplexity of its own completion: under the
    frozen reference policy where the run has a reference pass, else under the policy itself. An
    empty completion without an answer gets None.

    Args:
        prompts: N prompts.
        completions: N completions.
        completion_ids: N token lists.
        scores: The scoring pass: ``answer_logps``, ``reference_token_logps`` and ``token_logps``,
            per row one log-probability per token, in nats.
        **columns: The example's further columns; not read.
    """
    answers = scores.answer_logps or [None] * len(completions)
    own = scores.token_logps
    if scores.reference_token_logps is not None:
        own = scores.reference_token_logps
    return [
        inverse_perplexity(fallback if answer is None else answer)
        for answer, fallback in zip(answers, own, strict=True)
    ]


def inverse_perplexity(token_logps: Sequence[float]) -> float | None:
    """``exp(mean log p)``; None where there are no tokens."""
    if len(token_logps) == 0:
        return None
    return math.exp(float(np.mean(token_logps)))
