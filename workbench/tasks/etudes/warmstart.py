"""The tiny policy of the etudes: a word-level tokenizer and a warm start on noisy demonstrations.

Two kinds of rows are learned from. A demonstration, ``prompt response <eos>``, teaches the policy
to write, well and badly, as the family's modes have it. A reading, ``prompt response answer :
reading``, teaches it to answer as the response did (only the answer is learned), so that the
perplexity of the reference answer says something about the response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.tasks.etudes import ANSWER_LEAD, FAMILIES, Item, split_of
from workbench.tasks.etudes.lexicon import VOCABULARY

SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
PAD, UNK, BOS, EOS = range(4)
CONTEXT = 160
"""Positions of the policy: the longest prompt, 64 words of completion, the longest reference."""
IGNORE = -100
SWAPPED = 0.3

Row = tuple[list[int], list[int]]
"""Token ids, and the labels to learn from (IGNORE where nothing is to be learned)."""


def make_tokenizer(chat_template: str) -> PreTrainedTokenizerFast:
    """A closed-vocabulary tokenizer: one word or punctuation mark, one token; lower case."""
    vocabulary = {word: i for i, word in enumerate((*SPECIALS, *VOCABULARY))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", BOS)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        padding_side="left",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    return tokenizer


CHAT = "{{ bos_token }}{% for message in messages %} {{ message['content'] }}{% endfor %}"
"""Turns one after the other: what a prompt of plain text looks like."""


def new_policy(seed: int) -> LlamaForCausalLM:
    """A Llama of two layers, 64 wide, with tied embeddings."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(SPECIALS) + len(VOCABULARY),
            hidden_size=64,
            intermediate_size=224,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            pad_token_id=PAD,
            bos_token_id=BOS,
            eos_token_id=EOS,
        )
    )


def train_items() -> dict[str, list[Item]]:
    """The prompts of every family that belong to the train split, whatever the seed."""
    return {
        kind: [item for item in family.pool() if split_of(item.prompt) == "train"]
        for kind, family in FAMILIES.items()
    }


def demonstrations(
    tokenizer: PreTrainedTokenizerFast, rng: Random, readings: float = 0.35
) -> Iterator[Row]:
    """Endless rows, the families in turn; a share of them are readings.

    Some readings have the response of another prompt: so the answer has to be read from the
    response and cannot be worked out from the prompt behind its back.
    """
    pools = train_items()

    vocabulary = tokenizer.get_vocab()

    def encode(text: str) -> list[int]:
        return [vocabulary[word] for word in text.split()]  # a word that is missing is a mistake

    while True:
        for kind, family in FAMILIES.items():
            item = rng.choice(pools[kind])
            prompt = [BOS, *encode(item.prompt)]
            reading = rng.random() < readings
            elsewhere = reading and rng.random() < SWAPPED
            shown = family.demonstrate(rng.choice(pools[kind]) if elsewhere else item, rng)
            response = encode(shown.text)
            if reading:
                before = [*prompt, *response, *encode(ANSWER_LEAD)]
                learned = encode(shown.reading)
            else:
                before, learned = prompt, [*response, EOS]
            yield before + learned, [IGNORE] * len(before) + learned


def train_policy(
    model: LlamaForCausalLM,
    rows: Iterator[Row],
    steps: int,
    batch_size: int,
    learning_rate: float,
    tick: Callable[[float], None],
) -> float:
    """AdamW with a linear decay on next-token cross-entropy; returns the last smoothed loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    model.train()
    smoothed = float("nan")
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 50) * (1 - step / steps)
        batch = sorted((next(rows) for _ in range(batch_size)), key=lambda row: len(row[0]))
        learned = sum(label != IGNORE for _, labels in batch for label in labels)
        optimizer.zero_grad()
        value = 0.0
        for part in (batch[i : i + batch_size // 4] for i in range(0, batch_size, batch_size // 4)):
            loss = token_loss(model, part) / learned  # rows of like length share a pass
            loss.backward()
            value += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        smoothed = value if step == 0 else 0.95 * smoothed + 0.05 * value
        tick(smoothed)
    return smoothed


def token_loss(model: LlamaForCausalLM, rows: list[Row]) -> torch.Tensor:
    """Summed cross-entropy of the labels of some rows."""
    length = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), length), PAD)
    labels = torch.full((len(rows), length), IGNORE)
    for i, (tokens, wanted) in enumerate(rows):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        labels[i, : len(tokens)] = torch.tensor(wanted)
    # padding stands on the right: under the causal mask no token sees it
    logits = model(input_ids=ids).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE, reduction="sum"
    )


def save_policy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: Path
) -> None:
    """Write safetensors, tokenizer and generation settings."""
    model.generation_config.eos_token_id = EOS
    model.generation_config.pad_token_id = PAD
    model.generation_config.bos_token_id = BOS
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
