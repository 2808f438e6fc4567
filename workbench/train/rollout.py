"""Rollouts outside of training: probes and evaluations sample, score, reward, weigh and judge.

Nothing here touches the training: random states are given back, running statistics do not move,
the scalarizer is asked without exploring and learns nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from workbench.objectives.llm import judged
from workbench.train.reference import Reference
from workbench.train.rewards import ObjectiveReward, all_needs, reward_matrix
from workbench.train.scoring import Scores, score
from workbench.train.text import (
    completion_text,
    encode_answers,
    encode_continuation,
    encode_prompts,
    example_columns,
    prompt_text,
    with_system_prompt,
)
from workbench.train.weighting import Weighing
from workbench.types import Example, Judge, RolloutBatch


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Seed python, numpy and torch inside the block, and give back what was there before."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn; temperature 0 is greedy."""

    num_generations: int
    max_completion_length: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class RolloutGenerator:
    """Everything a rollout outside of training needs.

    ``model`` has TRL's fused head (``scoring.prepare_scoring``). ``judge`` may be None: its scores
    are then NaN. ``judge_calls`` counts by split. ``tell`` hears how far a rollout is, in words.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    eos_ids: Sequence[int]
    rewards: Sequence[ObjectiveReward]
    weighing: Weighing
    reference: Reference | None
    judge: Judge | None
    answer_lead: str
    system_prompt: str | None
    batch_size: int
    judge_calls: dict[str, int]
    tell: Callable[[str], None] | None = None

    def roll_out(
        self, examples: Sequence[Example], sampling: Sampling, step: int, split: str
    ) -> RolloutBatch:
        """Sample ``num_generations`` completions of each example and say all about them.

        Raises:
            RewardError: When an objective fails.
        """
        rows = [e for e in examples for _ in range(sampling.num_generations)]
        prompts = [with_system_prompt(e, self.system_prompt) for e in rows]
        prompt_ids = encode_prompts(self.tokenizer, prompts)
        with isolated_rng(sampling.seed):
            completion_ids = self._generate(prompt_ids, sampling)
            self._say(f"scoring {len(completion_ids)} completions")
            scores = self._score(rows, prompt_ids, completion_ids, sampling)
            texts = self.tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
            completions: Sequence[Any] = [
                text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
                for prompt, text in zip(prompts, texts, strict=True)
            ]
            rewards = reward_matrix(
                self.rewards, scores, prompts, completions, completion_ids, example_columns(rows)
            )
            judged = self._judge(rows, completions, split)
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
                prompt_text(self.tokenizer, p, ids)
                for p, ids in zip(prompts, prompt_ids, strict=True)
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
            token_ids=completion_ids,
            token_entropies=[values.tolist() for values in scores.token_entropies],
            contexts=scores.hidden.astype(np.float16),
        )

    def _generate(self, prompt_ids: list[list[int]], sampling: Sampling) -> list[list[int]]:
        """Completions as token ids, end token included."""
        device = next(self.model.parameters()).device
        settings = self._generation(sampling)
        was_training = self.model.training
        self.model.eval()
        completions: list[list[int]] = []
        try:
            for start in range(0, len(prompt_ids), self.batch_size):
                self._say(f"sampling, {start} of {len(prompt_ids)} completions done")
                chunk = prompt_ids[start : start + self.batch_size]
                batch = self.tokenizer.pad(
                    {"input_ids": chunk}, padding_side="left", return_tensors="pt"
                ).to(device)
                with torch.no_grad():
                    output = self.model.generate(**batch, generation_config=settings)
                generated = output[:, batch["input_ids"].shape[1] :].tolist()
                completions += [self._until_end(tokens) for tokens in generated]
        finally:
            self.model.train(was_training)
        return completions

    def _say(self, text: str) -> None:
        if self.tell is not None:
            self.tell(text)

    def _generation(self, sampling: Sampling) -> GenerationConfig:
        greedy = sampling.temperature == 0
        return GenerationConfig(
            max_new_tokens=sampling.max_completion_length,
            do_sample=not greedy,
            temperature=None if greedy else sampling.temperature,
            top_p=None if greedy else sampling.top_p,
            top_k=None if greedy else 0,
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=list(self.eos_ids),
            disable_compile=True,
        )

    def _until_end(self, tokens: list[int]) -> list[int]:
        for position, token in enumerate(tokens):
            if token in self.eos_ids:
                return tokens[: position + 1]
        return tokens

    def _score(
        self,
        rows: Sequence[Example],
        prompt_ids: list[list[int]],
        completion_ids: list[list[int]],
        sampling: Sampling,
    ) -> Scores:
        return score_rows(
            self.model,
            self.tokenizer,
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

    def _judge(self, rows: Sequence[Example], completions: Sequence[Any], split: str) -> np.ndarray:
        if self.judge is None:
            return np.full(len(rows), np.nan)
        self.judge_calls[split] = self.judge_calls.get(split, 0) + len(rows)
        texts = [completion_text(c) for c in completions]
        return np.array(judged(self.judge, rows, texts), dtype=np.float64)


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
