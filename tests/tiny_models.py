"""Tiny random models and a word-level tokenizer: every trainer test runs on these, offline."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
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


def tiny_model(family: str = "llama", seed: int = 0) -> PreTrainedModel:
    """A random two-layer causal LM of 16 hidden units over the 40 words."""
    shared = {
        "vocab_size": len(WORDS),
        "pad_token_id": 0,
        "eos_token_id": 2,
        "bos_token_id": None,
    }
    blocks = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 128,
    }
    configs = {
        "llama": lambda: LlamaConfig(**shared, **blocks),
        "qwen3": lambda: Qwen3Config(**shared, **blocks, head_dim=8, tie_word_embeddings=True),
        "gpt2": lambda: GPT2Config(**shared, n_embd=16, n_layer=2, n_head=2, n_positions=128),
    }
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(configs[family](), dtype=torch.float32)
    return model.eval()


def save_tiny(path: Path, family: str = "llama", chat: bool = False, seed: int = 0) -> Path:
    """Write a tiny model with its tokenizer to ``path`` and return it."""
    tiny_model(family, seed).save_pretrained(path)
    tiny_tokenizer(chat).save_pretrained(path)
    return path
