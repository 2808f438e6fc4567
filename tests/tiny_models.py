"""Tiny random models and a word-level tokenizer: every trainer test runs on these, offline.

``python tests/tiny_models.py FOLDER`` writes a GPT-2-shaped and a chat-templated Qwen3-shaped
policy, two reward models and prompts of both kinds, to try a run with models of one's own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

WORDS = ("<pad>", "<unk>", "<eos>", *(f"w{i}" for i in range(37)))
CHAT_TEMPLATE = (
    "{% for message in messages %}w0 {{ message['content'] }} <eos> {% endfor %}"
    "{% if add_generation_prompt %}w1 {% endif %}"
)


def tiny_tokenizer(chat: bool = False) -> PreTrainedTokenizerFast:
    """40 words: pad, unk, eos and w0 ... w36."""
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<eos>",
        padding_side="left",
    )
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast


BLOCKS = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", BLOCKS),
    "qwen2": ("qwen2", BLOCKS),
    "qwen3": ("qwen3", {**BLOCKS, "head_dim": 8, "tie_word_embeddings": True}),
    "gemma": ("gemma", {**BLOCKS, "head_dim": 8}),
    # every other layer of these two sees 4 tokens back only, less than the rows of the tests
    "gemma2": ("gemma2", {**BLOCKS, "head_dim": 8, "sliding_window": 4}),
    "gemma3": ("gemma3_text", {**BLOCKS, "head_dim": 8, "sliding_window": 4}),
    "mistral": ("mistral", {**BLOCKS, "head_dim": 8, "sliding_window": 4}),
    "gpt2": ("gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128}),
    "phi": ("phi", {k: v for k, v in BLOCKS.items() if k != "num_key_value_heads"}),
    "phi3": ("phi3", BLOCKS),
}
"""Model type and settings of a tiny model of each family."""


def tiny_config_of(family: str, **settings: Any) -> PretrainedConfig:
    """The configuration of a tiny model over the 40 words."""
    kind, sizes = FAMILIES[family]
    special = {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": None}
    return AutoConfig.for_model(kind, vocab_size=len(WORDS), **special, **sizes | settings)


def tiny_model(family: str = "llama", seed: int = 0, **settings: Any) -> PreTrainedModel:
    """A random two-layer causal LM of 16 hidden units over the 40 words."""
    config = tiny_config_of(family, **settings)
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def save_tiny(path: Path, family: str = "llama", chat: bool = False, seed: int = 0) -> Path:
    """Write a tiny model with its tokenizer to ``path`` and return it."""
    tiny_model(family, seed).save_pretrained(path)
    tiny_tokenizer(chat).save_pretrained(path)
    return path


def save_tiny_reward(
    path: Path, family: str = "qwen3", chat: bool = False, seed: int = 0, labels: int = 1
) -> Path:
    """Write a tiny random reward model with a tokenizer of its own to ``path`` and return it."""
    torch.manual_seed(seed)
    config = tiny_config_of(family, num_labels=labels)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(path)
    tiny_tokenizer(chat).save_pretrained(path)
    return path


def write_examples(folder: Path) -> None:
    """Two policies, two reward models, and prompts as text and as conversations."""
    save_tiny(folder / "gpt2", "gpt2")
    save_tiny(folder / "qwen", "qwen3", chat=True, seed=1)
    save_tiny_reward(folder / "reward", "gpt2")
    save_tiny_reward(folder / "chat-reward", "qwen3", chat=True, seed=1)
    texts, chats = [], []
    for i in range(40):
        text = " ".join(f"w{(3 * i + 5 * j) % 37}" for j in range(2 + i % 4))
        row = {"reference": f"w{i % 37} w{(i + 1) % 37}", "kind": ("short", "long")[i % 2]}
        texts.append({"question": text, **row})
        chats.append({"prompt": [{"role": "user", "content": text}], **row})
    for name, rows in (("texts", texts), ("chats", chats)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    write_examples(Path(sys.argv[1]))
