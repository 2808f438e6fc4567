"""Rows, publishers and policies for the tests of learning from logged rows."""

from __future__ import annotations

from collections import defaultdict

import pandas as pd
import torch
from tiny_models import WORDS
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from workbench.train.offline_rows import COLUMNS


class Published:
    """Keeps what a trainer publishes."""

    def __init__(self):
        self.values = defaultdict(list)
        self.saved = []
        self.warnings = []
        self.states = {}

    def metrics(self, step, values, split="train"):
        for name, value in values.items():
            self.values[name].append(value)

    def checkpoint(self, step, path, values):
        self.saved.append((step, path, dict(values)))

    def warning(self, step, code, message, advice):
        self.warnings.append(code)

    def state(self, **changes):
        self.states |= changes

    def flush(self):
        return True


def frame(*rows, **columns):
    """(prompt, response, reward) rows as a frame of ``offline_rows``."""
    given = pd.DataFrame(rows, columns=["prompt", "response", "reward"])
    for name, value in columns.items():
        given[name] = value
    defaults = {
        "prompt_id": given["prompt"],
        "kind": "default",
        "origin": "test",
        "step": 0,
        "truncated": False,
        "prompt_token_ids": None,
        "token_ids": None,
        "behaviour_logp": float("nan"),
        "reference_logp": float("nan"),
    }
    for name, value in defaults.items():
        if name not in given:
            given[name] = value
    return given[list(COLUMNS)]


def dozen_model(seed=0):
    """A causal model over 12 tokens and nothing else: one token is a whole response."""
    config = LlamaConfig(
        vocab_size=12,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16,
        pad_token_id=0,
        eos_token_id=None,
        bos_token_id=None,
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config)


def tiny_t5(seed=0):
    """A random T5-shaped encoder-decoder over the 40 words."""
    config = T5Config(
        vocab_size=len(WORDS),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_decoder_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        n_positions=64,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
    )
    torch.manual_seed(seed)
    return T5ForConditionalGeneration(config)
