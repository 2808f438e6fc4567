"""The hidden judge of the etudes: scores a completion in [0, 1] by the rules of its family.

The rules stand in the docstring of each family's ``judge``. Words are compared in lower case and
without regard to how punctuation is spaced, so that any policy can be judged, not only the tiny
one. Training never sees this score unless an anchor pays for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from workbench.objectives.format import text_of
from workbench.objectives.signature import examples_of
from workbench.tasks.etudes import belief, comfort, fact, instruct, reason, story, translate
from workbench.types import Example

RULES = {
    module.FAMILY.kind: module.FAMILY.judge
    for module in (reason, story, instruct, belief, fact, translate, comfort)
}


def judge(example: Example, completion: str) -> float:
    """Score one completion of one example.

    Raises:
        ValueError: The example is none of the etudes.
    """
    if example.kind not in RULES or "rubric" not in example.extra:
        raise ValueError(
            f"prompt {example.prompt_id}: kind {example.kind!r} has no judge; "
            f"etudes has {list(RULES)}"
        )
    score = RULES[example.kind](json.loads(example.extra["rubric"]), words_of(completion))
    return min(1.0, max(0.0, score))


def judges(
    prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
) -> list[float | None]:
    """Scores of N completions: ``judge`` with the signature of every reward function."""
    rows = zip(examples_of(prompts, columns), completions, strict=True)
    return [judge(example, text_of(completion)) for example, completion in rows]


def words_of(text: str) -> list[str]:
    """Lower-case words and single punctuation marks."""
    return re.findall(r"[a-z0-9']+|[^\sa-z0-9']", text.lower())
