"""The judge as a plain reward: on every group, or on the share that an anchor would have paid for.

The controls of the benchmark: what the same trusted scores are worth without a Conductor.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import groupby
from typing import Any

from workbench.objectives.format import text_of
from workbench.tasks.etudes.judge import judge as score
from workbench.types import Example


def judge(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    prompt_id: Sequence[str],
    kind: Sequence[str],
    rubric: Sequence[str],
    fraction: float = 1.0,
    **columns: Any,
) -> list[float | None]:
    """Judge's score of each completion; None for the groups that were not drawn.

    Consecutive rows of one prompt are a group. round(B * fraction) groups of a call are drawn, by
    the hash of their prompt and text, so that a resumed run draws the same ones.
    """
    texts = [text_of(c) for c in completions]
    rows = list(range(len(texts)))
    groups = [list(g) for _, g in groupby(rows, key=lambda i: prompt_id[i])]
    order = sorted(range(len(groups)), key=lambda g: _draw(prompt_id, texts, groups[g]))
    judged = {i for g in order[: round(len(groups) * fraction)] for i in groups[g]}
    return [
        score(Example("", prompt_id[i], kind[i], extra={"rubric": rubric[i]}), texts[i])
        if i in judged
        else None
        for i in rows
    ]


def _draw(prompt_id: Sequence[str], texts: Sequence[str], group: Sequence[int]) -> bytes:
    key = "\n".join([prompt_id[group[0]], *(texts[i] for i in group)])
    return blake2b(key.encode(), digest_size=8).digest()
