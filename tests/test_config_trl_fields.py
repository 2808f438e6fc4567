"""The closed list of TRL's fields: every one is passed, or refused with what to set instead."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from transformers import GenerationConfig
from trl import GRPOConfig

from workbench.config import trl_fields as t

RUN = {"loss_type": "dapo", "beta": 0.0, "gradient_checkpointing": False}


def test_every_field_of_the_pinned_trl_stands_in_exactly_one_table() -> None:
    tables = [*t.KEYS, *t.DECIDED, *t.WITHOUT_EFFECT, *t.PASSED]
    assert len(set(tables)) == len(tables)
    assert set(tables) == {f.name for f in dataclasses.fields(GRPOConfig) if f.init}
    known = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    assert set(t.GENERATION) | set(t.GENERATION_KEYS) <= known | {"max_time"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"num_train_epochs": 3}, "set steps"),
        ({"save_steps": 5}, "set logging.checkpoint_every"),
        ({"save_total_limit": 1}, "set logging.keep_checkpoints"),
        ({"load_best_model_at_end": True}, "without effect in a run: best and last"),
        ({"data_seed": 3}, "the order of the prompts follows from seed"),
        ({"ref_model_sync_steps": 2}, "set grpo.reference_sync_every"),
        ({"num_generations_eval": 2}, "set probe.num_generations"),
        ({"model_init_kwargs": {}}, "policy.attn_implementation"),
        ({"scale_rewards": "none"}, "set grpo.scale_rewards"),
        ({"gradient_accumulation_steps": 3}, "set grpo.gradient_accumulation_steps"),
        ({"num_iterations": 0}, "set grpo.num_iterations"),
        ({"remove_unused_columns": True}, "objectives get every column"),
        ({"learning_rat": 1.0}, "unknown.*did you mean 'learning_rate'"),
        ({"top_k": "five"}, "'five' is not allowed; it must be an integer"),
        ({"mask_truncated_completions": 1}, "1 is not allowed; it must be true or false"),
        ({"importance_sampling_level": "word"}, "allowed are token, sequence"),
        ({"entropy_target": 0.1}, "without effect unless grpo.extra.use_adaptive_entropy is true"),
        ({"vllm_mode": "colocate"}, "without effect unless grpo.extra.use_vllm is true"),
        ({"sapo_temperature_pos": 1.0}, "read under sapo"),
        ({"use_bias_correction_kl": False}, "without effect while grpo.beta is 0"),
        ({"gradient_checkpointing_kwargs": {}}, "unless policy.gradient_checkpointing is true"),
        ({"generation_kwargs": {"temperture": 1.0}}, "did you mean 'temperature'"),
        ({"generation_kwargs": {"temperature": 1.0}}, "set grpo.temperature"),
        ({"generation_kwargs": {"num_beams": 4}}, "not usable here"),
    ],
)
def test_what_would_be_ignored_or_break_the_run_is_refused_by_name(
    extra: dict[str, Any], message: str
) -> None:
    found = t.refusals(extra, RUN)
    assert len(found) == 1
    assert re.search(message, next(iter(found.values())))


def test_what_acts_is_passed() -> None:
    extra = {
        "top_k": 5,
        "entropy_coef": 0.1,
        "use_adaptive_entropy": True,
        "entropy_target": 0.2,
        "generation_kwargs": {"suppress_tokens": [3]},
        "chat_template_kwargs": {"enable_thinking": False},
        "optim": "sgd",
        "delta": None,
    }
    assert t.refusals(extra, RUN) == {}
