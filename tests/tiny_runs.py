"""A whole trainer on a tiny random model: every piece real, a list in the place of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiny_models import save_tiny

from workbench.config.io import load
from workbench.objectives import Objective
from workbench.train import build
from workbench.train.anchors import anchor_source
from workbench.train.maestro import MaestroTrainer
from workbench.train.rewards import ObjectiveReward
from workbench.train.weighting import Weighing
from workbench.types import Example, RolloutBatch


class Recorder:
    """Publishes into lists."""

    def __init__(self) -> None:
        self.batches: list[RolloutBatch] = []
        self.numbers: list[tuple[int, str, dict[str, float]]] = []
        self.updates: list[tuple[int, dict[str, Any]]] = []
        self.saved: list[tuple[int, Path, dict[str, Any]]] = []
        self.warnings: list[tuple[int, str, str, str]] = []
        self.states: list[dict[str, Any]] = []

    def rollouts(self, batch: RolloutBatch) -> None:
        self.batches.append(batch)

    def metrics(self, step: int, values: Mapping[str, float], split: str = "train") -> None:
        self.numbers.append((step, split, dict(values)))

    def conductor_update(self, step: int, values: Mapping[str, Any]) -> None:
        self.updates.append((step, dict(values)))

    def checkpoint(self, step: int, path: Path, values: Mapping[str, Any]) -> None:
        self.saved.append((step, path, dict(values)))

    def warning(self, step: int, code: str, message: str, advice: str) -> None:
        self.warnings.append((step, code, message, advice))

    def state(self, **changes: Any) -> None:
        self.states.append(changes)

    def flush(self) -> bool:
        return True


def short(prompts, completions, completion_ids, **columns):  # type: ignore[no-untyped-def]
    """Fewer tokens are better, in [-1, 0]."""
    return [-len(ids) / 8 for ids in completion_ids]


def low_words(prompts, completions, completion_ids, **columns):  # type: ignore[no-untyped-def]
    """Share of low token ids; does not apply to completions that are a lone end token."""
    return [sum(t < 20 for t in ids) / len(ids) if len(ids) > 1 else None for ids in completion_ids]


OBJECTIVES = {
    "short": Objective("short", short, -1.0, 0.0, frozenset(), ""),
    "low_words": Objective("low_words", low_words, 0.0, 1.0, frozenset(), ""),
}

EXAMPLES = tuple(
    Example(
        prompt=" ".join(f"w{(3 * i + j) % 37}" for j in range(2 + i % 3)),
        prompt_id=f"p{i}",
        kind="even" if i % 2 == 0 else "odd",
        reference=f"w{i} w{i + 1}" if i % 2 == 0 else None,
    )
    for i in range(10)
)


def tiny_config(tmp_path: Path, **changes: Any):  # type: ignore[no-untyped-def]
    """A run of two objectives, 4 prompts of 4 completions a step."""
    model = tmp_path / "model"
    if not model.exists():
        save_tiny(model)
    data: dict[str, Any] = {
        "steps": 2,
        "policy": {"model": str(model)},
        "objectives": [
            {"name": name, "function": f"tiny_runs:{name}", "lower": o.lower, "upper": o.upper}
            for name, o in OBJECTIVES.items()
        ],
        "grpo": {
            "num_generations": 4,
            "prompts_per_step": 4,
            "max_completion_length": 6,
            "learning_rate": 0.01,
        },
        "logging": {"checkpoint_every": 0},
    }
    for key, value in changes.items():
        data[key] = {**data[key], **value} if key in ("grpo", "logging") else value
    return load(data)


def tiny_trainer(
    tmp_path: Path,
    recorder: Recorder,
    rewards: list[ObjectiveReward] | None = None,
    examples: Sequence[Example] = EXAMPLES,
    **changes: Any,
) -> MaestroTrainer:
    """A trainer that is ready to train."""
    config = tiny_config(tmp_path, **changes)
    rewards = rewards or build.load_rewards(config)
    model, tokenizer = build.load_policy(config.policy), build.load_tokenizer(config.policy)
    weighing = Weighing(config, [r.bounds for r in rewards], model.config.hidden_size)
    return MaestroTrainer(
        config,
        model,
        tokenizer,
        build.grpo_config(config, tmp_path / "trl"),
        examples,
        rewards,
        weighing,
        recorder,
        tmp_path / "checkpoints",
        anchor=anchor_source(
            config,
            lambda completions, **columns: [float("w1" in text) for text in completions],
            tmp_path / "runs",
            [e.prompt_id for e in EXAMPLES],
        ),
    )
