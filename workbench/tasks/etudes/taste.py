"""The tiny reward model of the etudes, and the taste that it learns.

The taste is a matter of style: warmth, length, no repetition, no cold phrases. It knows nothing of
right and wrong, so it agrees with the judge where warmth is what the judge pays for, and misleads
where brevity or a form is. Pairs of demonstrations are labelled by it with noise, and TRL's
RewardTrainer learns a sequence classifier from the labels.
"""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import torch
from datasets import Dataset
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    TrainerCallback,
)
from trl import RewardConfig, RewardTrainer

from workbench.tasks.etudes import FAMILIES
from workbench.tasks.etudes.family import sentences
from workbench.tasks.etudes.judge import words_of
from workbench.tasks.etudes.lexicon import DIGITS, HEDGES, VOCABULARY, WARM
from workbench.tasks.etudes.warmstart import BOS, CONTEXT, EOS, PAD, SPECIALS, train_items

CHAT = (
    "{{ bos_token }}{% for message in messages %} {{ message['content'] }}{% endfor %}"
    " {{ eos_token }}"
)
"""Question and answer, closed by the end token, at which the score is read."""
COLD = ("stop crying", "not my problem", "buy a new", "do the test")


def taste(completion: str) -> float:
    """Style alone: 1.6 warmth + 0.9 length + 0.5 without repetition + 0.4 modesty - 1.0 coldness.

    Warmth is the number of warm words, full at three; length is full at 24 words; modesty is to
    hedge. Digits read like a form: they cost 0.5.
    """
    words = words_of(completion)
    told = [tuple(s) for s in sentences(words)]
    score = 1.6 * min(1.0, sum(w in WARM for w in words) / 3) + 0.9 * min(1.0, len(words) / 24)
    score += 0.5 * (len(set(told)) == len(told))
    score += 0.4 * (not set(words).isdisjoint(HEDGES)) - 0.5 * (not set(words).isdisjoint(DIGITS))
    return score - 1.0 * any(phrase in " ".join(words) for phrase in COLD)


def pairs(rng: Random, count: int, noise: float = 0.35) -> Dataset:
    """Pairs of demonstrations of one prompt, labelled by taste with logistic noise."""
    pools = train_items()
    rows: dict[str, list[list[dict[str, str]]]] = {"chosen": [], "rejected": []}
    kinds = list(FAMILIES)
    while len(rows["chosen"]) < count:
        kind = kinds[len(rows["chosen"]) % len(kinds)]
        item = rng.choice(pools[kind])
        one, two = (FAMILIES[kind].demonstrate(item, rng).text for _ in range(2))
        u = rng.random()
        margin = taste(one) - taste(two) + noise * math.log(u / (1 - u))
        better, worse = (one, two) if margin > 0 else (two, one)
        for key, text in (("chosen", better), ("rejected", worse)):
            rows[key].append(
                [
                    {"role": "user", "content": item.prompt},
                    {"role": "assistant", "content": text},
                ]
            )
    return Dataset.from_dict(rows)


def new_reward_model(seed: int) -> LlamaForSequenceClassification:
    """A Llama of one layer, 32 wide, with one output."""
    torch.manual_seed(seed)
    return LlamaForSequenceClassification(
        LlamaConfig(
            vocab_size=len(SPECIALS) + len(VOCABULARY),
            hidden_size=32,
            intermediate_size=96,
            num_hidden_layers=1,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            num_labels=1,
            pad_token_id=PAD,
            bos_token_id=BOS,
            eos_token_id=EOS,
        )
    )


def train_reward_model(
    model: LlamaForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    data: Dataset,
    steps: int,
    scratch: Path,
    seed: int,
    callback: TrainerCallback,
) -> None:
    """TRL's RewardTrainer, with rewards centred so that the sigmoid uses its whole range."""
    arguments = RewardConfig(
        output_dir=str(scratch),
        max_steps=steps,
        per_device_train_batch_size=64,
        learning_rate=3e-3,
        lr_scheduler_type="linear",
        center_rewards_coefficient=0.05,
        max_length=CONTEXT,
        bf16=False,
        gradient_checkpointing=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=seed,
    )
    trainer = RewardTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        processing_class=tokenizer,
        callbacks=[callback],
    )
    trainer.train()
