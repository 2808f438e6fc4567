"""Etudes: seven small task families, one for each benchmark of the MAESTRO paper.

Each family needs another trade-off of the five objectives, so that no single static weighting is
best for all. Everything is generated from a seed out of a closed vocabulary; a policy and a reward
model small enough to train in seconds ship beside this file, with the script that made them
(``python -m workbench.tasks.etudes.build``).

    kind       mirrors            what its judge pays for
    reason     Natural Reasoning  working and conclusion: long, certain
    story      SS-GEN             several different events: long, varied
    instruct   WebInstruct        a numbered form
    belief     ToMBench           one decided, right answer
    fact       GeneralThoughts    one right word: short, certain
    translate  OPUS-Books         agreement with the reference
    comfort    EmoBench           warmth: long, kind
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import chain, zip_longest
from pathlib import Path
from random import Random

from workbench.tasks.etudes import belief, comfort, fact, instruct, reason, story, translate
from workbench.tasks.etudes.family import Family, Item
from workbench.tasks.etudes.judge import judges
from workbench.types import Example, Task

FAMILIES: dict[str, Family] = {
    module.FAMILY.kind: module.FAMILY
    for module in (reason, story, instruct, belief, fact, translate, comfort)
}
"""The seven families by kind, in the paper's order of benchmarks."""

MODELS = Path(__file__).parent / "models"
POLICY_DIR = MODELS / "policy"
"""The tiny warm start: a directory for ``from_pretrained``."""
REWARD_DIR = MODELS / "reward"
"""The tiny reward model: a directory for ``from_pretrained``."""

ANSWER_LEAD = "answer :"
"""What stands between a completion and the reference answer when the latter is scored."""

QUOTAS = {"train": 320, "calibration": 12, "report": 24}
"""Prompts per family and split."""


def split_of(prompt: str) -> str:
    """The split that a prompt belongs to, whatever the seed: 70 % train, 10 % and 20 % held out.

    It depends on the text alone, so that the models that ship (warm-started on train prompts) have
    never seen a held-out prompt of any seed.
    """
    bucket = blake2b(prompt.encode(), digest_size=8).digest()[0] % 10
    return "calibration" if bucket == 0 else "report" if bucket < 3 else "train"


def items(kind: str, seed: int) -> dict[str, list[Item]]:
    """The prompts of one family, drawn in the order of ``seed``, by split."""
    pool = FAMILIES[kind].pool()
    Random(f"{kind} {seed}").shuffle(pool)
    drawn: dict[str, list[Item]] = {split: [] for split in QUOTAS}
    for item in pool:
        split = split_of(item.prompt)
        if len(drawn[split]) < QUOTAS[split]:
            drawn[split].append(item)
    return drawn


def load(seed: int = 0, kinds: tuple[str, ...] = (), limit: int | None = None) -> Task:
    """Generate the suite.

    Args:
        seed: Chooses and orders the prompts.
        kinds: Families to keep; all when empty.
        limit: Keep at most this many train prompts, evenly over the families.

    Returns:
        The task; within each split the kinds take turns. ``extra`` has ``format`` and ``rubric``,
        the latter what the judge knows, as JSON.

    Raises:
        ValueError: A kind is not one of the seven.
    """
    unknown = sorted(set(kinds) - set(FAMILIES))
    if unknown:
        raise ValueError(f"task.kinds: {unknown} unknown; etudes has {list(FAMILIES)}")
    chosen = [kind for kind in FAMILIES if not kinds or kind in kinds]
    drawn = {kind: items(kind, seed) for kind in chosen}
    splits = {
        split: tuple(take_turns([examples(kind, drawn[kind][split]) for kind in chosen]))
        for split in QUOTAS
    }
    return Task(
        name="etudes",
        train=splits["train"][:limit],
        calibration=splits["calibration"],
        report=splits["report"],
        judge=judges,
        answer_lead=ANSWER_LEAD,
    )


def examples(kind: str, drawn: list[Item]) -> list[Example]:
    """The prompts of one family as the trainer and the judge see them."""
    return [
        Example(
            prompt=item.prompt,
            prompt_id=blake2b(item.prompt.encode(), digest_size=6).hexdigest(),
            kind=kind,
            reference=item.reference,
            extra={"format": item.format, "rubric": item.rubric_json},
        )
        for item in drawn
    ]


def take_turns(columns: list[list[Example]]) -> list[Example]:
    """Interleave lists until all are used up."""
    return [e for e in chain.from_iterable(zip_longest(*columns)) if e is not None]
