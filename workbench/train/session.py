"""The objects that training and evaluation of one run share, loaded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerState

from workbench.config import RunConfig
from workbench.runs.checkpoints import step_of
from workbench.train import build
from workbench.train.checkpoint import load_conductor
from workbench.train.fitting import fitted
from workbench.train.reference import Reference
from workbench.train.rewards import ObjectiveReward, all_needs
from workbench.train.rollout import RolloutGenerator, spread
from workbench.train.sampling import Sampling
from workbench.train.scoring import prepare_scoring
from workbench.train.seq2seq import Seq2SeqRoller
from workbench.train.text import Rendering
from workbench.train.weighting import Weighing
from workbench.types import Example, RolloutBatch, Task

EVALUATION_SEED = 6
"""Every evaluation of a run draws from the same seed, so that checkpoints meet the same luck."""


@dataclass(frozen=True)
class Session:
    """A run's configuration with its task, policy, objectives and scalarizer."""

    config: RunConfig
    task: Task
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rewards: list[ObjectiveReward]
    weighing: Weighing

    @property
    def end_ids(self) -> list[int]:
        """Token ids that end a completion."""
        return build.end_ids(self.model, self.tokenizer)

    @property
    def rendering(self) -> Rendering:
        """How this run's prompts become tokens."""
        return Rendering.of(self.config, self.tokenizer)

    @classmethod
    def load(cls, config: RunConfig, task: Task, checkpoint: Path | None = None) -> Session:
        """Load what the configuration names; policy and scalarizer from a checkpoint if given.

        Raises:
            ValueError: When objectives, anchor or lengths do not fit the run.
            FileNotFoundError: When the checkpoint holds no policy.
        """
        rewards = build.load_rewards(config)
        tokenizer = build.load_tokenizer(config.policy)
        model = build.load_policy(config.policy, checkpoint)
        if config.offline is None or config.probe.prompts or config.evaluation.prompts:
            task = fitted(config, model, tokenizer, task)  # otherwise no prompt of it is read
        build.end_ids(model, tokenizer)
        hidden_size = model.config.get_text_config().hidden_size
        weighing = Weighing(config, [r.bounds for r in rewards], hidden_size)
        if checkpoint is not None:
            weighing.load(load_conductor(checkpoint))
        return cls(config, task, model, tokenizer, rewards, weighing)

    def roller(
        self,
        model: PreTrainedModel,
        reference: Reference | None,
        eos_ids: Sequence[int],
        state: TrainerState | None = None,
        judge_calls: dict[str, int] | None = None,
    ) -> RolloutGenerator:
        """Rolls out prompts of this run under a model.

        Args:
            model: The policy.
            reference: Its frozen reference, where an objective asks for one.
            eos_ids: Token ids that end a completion.
            state: The training's, for reward functions; None: one at step 0 of this run.
            judge_calls: Counts judge calls by split; None: a new count.
        """
        grpo, judge = self.config.grpo, self.task.judge
        kind = Seq2SeqRoller if model.config.is_encoder_decoder else RolloutGenerator
        return kind(
            model=model,
            rendering=self.rendering,
            eos_ids=eos_ids,
            rewards=self.rewards,
            weighing=self.weighing,
            reference=reference,
            judge=None if judge is None else ObjectiveReward.trusted(judge, "task.judge"),
            answer_lead=self.task.answer_lead,
            batch_size=grpo.prompts_per_step * grpo.num_generations,
            judge_calls={} if judge_calls is None else judge_calls,
            state=state or TrainerState(max_steps=self.config.steps),
        )

    def probes(self) -> list[Example]:
        """The calibration prompts that are followed through training."""
        return spread(self.task.calibration, self.config.probe.prompts)

    def evaluate(
        self,
        model: PreTrainedModel,
        reference: Reference | None,
        step: int,
        split: str = "report",
        examples: Sequence[Example] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> RolloutBatch:
        """Roll out held-out prompts as ``evaluation`` says.

        Args:
            model: The policy to evaluate.
            reference: Its frozen reference, where an objective asks for one.
            step: Policy updates the model has had.
            split: Name of the split in the log.
            examples: The prompts; None takes the report split's.
            tell: Hears how far it is, in words.

        Raises:
            RewardError: When an objective fails.
        """
        settings = self.config.evaluation
        if examples is None:
            examples = spread(self.task.report, settings.prompts)
        temperature = settings.temperature or 1.0  # greedy text is scored as it is
        prepare_scoring(model, temperature)
        if reference is not None and reference.frozen not in (None, model):
            prepare_scoring(reference.frozen, temperature)
        sampling = Sampling.of(
            self.config,
            num_generations=settings.num_generations,
            temperature=settings.temperature,
            seed=self.config.seed + EVALUATION_SEED,
        )
        now = TrainerState(global_step=step, max_steps=self.config.steps)
        roller = self.roller(model, reference, self.end_ids, now)
        return replace(roller, tell=tell).roll_out(examples, sampling, step, split)

    def reference_for(self, checkpoint: Path | None) -> Reference | None:
        """The frozen reference of this session's model; None when no objective asks for one."""
        if "reference" not in all_needs(self.rewards):
            return None
        if self.config.policy.lora is not None:
            return Reference(self.model, None)
        frozen = self.model if checkpoint is None else build.load_base(self.config.policy)
        return Reference(self.model, frozen.to(self.model.device))

    def on_device(self) -> Session:
        """Move the policy to the accelerator, where there is one."""
        if self.config.policy.quantize is None:  # a quantised base is there already
            self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        return self


def checkpoint_step(checkpoint: Path | None) -> int:
    """Policy updates behind a checkpoint; 0 for the policy before training."""
    return 0 if checkpoint is None else step_of(checkpoint)
