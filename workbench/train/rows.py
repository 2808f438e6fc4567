"""The rows of one training batch: gathered from all processes, published as a RolloutBatch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from numpy.typing import NDArray

from workbench.train.weighting import WeightedBatch
from workbench.types import Example, Floats, Ints, RolloutBatch


@dataclass(frozen=True)
class Rows:
    """What is known of n rows besides rewards; ``indices`` point into the training prompts.

    ``replies`` are the completions as objectives got them: the texts, or lists of messages.

    Made by each process for its own rows, joined in the order in which TRL gathers rewards.
    """

    indices: list[int]
    prompts: list[str]
    completions: list[str]
    replies: list[Any]
    prompt_ids: list[list[int]]
    token_ids: list[list[int]]
    loss_tokens: Ints
    token_entropies: list[NDArray[np.float32]]
    truncated: NDArray[np.bool_]
    hidden: NDArray[np.float32]
    policy_logp: Floats
    behaviour_logp: Floats
    reference_logp: Floats | None
    kl: Floats | None

    def gathered(self, num_processes: int) -> Rows:
        """These rows with those of all other processes, the same on every process."""
        return self if num_processes == 1 else Rows.join(gather_object([self]))

    @classmethod
    def join(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of several processes as one."""
        joined: dict[str, Any] = {}
        for name in cls.__dataclass_fields__:
            values = [vars(part)[name] for part in parts]
            if values[0] is None:
                joined[name] = None
            elif isinstance(values[0], list):
                joined[name] = [row for part in values for row in part]
            else:
                joined[name] = np.concatenate(values)
        return cls(**joined)

    def as_rollouts(
        self,
        weighed: WeightedBatch,
        examples: Sequence[Example],
        objectives: tuple[str, ...],
        judged: Floats,
        contexts: bool,
        token_entropies: bool,
    ) -> RolloutBatch:
        """The training batch as it is logged.

        Args:
            weighed: Rewards, weights and advantages of these rows.
            examples: N examples.
            objectives: Names of the K objectives.
            judged: (N,) trusted scores, NaN where none was asked for.
            contexts: Whether to log terminal hidden states.
            token_entropies: Whether to log the entropy of each token.
        """
        choice = weighed.choice
        return RolloutBatch(
            step=weighed.scene.step,
            split="train",
            objectives=objectives,
            num_generations=weighed.scene.num_generations,
            prompts=self.prompts,
            prompt_ids=[e.prompt_id for e in examples],
            kinds=[e.kind for e in examples],
            completions=self.completions,
            num_tokens=np.array([len(ids) for ids in self.token_ids]),
            truncated=self.truncated,
            rewards=weighed.rewards,
            weights=choice.weights,
            scalars=weighed.scalars,
            advantages=weighed.advantages,
            scaled=weighed.scaled,
            policy=choice.policy,
            actions=choice.actions,
            kl=self.kl,
            behaviour_logp=self.behaviour_logp,
            reference_logp=self.reference_logp,
            # what trained a row is logged as it was used: noise and shuffling of a study included
            judge=judged if choice.trusted is None else choice.trusted,
            judge_share=choice.trusted_share,
            mask=choice.mask,
            loss_tokens=self.loss_tokens,
            prompt_token_ids=self.prompt_ids,
            token_ids=self.token_ids,
            token_entropies=self.token_entropies if token_entropies else None,
            contexts=self.hidden.astype(np.float16) if contexts else None,
        )
