"""Rollouts outside of training: probes and evaluations sample, score, reward, weigh and judge.

Nothing here touches the training: random states are given back, running statistics do not move,
the scalarizer is asked without exploring and learns nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedTokenizerBase, TrainerState

from workbench.objectives.signature import RewardRows
from workbench.train.reference import Reference
from workbench.train.rewards import ObjectiveReward, all_needs, reward_matrix
from workbench.train.sampling import Sampling, generate, isolated_rng
from workbench.train.scoring import Scores, score
from workbench.train.text import Rendering, encode_answers, encode_continuation, example_columns
from workbench.train.weighting import Weighing
from workbench.types import Example, Floats, RolloutBatch


@dataclass(frozen=True)
class RolloutGenerator:
    """Everything a rollout outside of training needs.

    ``model`` has TRL's fused head (``scoring.prepare_scoring``). ``judge`` may be None: its scores
    are then NaN. ``judge_calls`` counts by split. ``state`` is what reward functions get as
    ``trainer_state``: the training's own, or one that says as much. ``tell`` hears how far a
    rollout is, in words.
    """

    model: nn.Module
    rendering: Rendering
    eos_ids: Sequence[int]
    rewards: Sequence[ObjectiveReward]
    weighing: Weighing
    reference: Reference | None
    judge: ObjectiveReward | None
    answer_lead: str
    batch_size: int
    judge_calls: dict[str, int]
    state: TrainerState
    tell: Callable[[str], None] | None = None

    def roll_out(
        self, examples: Sequence[Example], sampling: Sampling, step: int, split: str
    ) -> RolloutBatch:
        """Sample ``num_generations`` completions of each example and say all about them.

        Raises:
            RewardError: When an objective fails.
        """
        rows = [e for e in examples for _ in range(sampling.num_generations)]
        prompts = [self.rendering.prompt(e) for e in rows]
        prompt_ids = self.rendering.encode(prompts)
        measured: dict[str, list[float]] = defaultdict(list)
        with isolated_rng(sampling.seed):
            completion_ids, drawn = generate(
                self.model,
                self.rendering.tokenizer,
                prompt_ids,
                sampling,
                self.eos_ids,
                batch_size=self.batch_size,
                tell=self.tell,
            )
            self._say(f"scoring {len(completion_ids)} completions")
            scores = self._score(rows, prompt_ids, completion_ids, sampling)
            scores = replace(scores, sampling_logps=drawn)
            texts = self.rendering.texts(completion_ids)
            given = RewardRows(
                prompts,
                self.rendering.completions(prompts, prompt_ids, completion_ids),
                completion_ids,
                example_columns(rows),
                {
                    "scores": scores,
                    "trainer_state": self.state,
                    "log_metric": lambda name, value: measured[name].append(float(value)),
                    "log_extra": ignored,
                },
            )
            rewards = reward_matrix(self.rewards, given)
            judged = self._judge(given, split)
        weighed = self.weighing.weigh(
            rewards,
            [e.kind for e in rows],
            sampling.num_generations,
            step,
            scores.hidden,
            explore=False,
        )
        return RolloutBatch(
            step=step,
            split=split,
            objectives=self.weighing.names,
            num_generations=sampling.num_generations,
            prompts=[
                self.rendering.shown(p, ids) for p, ids in zip(prompts, prompt_ids, strict=True)
            ],
            prompt_ids=[e.prompt_id for e in rows],
            kinds=[e.kind for e in rows],
            completions=texts,
            num_tokens=np.array([len(ids) for ids in completion_ids]),
            truncated=scores.truncated,
            rewards=rewards,
            weights=weighed.choice.weights,
            scalars=weighed.scalars,
            advantages=weighed.advantages,
            scaled=weighed.scaled,
            policy=weighed.choice.policy,
            kl=scores.kl,
            behaviour_logp=scores.behaviour_logp,
            reference_logp=scores.reference_logp,
            judge=judged,
            mask=weighed.choice.mask,
            prompt_token_ids=prompt_ids,
            token_ids=completion_ids,
            token_entropies=[values.tolist() for values in scores.token_entropies],
            contexts=scores.hidden.astype(np.float16),
            logged={name: float(np.mean(values)) for name, values in measured.items()},
        )

    def _say(self, text: str) -> None:
        if self.tell is not None:
            self.tell(text)

    def _score(
        self,
        rows: Sequence[Example],
        prompt_ids: list[list[int]],
        completion_ids: list[list[int]],
        sampling: Sampling,
    ) -> Scores:
        return score_rows(
            self.model,
            self.rendering.tokenizer,
            prompt_ids,
            completion_ids,
            [e.reference for e in rows],
            self.answer_lead,
            all_needs(self.rewards),
            self.reference,
            eos_ids=self.eos_ids,
            max_completion_length=sampling.max_completion_length,
            batch_size=self.batch_size,
        )

    def _judge(self, rows: RewardRows, split: str) -> Floats:
        if self.judge is None:
            return np.full(len(rows), np.nan)
        self.judge_calls[split] = self.judge_calls.get(split, 0) + len(rows)
        return np.array(self.judge.of(rows), dtype=np.float64)


def ignored(column: str, values: Any) -> None:
    """``log_extra`` of a rollout: the store has no column for it."""


def score_rows(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: Sequence[Sequence[int]],
    completion_ids: Sequence[Sequence[int]],
    references: Sequence[str | None],
    answer_lead: str,
    needs: frozenset[str],
    reference: Reference | None,
    **limits: Any,
) -> Scores:
    """The passes that ``needs`` asks for, and no other: policy always, answers, reference.

    Args:
        model: The policy, with TRL's fused head.
        tokenizer: Its tokenizer, for the reference answers.
        prompt_ids: N prompts as generated from.
        completion_ids: N completions as generated.
        references: N reference answers, None for rows without.
        answer_lead: Text between completion and answer.
        needs: What the objectives ask for.
        reference: The frozen reference, needed when ``needs`` has "reference".
        **limits: ``eos_ids``, ``max_completion_length``, ``batch_size`` of ``scoring.score``.

    Raises:
        ValueError: When a reference pass is asked for and there is no reference.
    """
    answers = encode_answers(tokenizer, references) if "answer" in needs else None
    scores = score(
        model,
        prompt_ids,
        completion_ids,
        answer_ids=answers,
        lead_ids=encode_continuation(tokenizer, answer_lead),
        **limits,
    )
    if "reference" not in needs:
        return scores
    if reference is None:
        raise ValueError("an objective needs the frozen reference, but none was loaded")
    logps = reference.token_logps(prompt_ids, completion_ids, limits["batch_size"])
    return replace(scores, reference_token_logps=logps)


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    """The first ``count`` examples when kinds take turns, in the order in which they appear."""
    by_kind: dict[str, list[Example]] = {}
    for example in examples:
        by_kind.setdefault(example.kind, []).append(example)
    turns = zip_longest(*by_kind.values())
    return [e for turn in turns for e in turn if e is not None][:count]
