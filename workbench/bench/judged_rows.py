"""Cells that learn from judged rows alone: what the same trusted scores are worth without weights.

A cell samples as many groups as an anchor of the same run would pay for (``fraction`` of steps x
prompts), all from the policy as it starts, asks the judge once for each completion, and then takes
``steps`` updates on those rows at the run's learning rate, each on as many rows as a GRPO update
sees completions. No objective and no Conductor takes part. The settings are read from the anchor of
the cell's own configuration, so noise and shuffling of the scores mean the same in every row of the
table.

    sft   the best row of each group, cross-entropy per token
    pg    policy gradient: -V log pi, V the score standardised in its group, over the tokens
    dpo   the best against the worst row of each group, beta = 0.1 (arXiv 2305.18290)
    rpo   values from the group's own rows, log-probabilities per token, tau = 1 (arXiv 2506.13702)
    dro   the same with a value network on the pooled prompt states (Richemond et al. 2024)

All share one loop over ``RowPolicy``, so that they differ in nothing but their loss.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import get_scheduler

from workbench.bench.sft import child, ordered
from workbench.config import RunConfig
from workbench.config.scalarizers import AnchorConfig
from workbench.core.alignment import normalize_scores
from workbench.core.losses import dro_loss, partition_values, rpo_loss
from workbench.store.writer import RunWriter
from workbench.train.build import end_ids
from workbench.train.rollout import Sampling
from workbench.train.scoring import prepare_scoring
from workbench.train.sequence_logprobs import (
    RowPolicy,
    hidden_size,
    make_batch,
    row_logps,
    value_network,
)
from workbench.train.session import Session
from workbench.types import Example, Floats, Ints

BETA, TAU, VALUE_WIDTH = 0.1, 1.0, 64


@dataclass(frozen=True)
class Judged:
    """M judged groups: token ids of their G rows, and scores (M, G) as the learner sees them."""

    prompts: list[list[int]]
    responses: list[list[list[int]]]
    scores: Floats
    reference: Floats

    @property
    def advantages(self) -> Floats:
        """(M, G) scores standardised in each group."""
        return np.stack([normalize_scores(row) for row in self.scores])


Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None, Judged, Ints, Ints], torch.Tensor]
"""(log-probabilities (n,), lengths (n,), values (n,) or None, rows, their groups, their places)."""


def anchor_of(config: RunConfig) -> AnchorConfig:
    """The anchor whose budget the cell spends.

    Raises:
        ValueError: the cell's scalarizer has none.
    """
    anchor = getattr(config.scalarizer, "anchor", None)
    if anchor is None:
        raise ValueError("scalarizer.anchor: missing; it says how many groups are judged")
    return anchor


def budget(config: RunConfig) -> int:
    """Groups that an anchor of this run pays for."""
    return int(anchor_of(config).fraction * config.steps * config.grpo.prompts_per_step + 1e-9)


def sample(session: Session, writer: RunWriter) -> Judged:
    """Sample the groups from the policy as it starts, and ask the judge; rows go to the store."""
    config, train = session.config, session.task.train
    anchor, grpo = anchor_of(config), config.grpo
    rng = np.random.default_rng([config.seed, 31])
    order = ordered(len(train), budget(config), config.seed)
    roller = session.roller(session.model, None, end_ids(session.model, session.tokenizer))
    prompts: list[list[int]] = []
    responses: list[list[list[int]]] = []
    scores: list[Floats] = []
    for step, start in enumerate(range(0, len(order), grpo.prompts_per_step)):
        chosen: list[Example] = [train[i] for i in order[start : start + grpo.prompts_per_step]]
        seed = int(np.random.SeedSequence([config.seed, step, 32]).generate_state(1)[0])
        sampling = Sampling.of(config, temperature=1.0, top_p=1.0, seed=seed)
        batch = roller.roll_out(chosen, sampling, step, "train")
        writer.rollouts(batch)
        writer.state(status="running", phase="sampling", step=0, steps=config.steps)
        assert batch.token_ids is not None and batch.judge is not None
        rendering = session.rendering
        prompts += rendering.encode([rendering.prompt(e) for e in chosen])
        size = grpo.num_generations
        for group in range(len(chosen)):
            rows = slice(group * size, (group + 1) * size)
            responses.append([list(ids) for ids in batch.token_ids[rows]])
            seen = batch.judge[rows] + anchor.noise * rng.standard_normal(size)
            scores.append(rng.permutation(seen) if anchor.shuffle else seen)
    flat = [r for group in responses for r in group]
    repeated = [p for p, group in zip(prompts, responses, strict=True) for _ in group]
    pad = int(session.tokenizer.pad_token_id)
    reference = row_logps(session.model, repeated, flat, pad, 64)
    return Judged(prompts, responses, np.stack(scores), reference.reshape(len(responses), -1))


def _sft(logps: Any, lengths: Any, values: Any, rows: Judged, groups: Any, places: Any) -> Any:
    return -logps.sum() / lengths.sum()


def _pg(logps: Any, lengths: Any, values: Any, rows: Judged, groups: Any, places: Any) -> Any:
    advantages = torch.tensor(rows.advantages[groups, places], dtype=torch.float32)
    return -(advantages.to(logps) * logps).sum() / lengths.sum()


def _dpo(logps: Any, lengths: Any, values: Any, rows: Judged, groups: Any, places: Any) -> Any:
    reference = torch.tensor(rows.reference[groups, places]).to(logps)
    margin = (logps - reference).reshape(-1, 2)  # best, worst
    return -nn.functional.logsigmoid(BETA * (margin[:, 0] - margin[:, 1])).mean()


def _standard(rows: Judged, groups: Ints, places: Ints, like: torch.Tensor) -> torch.Tensor:
    """Scores standardised over all judged rows, as RPO's and DRO's authors do."""
    scale = rows.scores.std() + 1e-8
    scores = (rows.scores - rows.scores.mean()) / scale
    return torch.tensor(scores[groups, places]).to(like)


def _rpo(logps: Any, lengths: Any, values: Any, rows: Judged, groups: Any, places: Any) -> Any:
    rewards = _standard(rows, groups, places, logps)
    shared = partition_values(rewards.numpy(), groups, TAU, mode="monte_carlo")
    reference = torch.tensor(rows.reference[groups, places]).to(logps) / lengths
    return rpo_loss(logps / lengths, reference, rewards, torch.tensor(shared).to(logps), TAU)


def _dro(logps: Any, lengths: Any, values: Any, rows: Judged, groups: Any, places: Any) -> Any:
    rewards = _standard(rows, groups, places, logps)
    reference = torch.tensor(rows.reference[groups, places]).to(logps) / lengths
    return dro_loss(logps / lengths, reference, rewards, values, TAU)


LOSSES: dict[str, Loss] = {"sft": _sft, "pg": _pg, "dpo": _dpo, "rpo": _rpo, "dro": _dro}
"""What an update minimises, by the learner's name."""


def places_of(learner: str, rows: Judged, batch: int, steps: int, seed: int) -> list[list[int]]:
    """Rows of each update, as group * G + place; every group once before any comes again."""
    groups, size = rows.scores.shape
    if learner == "sft":
        best = rows.scores.argmax(axis=1)
        taken, per_update = [[i * size + int(best[i])] for i in range(groups)], batch
    elif learner == "dpo":
        ends = np.stack([rows.scores.argmax(axis=1), rows.scores.argmin(axis=1)], axis=1)
        apart = [i for i in range(groups) if ends[i, 0] != ends[i, 1]]
        taken, per_update = [[i * size + int(j) for j in ends[i]] for i in apart], batch // 2
    else:
        taken, per_update = [list(range(i * size, (i + 1) * size)) for i in range(groups)], batch
        per_update = batch // size
    if not taken:
        raise ValueError("no judged group has two different scores: nothing can be learned")
    order = ordered(len(taken), steps * per_update, seed)
    return [
        [row for i in order[step * per_update : (step + 1) * per_update] for row in taken[i]]
        for step in range(steps)
    ]


def train(session: Session, writer: RunWriter, learner: str) -> Any:
    """Sample, judge and learn; the trained model."""
    config, model = session.config, session.model
    prepare_scoring(model)
    torch.manual_seed(config.seed)
    rows = sample(session, writer)
    value = value_network(hidden_size(model), VALUE_WIDTH) if learner == "dro" else None
    policy = RowPolicy(model, value).to(model.device)
    optimizer = torch.optim.AdamW(
        policy.parameters(), lr=config.grpo.learning_rate, weight_decay=0.0
    )
    scheduler = get_scheduler(config.grpo.lr_scheduler_type, optimizer, 0, config.steps)
    size, pad = rows.scores.shape[1], int(session.tokenizer.pad_token_id)
    batch = config.grpo.prompts_per_step * config.grpo.num_generations
    model.train()
    for step, chosen in enumerate(places_of(learner, rows, batch, config.steps, config.seed)):
        groups, places = np.divmod(np.array(chosen), size)
        tensors = make_batch(
            model,
            [rows.prompts[g] for g in groups],
            [rows.responses[g][p] for g, p in zip(groups, places, strict=True)],
            pad,
        )
        lengths = tensors.pop("lengths").to(model.device)
        logps, values = policy(**{k: v.to(model.device) for k, v in tensors.items()})
        loss = LOSSES[learner](logps, lengths, values, rows, groups, places)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), config.grpo.max_grad_norm)
        optimizer.step()
        scheduler.step()
        writer.metrics(step, {"loss": float(loss.detach())})
        writer.state(phase="training", step=step + 1, steps=config.steps)
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """Child process of a cell that learns from judged rows; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbench.bench.judged_rows")
    parser.add_argument("--learner", choices=list(LOSSES), required=True)
    parser.add_argument("run_dir", type=Path)
    given = parser.parse_args(argv)
    return child(given.run_dir, lambda session, _, writer: train(session, writer, given.learner))


if __name__ == "__main__":
    sys.exit(main())
