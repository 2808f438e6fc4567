"""What ``workbench bench offline`` compares: methods of learning from rows, under conditions.

Every method sees the same rows in the same order for the same number of updates; they differ by the
few settings below. Each cell is an ordinary run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.bench.cells import Budget, Cell, cell, common, merged
from workbench.bench.methods import BASE, METHODS, Method
from workbench.config.io import validate

PROMPTS, SAMPLES, BATCHES = 200, 8, 5
"""Rows of a seed: 200 prompts with 8 responses each, sampled in 5 batches."""

OFFLINE = Budget(steps=64, report_samples=2)
QUICK = Budget(steps=40, report_prompts=84, report_samples=1)


@dataclass(frozen=True)
class Condition:
    """What is done to the fresh rows before anybody learns from them.

    ``old``: the policy that learns is not the one that was sampled, but a later one, trained by
    MAESTRO in the meantime. ``votes``: instead of its score, a row has 1 if it is the best of its
    prompt, else 0. ``noise`` is the deviation of what is added to the score.
    """

    label: str
    rows_per_prompt: int | None = None
    noise: float = 0.0
    votes: bool = False
    old: bool = False


CONDITIONS: dict[str, Condition] = {
    "fresh": Condition("8 rows a prompt, sampled from the policy that learns, exact judge"),
    "old": Condition("the same rows, learned from by a policy that moved on", old=True),
    "noisy": Condition("judge with noise of deviation 0.3", noise=0.3),
    "few": Condition("2 rows a prompt", rows_per_prompt=2),
    "single": Condition("1 row a prompt", rows_per_prompt=1),
    "votes": Condition("a vote for the best of 8, no scores", votes=True),
}


@dataclass(frozen=True)
class Learner:
    """One way to learn from rows: the settings of the ``offline`` section that make it."""

    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def _rpo(**settings: Any) -> dict[str, Any]:
    return {"method": "rpo", "rpo": settings}


LEARNERS: dict[str, Learner] = {
    "rpo": Learner("RPO", {"method": "rpo"}),
    "dro": Learner("DRO", {"method": "dro"}),
    "kto": Learner("KTO", {"method": "kto"}),
    "sft": Learner("SFT, best row of each prompt", {"method": "sft"}),
}
"""The four methods as they ship."""

VARIANTS: dict[str, Learner] = {
    "rpo-tau-1": Learner("RPO, tau 1", _rpo(tau=1.0)),
    "rpo-sum": Learner(
        "RPO, summed log-probabilities, tau 1", _rpo(length_normalize=False, tau=1.0)
    ),
    "rpo-authors": Learner(
        "RPO as its authors set it: their partition on averages, tau 5",
        _rpo(partition="authors", length_normalize=True, tau=5.0),
    ),
    "rpo-authors-1": Learner(
        "RPO, the authors' partition on averages, tau 1",
        _rpo(partition="authors", length_normalize=True, tau=1.0),
    ),
    "sft-above": Learner(
        "SFT, rows above their prompt's mean",
        {"method": "sft", "sft": {"select": "above_prompt_mean"}},
    ),
    "rpo-corrected": Learner(
        "RPO, rows weighted by pi_ref / pi_behaviour", _rpo(behaviour_correction=True)
    ),
}
"""What the four defaults are held against."""

EXTRA: dict[str, tuple[str, ...]] = {
    "fresh": tuple(key for key in VARIANTS if key != "rpo-corrected"),
    "old": ("rpo-corrected",),
    "votes": ("rpo-tau-1",),
}
"""Which variants run beside the four, by condition."""

CHAIN = ("rpo", "sft")
"""What follows a MAESTRO run on its own rollouts."""


def learners(condition: str, variants: bool = True) -> dict[str, Learner]:
    """The methods of a condition, the four defaults first; of ``chain``, those of ``CHAIN``."""
    known = LEARNERS | VARIANTS
    if condition == "chain":
        return {key: known[key] for key in CHAIN}
    extra = EXTRA.get(condition, ()) if variants else ()
    return LEARNERS | {key: known[key] for key in extra}


def rows_cell(seed: int) -> Cell:
    """Samples a seed's rows from the warm start."""
    settings = common(OFFLINE, seed) | {
        "steps": BATCHES,
        "scalarizer": {"name": "static"},
        "grpo": {
            "num_generations": SAMPLES,
            "prompts_per_step": PROMPTS // BATCHES,
            "max_completion_length": 48,
        },
        "evaluation": {"prompts": 0},
    }
    return Cell("rows", seed, validate(settings), "rows")


def base_cell(seed: int, budget: Budget) -> Cell:
    """Measures the warm start on the report split."""
    return cell(BASE, METHODS[BASE], seed, budget)


def later_cell(seed: int, budget: Budget, steps: int = 50) -> Cell:
    """A MAESTRO run: the policy that has moved on, and the source of the chain's rows."""
    maestro = Method("MAESTRO", "maestro", {"scalarizer": {"name": "conductor"}})
    return cell("maestro", maestro, seed, budget, steps=steps)


def learner_cell(
    arm: str,
    learner: Learner,
    seed: int,
    budget: Budget,
    source: Mapping[str, Any],
    start: Path | None = None,
    reward: Mapping[str, Any] | None = None,
) -> Cell:
    """One method on one seed's rows.

    Args:
        arm: Key of the row of the table: condition and method.
        learner: The method.
        seed: Of row order, and of the rows themselves.
        budget: Updates and evaluation.
        source: ``offline.source``.
        start: Policy that learns; None: the warm start.
        reward: ``offline.reward``, when it is not the file's column.
    """
    settings = common(budget, seed) | {"scalarizer": {"name": "static"}}
    # nothing but the judge is asked in the end: one cheap objective stands for all
    settings |= {"probe": {"prompts": 0}, "objectives": ["length"]}
    settings["grpo"]["prompts_per_step"] = 42  # nothing but the evaluation's batches: fewer, larger
    section = {"source": dict(source), **({"reward": dict(reward)} if reward else {})}
    settings["offline"] = merged(section, learner.settings)
    if start is not None:
        settings["policy"] = {"model": str(start)}
    return Cell(arm, seed, validate(settings))
