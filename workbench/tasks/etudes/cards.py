"""What the shipped models are and how they do: measured by the build, written beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.objectives.preference import make_preference
from workbench.tasks.etudes import FAMILIES
from workbench.tasks.etudes.judge import judge
from workbench.types import Example

SAMPLES, MAX_TOKENS = 16, 48


@dataclass(frozen=True)
class Figures:
    """Measured on calibration prompts, 16 samples each at temperature 1; all by kind.

    ``judge`` is the warm start's mean judge score, ``spread`` its deviation within a prompt,
    ``tokens`` the mean length, ``agreement`` the share of pairs of samples of one prompt that the
    reward model orders as the judge does, pairs that the judge ties left out.
    """

    judge: dict[str, float]
    spread: dict[str, float]
    tokens: dict[str, float]
    agreement: dict[str, float]
    parameters: dict[str, int]

    @property
    def overall(self) -> dict[str, float]:
        """Means over the kinds."""
        return {
            name: float(np.mean(list(getattr(self, name).values())))
            for name in ("judge", "spread", "tokens", "agreement")
        }


def measure(policy: Path, reward: Path, examples: Sequence[Example]) -> Figures:
    """Sample the policy on every example and compare the reward model with the judge."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    model = AutoModelForCausalLM.from_pretrained(policy)
    prefer = make_preference(reward, device="cpu")
    found: dict[str, list[tuple[float, float, float, list[bool]]]] = {kind: [] for kind in FAMILIES}
    for example in examples:
        inputs = tokenizer([str(example.prompt)] * SAMPLES, return_tensors="pt")
        outputs = model.generate(**inputs, do_sample=True, max_new_tokens=MAX_TOKENS)
        new = outputs[:, inputs["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(new, skip_special_tokens=True)
        scores = np.array([judge(example, text) for text in texts])
        liked = prefer(prompts=[example.prompt] * SAMPLES, completions=texts, completion_ids=new)
        order = [
            (scores[i] > scores[j]) == (liked[i] > liked[j])  # type: ignore[operator]
            for i, j in combinations(range(SAMPLES), 2)
            if scores[i] != scores[j]
        ]
        tokens = float((new != tokenizer.pad_token_id).sum(1).float().mean())
        found[example.kind].append((scores.mean(), scores.std(ddof=1), tokens, order))

    def mean(column: int) -> dict[str, float]:
        return {kind: float(np.mean([row[column] for row in rows])) for kind, rows in found.items()}

    return Figures(
        judge=mean(0),
        spread=mean(1),
        tokens=mean(2),
        agreement={
            kind: float(np.mean([agree for row in rows for agree in row[3]]))
            for kind, rows in found.items()
        },
        parameters={"policy": model.num_parameters(), "reward": _parameters(reward)},
    )


def _parameters(reward: Path) -> int:
    from transformers import AutoModelForSequenceClassification

    return int(AutoModelForSequenceClassification.from_pretrained(reward).num_parameters())


def policy_card(figures: Figures) -> str:
    """The card of the warm start."""
    rows = "\n".join(
        f"| {kind} | {family.benchmark} | {figures.judge[kind]:.2f} | {figures.spread[kind]:.2f} "
        f"| {figures.tokens[kind]:.0f} |"
        for kind, family in FAMILIES.items()
    )
    return f"""---
license: mit
language: en
tags: [maestro-workbench, etudes]
---
# The etudes' policy

A Llama of two layers, 64 wide ({figures.parameters["policy"]:,} parameters), with a closed
vocabulary, one token a word. It was warm-started on demonstrations that are noisy on purpose (right
and wrong, terse and wordy, cold and polite), so that there is something to improve. It was trained
on prompts of the train split only. It is a toy: it can do the seven etudes and nothing else.

Measured on the calibration prompts, {SAMPLES} samples each at temperature 1: the mean score of the
hidden judge, its deviation within a prompt, and the mean length.

| kind | mirrors | judge | within prompt | tokens |
|---|---|--:|--:|--:|
{rows}
| **mean** | | **{figures.overall["judge"]:.2f}** | {figures.overall["spread"]:.2f} \
| {figures.overall["tokens"]:.0f} |

Made by `python -m workbench.tasks.etudes.build`.
"""


def reward_card(figures: Figures) -> str:
    """The card of the reward model."""
    rows = "\n".join(f"| {kind} | {figures.agreement[kind]:.2f} |" for kind in FAMILIES)
    return f"""---
license: mit
language: en
tags: [maestro-workbench, etudes]
---
# The etudes' reward model

A sequence classifier of one layer, 32 wide ({figures.parameters["reward"]:,} parameters), trained
with TRL's `RewardTrainer` on pairs of demonstrations that were labelled by a noisy taste: warmth,
length, no repetition, no coldness (`workbench/tasks/etudes/taste.py`). The taste does not know what
is right. So this is not the judge in disguise: it agrees with the judge where warmth or length is
what the judge pays for, and misleads where brevity, certainty or a form is.

Share of pairs of the warm start's samples of one prompt that it orders as the hidden judge does
(0.5 is chance), pairs that the judge ties left out:

| kind | agreement |
|---|--:|
{rows}
| **mean** | **{figures.overall["agreement"]:.2f}** |

Made by `python -m workbench.tasks.etudes.build`.
"""
