"""KTO, SFT and DPO: TRL's own trainers, on rows tokenised and chosen by us.

All get token ids, so that a logged response is learned as it was generated; TRL would tokenise its
text again. Rows come in the order of the plan, epoch after epoch, as in ``offline``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, disable_progress_bars
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_callback import PrinterCallback
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

from workbench.config import RunConfig
from workbench.train.offline_rows import RowsError
from workbench.train.offline_tokens import TokenRows, row_order
from workbench.train.offline_trainer import RowTraining, section, shared_arguments
from workbench.train.writer_protocol import Publisher

MANAGED = (
    "output_dir",
    "max_steps",
    "seed",
    "max_length",
    "save_strategy",
    "eval_strategy",
    "train_sampling_strategy",
    "per_device_train_batch_size",
    "remove_unused_columns",
)
"""Fields of TRL's configurations that a run sets itself."""


def desirable(rows: TokenRows, rule: str) -> np.ndarray:
    """(N,) bool: which rows KTO takes as desirable.

    ``above_prompt_mean``: above the mean reward of the prompt's rows. Where these are all the same
    (a single row among them) the mean of all rows decides. ``positive``: reward above 0, which
    after standardising means above the mean of all rows.
    """
    if rule == "positive":
        return rows.rewards > 0
    counts = np.bincount(rows.groups)
    means = np.bincount(rows.groups, weights=rows.rewards) / counts
    low = np.full(len(counts), np.inf)
    high = np.full(len(counts), -np.inf)
    np.minimum.at(low, rows.groups, rows.rewards)
    np.maximum.at(high, rows.groups, rows.rewards)
    flat = (high - low <= 1e-12)[rows.groups]
    threshold = np.where(flat, rows.rewards.mean(), means[rows.groups])
    return rows.rewards > threshold


def selected(rows: TokenRows, rule: str) -> np.ndarray:
    """Indices of the rows that SFT imitates.

    ``best``: the first best of each prompt. ``above_prompt_mean``: all above the mean of their
    prompt, and the first best of a prompt where all are alike. ``all``: every row.
    """
    if rule == "all":
        return np.arange(len(rows))
    order = np.lexsort((np.arange(len(rows)), -rows.rewards, rows.groups))
    first = np.unique(rows.groups[order], return_index=True)[1]
    best = order[first]
    if rule == "best":
        return np.sort(best)
    means = np.bincount(rows.groups, weights=rows.rewards) / np.bincount(rows.groups)
    above = np.flatnonzero(rows.rewards > means[rows.groups] + 1e-12)
    return np.union1d(above, best)


def preference_pairs(rows: TokenRows, rule: str) -> list[tuple[int, int]]:
    """(chosen, rejected) indices of rows of one prompt, the chosen one with the higher reward.

    ``best_worst``: the first best and the first worst of each prompt. ``all``: every two rows whose
    rewards differ. Prompts whose rows are all alike make none.
    """
    found: list[tuple[int, int]] = []
    for group in range(int(rows.groups.max()) + 1 if len(rows) else 0):
        members = np.flatnonzero(rows.groups == group)
        rewards = rows.rewards[members]
        if np.ptp(rewards) <= 1e-12:
            continue
        if rule == "best_worst":
            found.append((int(members[rewards.argmax()]), int(members[rewards.argmin()])))
        else:
            above = rewards[:, None] > rewards[None] + 1e-12
            found += [(int(members[i]), int(members[j])) for i, j in np.argwhere(above)]
    return found


def balancing(labels: np.ndarray) -> tuple[float, float]:
    """Weights of desirable and undesirable rows under which both sides count the same in total.

    The rarer side gets more, the other keeps 1.
    """
    good, bad = int(labels.sum()), int((~labels).sum())
    return (max(1.0, bad / good), max(1.0, good / bad))


def _arguments(
    config: RunConfig, kind: type, name: str, own: Mapping[str, Any], output_dir: Path
) -> Any:
    offline = section(config)
    extra = {"kto": offline.kto, "sft": offline.sft, "dpo": offline.dpo}[name].extra
    fields = {f.name for f in dataclasses.fields(kind) if f.init}
    for key in extra:
        if key in MANAGED:
            raise ValueError(f"offline.{name}.extra.{key}: set by the run itself")
        if key not in fields:
            raise ValueError(
                f"offline.{name}.extra.{key}: unknown; it must be a field of {kind.__name__}"
            )
    settings = shared_arguments(config, output_dir) | dict(own) | dict(extra)
    settings["gradient_checkpointing"] = config.policy.gradient_checkpointing
    return kind(**settings)


def _refuse_encoder_decoder(model: PreTrainedModel, method: str) -> None:
    if model.config.is_encoder_decoder:
        raise ValueError(
            f"offline.method: {method!r} is TRL's trainer, which takes causal models only, and "
            f"{type(model).__name__} is an encoder-decoder; allowed are 'rpo' and 'dro'"
        )


class KtoRows(RowTraining, KTOTrainer):
    """TRL's KTOTrainer on prepared rows; its reference is a copy of the policy before training."""

    needs_reference = False

    def __init__(
        self,
        config: RunConfig,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: TokenRows,
        publisher: Publisher,
        checkpoint_dir: Path,
    ) -> None:
        _refuse_encoder_decoder(model, "kto")
        disable_progress_bars()
        self.prepare(config, publisher, checkpoint_dir)
        labels = desirable(rows, self.offline.kto.desirable)
        if labels.all() or not labels.any():
            raise RowsError(
                f"offline.kto.desirable: {self.offline.kto.desirable!r} makes "
                f"{int(labels.sum())} of {len(labels)} rows desirable; KTO needs both sides"
            )
        good, bad = balancing(labels) if self.offline.kto.balance else (1.0, 1.0)
        own = {
            "beta": self.offline.kto.beta,
            "desirable_weight": good,
            "undesirable_weight": bad,
            "max_length": None,
        }
        order = row_order(len(rows), config.steps * self.offline.update.batch_size, config.seed)
        KTOTrainer.__init__(
            self,
            model=model,
            args=_arguments(config, KTOConfig, "kto", own, checkpoint_dir.parent),
            train_dataset=Dataset.from_dict(
                {
                    "prompt_ids": [list(rows.prompt_ids[i]) for i in order],
                    "completion_ids": [list(rows.response_ids[i]) for i in order],
                    "label": labels[order].tolist(),
                }
            ),
            processing_class=tokenizer,
        )
        self.remove_callback(PrinterCallback)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, name: str) -> Any:
        """Only what TRL adds to token ids: each row's neighbour in its batch, for the KL term."""

        def rotate(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
            ids = rows["completion_ids"]
            return {"KL_completion_ids": [ids[-1], *ids[:-1]]}

        return dataset.map(rotate, batched=True, batch_size=args.per_device_train_batch_size)


class SftRows(RowTraining, SFTTrainer):
    """TRL's SFTTrainer on the rows that are worth imitating; the loss is on the response alone."""

    needs_reference = False

    def __init__(
        self,
        config: RunConfig,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: TokenRows,
        publisher: Publisher,
        checkpoint_dir: Path,
    ) -> None:
        _refuse_encoder_decoder(model, "sft")
        self.prepare(config, publisher, checkpoint_dir)
        chosen = selected(rows, self.offline.sft.select)
        places = row_order(len(chosen), config.steps * self.offline.update.batch_size, config.seed)
        order = chosen[places]
        own = {"max_length": None, "dataset_kwargs": {"skip_prepare_dataset": True}}
        ids = [[*rows.prompt_ids[i], *rows.response_ids[i]] for i in order]
        labels = [[-100] * len(rows.prompt_ids[i]) + list(rows.response_ids[i]) for i in order]
        SFTTrainer.__init__(
            self,
            model=model,
            args=_arguments(config, SFTConfig, "sft", own, checkpoint_dir.parent),
            train_dataset=Dataset.from_dict({"input_ids": ids, "labels": labels}),
            processing_class=tokenizer,
        )
        self.remove_callback(PrinterCallback)


class DpoRows(RowTraining, DPOTrainer):
    """TRL's DPOTrainer on pairs of prepared rows; its reference is the policy before training."""

    def __init__(
        self,
        config: RunConfig,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: TokenRows,
        publisher: Publisher,
        checkpoint_dir: Path,
    ) -> None:
        _refuse_encoder_decoder(model, "dpo")
        disable_progress_bars()
        self.prepare(config, publisher, checkpoint_dir)
        pairs = preference_pairs(rows, self.offline.dpo.pairs)
        if not pairs:
            raise RowsError(
                "offline.method: 'dpo' needs prompts with two rows of different reward; there is "
                "none"
            )
        places = row_order(len(pairs), config.steps * self.offline.update.batch_size, config.seed)
        order = [pairs[i] for i in places]
        own = {"beta": self.offline.dpo.beta, "max_length": None}
        DPOTrainer.__init__(
            self,
            model=model,
            args=_arguments(config, DPOConfig, "dpo", own, checkpoint_dir.parent),
            train_dataset=Dataset.from_dict(
                {
                    "prompt_ids": [list(rows.prompt_ids[i]) for i, _ in order],
                    "chosen_ids": [list(rows.response_ids[i]) for i, _ in order],
                    "rejected_ids": [list(rows.response_ids[j]) for _, j in order],
                }
            ),
            processing_class=tokenizer,
        )
        self.remove_callback(PrinterCallback)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, name: str) -> Any:
        """The rows are token ids already."""
        return dataset
