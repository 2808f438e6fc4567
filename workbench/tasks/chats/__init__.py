"""Chats: the seven kinds of the etudes in real English, for chat models that people use.

Prompts are chat messages, written or composed for this package; no text of others. Every kind has a
reference answer and a judge of rules in [0, 1] that a person would agree with on good, bad and gamed
answers (``tests/test_tasks_chats.py``). Kinds differ in what they ask for, as the etudes do:

    kind       mirrors            what its judge pays for
    reason     Natural Reasoning  the right number, with its working
    story      SS-GEN             several different sentences about the asked hero and thing
    instruct   WebInstruct        a numbered list of exactly so many short entries
    belief     ToMBench           one decided, right answer
    fact       GeneralThoughts    one right word, and nothing else
    translate  OPUS-Books         agreement with the reference
    comfort    EmoBench           understanding, and a next step
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from workbench.tasks.chats import belief, comfort, fact, instruct, reason, story, translate
from workbench.tasks.chats.measures import Item, Rubric
from workbench.tasks.etudes import split_of, take_turns
from workbench.types import Example, Task


@dataclass(frozen=True)
class Kind:
    """One kind of chat: every prompt that there is, and its judge (rubric, text, prompt)."""

    items: Callable[[], list[Item]]
    judge: Callable[[Rubric, str, str], float]


KINDS: dict[str, Kind] = {
    "reason": Kind(reason.items, reason.judge),
    "story": Kind(story.items, story.judge),
    "instruct": Kind(instruct.items, instruct.judge),
    "belief": Kind(belief.items, belief.judge),
    "fact": Kind(fact.items, fact.judge),
    "translate": Kind(translate.items, translate.judge),
    "comfort": Kind(comfort.items, comfort.judge),
}
"""The seven kinds by name, in the paper's order of benchmarks."""

ANSWER_LEAD = "\nThe answer in short: "
"""What stands between a completion and the reference answer when the latter is scored."""


def load(seed: int = 0, kinds: tuple[str, ...] = (), limit: int | None = None) -> Task:
    """Make the task.

    Args:
        seed: Orders the prompts; which split a prompt belongs to depends on its text alone.
        kinds: Kinds to keep; all when empty.
        limit: Keep at most this many train prompts, evenly over the kinds.

    Returns:
        The task; within each split the kinds take turns. ``extra`` has ``format`` and ``rubric``,
        the latter what the judge knows, as JSON.

    Raises:
        ValueError: A kind is not one of the seven.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise ValueError(f"task.kinds: {unknown} unknown; chats has {list(KINDS)}")
    drawn: dict[str, list[list[Example]]] = {"train": [], "calibration": [], "report": []}
    for kind in (k for k in KINDS if not kinds or k in kinds):
        found = KINDS[kind].items()
        Random(f"{kind} {seed}").shuffle(found)
        for split, columns in drawn.items():
            columns.append([example(kind, i) for i in found if split_of(i.prompt) == split])
    splits = {split: tuple(take_turns(columns)) for split, columns in drawn.items()}
    return Task(
        name="chats",
        train=splits["train"][:limit],
        calibration=splits["calibration"],
        report=splits["report"],
        judge=judge,
        answer_lead=ANSWER_LEAD,
    )


def example(kind: str, item: Item) -> Example:
    """One prompt as the trainer and the judge see it: a chat of one message."""
    return Example(
        prompt=({"role": "user", "content": item.prompt},),
        prompt_id=blake2b(item.prompt.encode(), digest_size=6).hexdigest(),
        kind=kind,
        reference=item.reference,
        extra={"format": item.format, "rubric": json.dumps(item.rubric, sort_keys=True)},
    )


def judge(example: Example, completion: str) -> float:
    """Score one completion of one chat in [0, 1], by the rules of its kind.

    Raises:
        ValueError: The example is none of the chats.
    """
    if example.kind not in KINDS or "rubric" not in example.extra:
        raise ValueError(
            f"prompt {example.prompt_id}: kind {example.kind!r} has no judge; "
            f"chats has {list(KINDS)}"
        )
    prompt = example.prompt if isinstance(example.prompt, str) else example.prompt[-1]["content"]
    score = KINDS[example.kind].judge(json.loads(example.extra["rubric"]), completion, prompt)
    return min(1.0, max(0.0, score))
