"""From a RunConfig to the objects of a run: policy, tokenizer, objectives, TRL's configuration."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, TaskType, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from trl import GRPOConfig

from workbench.config import PolicyConfig, RunConfig
from workbench.config.credentials import resolve as resolve_secrets
from workbench.config.hub import loading
from workbench.config.trl_fields import refusals
from workbench.objectives import resolve
from workbench.tasks.etudes import POLICY_DIR
from workbench.train.rewards import ObjectiveReward


def policy_path(policy: PolicyConfig) -> str:
    """Directory or hub name of the policy before training."""
    return str(POLICY_DIR) if policy.model == "etudes" else policy.model


def load_tokenizer(policy: PolicyConfig) -> PreTrainedTokenizerBase:
    """The policy's tokenizer, padding on the left; without a pad token the end token serves."""
    where = policy_path(policy)
    with loading("policy.model", where):
        tokenizer = AutoTokenizer.from_pretrained(
            where, padding_side="left", trust_remote_code=policy.trust_remote_code
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(policy: PolicyConfig, path: str | Path | None = None) -> PreTrainedModel:
    """The model at ``path``, or the policy's own before training, in its number format.

    Raises:
        OSError: it is neither here nor to be had from the hub, or it has no safetensors: pickled
            weights, which can run code, are never opened.
        ValueError: it brings code of its own, which is not allowed to run.
    """
    dtype = policy.dtype if policy.dtype == "auto" else getattr(torch, policy.dtype)
    where, trusted = path or policy_path(policy), policy.trust_remote_code
    with loading("policy.model", str(where)):
        config = AutoConfig.from_pretrained(where, trust_remote_code=trusted)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        return kind.from_pretrained(
            where,
            dtype=dtype,
            trust_remote_code=trusted,
            use_safetensors=True,
            attn_implementation=policy.attn_implementation,
            **_quantization(policy),
        )


def _quantization(policy: PolicyConfig) -> dict[str, Any]:
    """What a quantised base is loaded with.

    Raises:
        ValueError: This machine cannot.
    """
    if policy.quantize is None:
        return {}
    missing = [] if torch.cuda.is_available() else ["a CUDA GPU"]
    missing += [] if find_spec("bitsandbytes") else ["the package bitsandbytes"]
    if missing:
        raise ValueError(
            f"policy.quantize: {policy.quantize!r} needs {' and '.join(missing)}, which this "
            "machine does not have; set it to null"
        )
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_8bit=policy.quantize == "8bit",
            load_in_4bit=policy.quantize == "4bit",
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
        "device_map": {"": torch.cuda.current_device()},
    }


def load_policy(policy: PolicyConfig, checkpoint: Path | None = None) -> PreTrainedModel:
    """The policy ready to be trained or evaluated, from a checkpoint where one is given.

    Raises:
        FileNotFoundError: When the checkpoint holds no policy.
    """
    if checkpoint is None:
        model = load_base(policy)
        if policy.lora is None:
            return model
        if policy.quantize is not None:
            model = prepare_model_for_kbit_training(model, policy.gradient_checkpointing)
        # the adapter's random start must not depend on what was drawn before
        torch.manual_seed(0)
        return get_peft_model(model, lora_config(policy))
    if policy.lora is not None:
        if not (checkpoint / "adapter_config.json").is_file():
            raise FileNotFoundError(f"{checkpoint}: no adapter_config.json; not a LoRA checkpoint")
        return PeftModel.from_pretrained(load_base(policy), checkpoint)
    if not (checkpoint / "config.json").is_file():
        raise FileNotFoundError(f"{checkpoint}: no config.json; not a checkpoint of a policy")
    return load_base(policy, checkpoint)


def lora_config(policy: PolicyConfig) -> PeftLoraConfig:
    """Peft's settings from the policy's ``lora``."""
    assert policy.lora is not None
    targets = policy.lora.target_modules
    return PeftLoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=policy.lora.r,
        lora_alpha=policy.lora.alpha,
        lora_dropout=policy.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
    )


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids that end a completion: the tokenizer's and those the model declares.

    Raises:
        ValueError: The tokenizer has no end token.
    """
    declared = model.generation_config.eos_token_id
    ids = [] if declared is None else [declared] if isinstance(declared, int) else list(declared)
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "policy.model: its tokenizer has no end token, so that no completion could end; name "
            "one as eos_token in its tokenizer_config.json"
        )
    if tokenizer.eos_token_id not in ids:
        ids = [tokenizer.eos_token_id, *ids]
    return ids


def load_rewards(config: RunConfig) -> list[ObjectiveReward]:
    """The K objectives of a run as reward functions. Raises ValueError naming a bad one."""
    return [ObjectiveReward(resolve(objective)) for objective in config.objectives]


def grpo_config(config: RunConfig, output_dir: Path) -> GRPOConfig:
    """TRL's configuration of a run.

    Raises:
        ValueError: When ``grpo.extra`` names what ``config.trl_fields`` refuses, or batch sizes do
            not divide.
    """
    grpo = config.grpo
    run = {
        "loss_type": grpo.loss_type,
        "beta": grpo.beta,
        "gradient_checkpointing": config.policy.gradient_checkpointing,
    }
    for name, problem in refusals(grpo.extra, run).items():
        raise ValueError(f"grpo.extra.{name}: {problem}")
    schedule = grpo.lr_scheduler_type
    if schedule == "constant" and grpo.warmup_steps:
        schedule = "constant_with_warmup"  # transformers' "constant" has no warm-up
    settings: dict[str, Any] = {
        "output_dir": str(output_dir),
        "max_steps": config.steps,
        "seed": config.seed,
        "learning_rate": grpo.learning_rate,
        "lr_scheduler_type": schedule,
        "warmup_steps": grpo.warmup_steps,
        "max_grad_norm": grpo.max_grad_norm,
        "num_generations": grpo.num_generations,
        "max_completion_length": grpo.max_completion_length,
        "temperature": grpo.temperature,
        "top_p": grpo.top_p,
        "beta": 0.0 if grpo.kl_in_reward else grpo.beta,
        "scale_rewards": grpo.scale_rewards,
        "multi_objective_aggregation": config.aggregation,
        "epsilon": grpo.epsilon,
        "num_iterations": grpo.num_iterations,
        "loss_type": grpo.loss_type,
        "gradient_accumulation_steps": grpo.gradient_accumulation_steps,
        "gradient_checkpointing": config.policy.gradient_checkpointing,
        "trust_remote_code": config.policy.trust_remote_code,
        "bf16": config.policy.dtype == "bfloat16",
        "fp16": config.policy.dtype == "float16",
        "use_cpu": not torch.cuda.is_available(),
        "report_to": list(config.logging.report_to) or "none",
        "run_name": config.name,
        "logging_steps": 1,
        "logging_first_step": True,
        "save_strategy": "no",
        "eval_strategy": "no",
        "disable_tqdm": True,
        "shuffle_dataset": False,
        "dataloader_pin_memory": False,
        **resolve_secrets(grpo.extra),
    }
    rows, parts = grpo.prompts_per_step * grpo.num_generations, grpo.gradient_accumulation_steps
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # what torchrun and accelerate set
    if rows % (parts * processes):
        raise ValueError(
            f"grpo.prompts_per_step: {grpo.prompts_per_step} x {grpo.num_generations} completions "
            f"do not divide by gradient_accumulation_steps {parts} x {processes} processes"
        )
    settings["per_device_train_batch_size"] = rows // (parts * processes)
    return GRPOConfig(**settings)
