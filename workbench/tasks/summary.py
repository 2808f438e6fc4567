"""A task in one screen: what would be trained on, and what the model would see of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

import numpy as np

from workbench.formatting import clipped
from workbench.tasks.tokens import coverage, read_tokenizer
from workbench.types import Task

MOST_KINDS = 12
SHOWN = 800
"""Characters of the prompt that is shown."""


@dataclass(frozen=True)
class Tokens:
    """Lengths of the prompts in tokens, and how much of them the model knows."""

    median: float
    most_of_them: float
    longest: int
    covered: float


@dataclass(frozen=True)
class TaskSummary:
    """Counts of a task; ``shown`` is one prompt as the model gets it, special tokens included."""

    train: int
    calibration: int
    report: int
    with_reference: int
    conversations: int
    kinds: dict[str, int]
    columns: list[str]
    notes: list[str] = field(default_factory=list)
    tokens: Tokens | None = None
    shown: str = ""

    def as_dict(self) -> dict[str, object]:
        """The same as plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The summary for people, a line a fact."""
        found = [
            f"{self.train:,} to train on, {self.calibration:,} for probes, {self.report:,} held "
            f"out; {self.with_reference:,} with a reference, {self.conversations:,} conversations"
        ]
        kinds = [f"{clipped(kind, 40)} {n:,}" for kind, n in self.kinds.items()]
        more = f" and {len(kinds) - MOST_KINDS} more" if len(kinds) > MOST_KINDS else ""
        found.append("kinds: " + ", ".join(kinds[:MOST_KINDS]) + more)
        if self.columns:
            names = ", ".join(self.columns)
            found.append("columns that objectives receive: " + clipped(names, 300))
        if self.tokens is not None:
            found.append(
                f"tokens a prompt: {self.tokens.median:g} in the median, 95 % have at most "
                f"{self.tokens.most_of_them:g}, the longest {self.tokens.longest}; the tokenizer "
                f"knows {100 * self.tokens.covered:.1f} % of them"
            )
        found += [f"note: {note}" for note in self.notes]
        return found


def summarise(task: Task, model: str | None = None, system: str | None = None) -> TaskSummary:
    """What there is to say of a task.

    Args:
        task: as it was read.
        model: whose tokenizer is asked; None: none is.
        system: the policy's system prompt.

    Raises:
        ValueError: the prompts are conversations and the model has no chat template.
    """
    everything = [*task.train, *task.calibration, *task.report]
    notes, tokens, shown = list(task.notes), None, ""
    reader = None if model is None else read_tokenizer(model)
    if model is not None and reader is None:
        notes.append(f"no tokenizer.json of {model} on this machine: tokens are not counted")
    if reader is not None:
        found = coverage(reader, everything, system)
        lengths = np.array(found.lengths)
        tokens = Tokens(
            float(np.median(lengths)),
            float(np.quantile(lengths, 0.95, method="higher")),
            int(lengths.max()),
            found.share,
        )
        shown = reader.shown(task.train[0].prompt, system)[:SHOWN]
    without = sum(example.reference is None for example in everything)
    if 0 < without < len(everything):
        notes.append(
            f"{without:,} of {len(everything):,} prompts have no reference: perplexity then scores "
            "the completion itself"
        )
    return TaskSummary(
        train=len(task.train),
        calibration=len(task.calibration),
        report=len(task.report),
        with_reference=len(everything) - without,
        conversations=sum(not isinstance(e.prompt, str) for e in everything),
        kinds=dict(Counter(e.kind for e in everything).most_common()),
        columns=sorted({name for e in everything for name in e.extra}),
        notes=notes,
        tokens=tokens,
        shown=shown,
    )
