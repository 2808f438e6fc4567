"""The closed list of TRL's GRPOConfig: what ``grpo.extra`` may say, and what to set instead.

Every field of the pinned TRL is in exactly one of these tables (a test compares). Light: no torch,
so that a form and ``workbench run --check`` ask it as the trainer does.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

KEYS = {
    "num_generations": "grpo.num_generations",
    "max_completion_length": "grpo.max_completion_length",
    "learning_rate": "grpo.learning_rate",
    "lr_scheduler_type": "grpo.lr_scheduler_type",
    "warmup_steps": "grpo.warmup_steps",
    "max_grad_norm": "grpo.max_grad_norm",
    "temperature": "grpo.temperature",
    "top_p": "grpo.top_p",
    "beta": "grpo.beta",
    "scale_rewards": "grpo.scale_rewards",
    "epsilon": "grpo.epsilon",
    "num_iterations": "grpo.num_iterations",
    "gradient_accumulation_steps": "grpo.gradient_accumulation_steps",
    "loss_type": "grpo.loss_type",
    "sync_ref_model": "grpo.reference_sync_every",
    "ref_model_sync_steps": "grpo.reference_sync_every",
    "steps_per_generation": "grpo.gradient_accumulation_steps",
    "per_device_train_batch_size": "grpo.prompts_per_step and grpo.num_generations",
    "generation_batch_size": "grpo.prompts_per_step and grpo.num_generations",
    "max_steps": "steps",
    "num_train_epochs": "steps",
    "seed": "seed",
    "run_name": "name",
    "multi_objective_aggregation": "aggregation",
    "reward_weights": "scalarizer: {name: static, weights: ...}",
    "bf16": "policy.dtype: bfloat16",
    "fp16": "policy.dtype: float16",
    "gradient_checkpointing": "policy.gradient_checkpointing",
    "activation_checkpointing": "policy.gradient_checkpointing",
    "activation_checkpointing_kwargs": "grpo.extra.gradient_checkpointing_kwargs",
    "trust_remote_code": "policy.trust_remote_code",
    "model_init_kwargs": "policy.dtype, policy.quantize and policy.attn_implementation",
    "report_to": "logging.report_to",
    "save_strategy": "logging.checkpoint_every",
    "save_steps": "logging.checkpoint_every",
    "save_total_limit": "logging.keep_checkpoints",
    "eval_strategy": "probe.every and evaluation.prompts",
    "eval_steps": "probe.every",
    "eval_delay": "probe.every",
    "eval_on_start": "evaluation.before",
    "do_eval": "evaluation.prompts",
    "num_generations_eval": "probe.num_generations and evaluation.num_generations",
}
"""Fields that have a key of their own in the run, and that key."""

DECIDED = {
    "output_dir": "the run directory decides",
    "logging_strategy": "every step is logged",
    "logging_steps": "every step is logged",
    "logging_first_step": "every step is logged",
    "disable_tqdm": "the run's log is lines of text",
    "shuffle_dataset": "the order of the prompts follows from seed",
    "data_seed": "the order of the prompts follows from seed",
    "train_sampling_strategy": "the order of the prompts follows from seed",
    "ignore_data_skip": "a resumed run continues its plan",
    "resume_from_checkpoint": "use workbench resume",
    "restore_callback_states_from_checkpoint": "checkpoints hold all that a resume needs",
    "remove_unused_columns": "objectives get every column by its name",
    "use_cpu": "a GPU is used where there is one; hide it with CUDA_VISIBLE_DEVICES=''",
    "local_rank": "torchrun and accelerate set it",
    "do_train": "a run trains",
    "auto_find_batch_size": "a step has grpo.prompts_per_step x grpo.num_generations completions",
    "use_transformers_continuous_batching": "completions are drawn one way everywhere; use vLLM",
    "transformers_continuous_batching_config": "completions are drawn one way; use vLLM",
    "use_transformers_paged": "completions are drawn one way everywhere; use vLLM",
    "push_to_hub": "use workbench export",
    "log_completions_hub_repo": "use workbench export",
    "parallelism_config": "context and sequence parallelism are not supported",
}
"""Fields that the run decides, and how."""

WITHOUT_EFFECT = {
    "load_best_model_at_end": "best and last checkpoints are kept: --checkpoint best",
    "metric_for_best_model": "the best checkpoint has the highest judge on the probes",
    "greater_is_better": "the best checkpoint has the highest judge on the probes",
    "save_only_model": "checkpoints are the run's own",
    "save_on_each_node": "checkpoints are the run's own",
    "enable_jit_checkpoint": "a run that is stopped writes a checkpoint anyway",
    "ref_model_mixup_alpha": "the reference is copied whole",
    "max_tool_calling_iterations": "no tools are called",
    "log_multimodal": "prompts are text",
    "pad_to_multiple_of": "rows are padded to the longest one",
    "dataloader_drop_last": "the plan is a whole number of batches",
    "dataloader_num_workers": "a batch is a list of prompts",
    "dataloader_pin_memory": "a batch is a list of prompts",
    "dataloader_persistent_workers": "a batch is a list of prompts",
    "dataloader_prefetch_factor": "a batch is a list of prompts",
    "dataloader_multiprocessing_context": "a batch is a list of prompts",
    "dataloader_in_order": "a batch is a list of prompts",
    "label_names": "the loss is GRPO's",
    "label_smoothing_factor": "the loss is GRPO's",
    "average_tokens_across_devices": "the loss is GRPO's",
    "length_column_name": "the order of the prompts follows from seed",
    "include_num_input_tokens_seen": "num_tokens is logged",
    "use_cache": "sampling uses the cache, training does not",
    "do_predict": "evaluations are the run's own",
    "per_device_eval_batch_size": "evaluations are the run's own",
    "prediction_loss_only": "evaluations are the run's own",
    "eval_do_concat_batches": "evaluations are the run's own",
    "eval_use_gather_object": "evaluations are the run's own",
    "eval_accumulation_steps": "evaluations are the run's own",
    "include_for_metrics": "evaluations are the run's own",
    "batch_eval_metrics": "evaluations are the run's own",
    "bf16_full_eval": "evaluations are the run's own",
    "fp16_full_eval": "evaluations are the run's own",
    "hub_token": "nothing is pushed",
    "hub_private_repo": "nothing is pushed",
    "hub_model_id": "nothing is pushed",
    "hub_strategy": "nothing is pushed",
    "hub_always_push": "nothing is pushed",
    "hub_revision": "nothing is pushed",
}
"""Fields that would change nothing in a run, and why."""

INT, FLOAT, BOOL, TEXT, TABLE = "an integer", "a number", "true or false", "text", "a mapping"
ANY = "anything"

PASSED = {
    # sampling and rendering, everywhere: training, probes, evaluations
    "top_k": INT,
    "min_p": FLOAT,
    "repetition_penalty": FLOAT,
    "cache_implementation": TEXT,
    "generation_kwargs": TABLE,
    "chat_template_kwargs": TABLE,
    # the loss
    "delta": FLOAT,
    "epsilon_high": FLOAT,
    "sapo_temperature_neg": FLOAT,
    "sapo_temperature_pos": FLOAT,
    "vespo_k_pos": FLOAT,
    "vespo_lambda_pos": FLOAT,
    "vespo_k_neg": FLOAT,
    "vespo_lambda_neg": FLOAT,
    "importance_sampling_level": TEXT,
    "mask_truncated_completions": BOOL,
    "top_entropy_quantile": FLOAT,
    "entropy_coef": FLOAT,
    "use_adaptive_entropy": BOOL,
    "entropy_coef_min": FLOAT,
    "entropy_coef_max": FLOAT,
    "entropy_coef_delta": FLOAT,
    "entropy_target": FLOAT,
    "off_policy_mask_threshold": FLOAT,
    "use_bias_correction_kl": BOOL,
    "router_aux_loss_coef": FLOAT,
    # the optimiser
    "optim": TEXT,
    "optim_args": TEXT,
    "optim_target_modules": ANY,
    "lr_scheduler_kwargs": TABLE,
    "weight_decay": FLOAT,
    "adam_beta1": FLOAT,
    "adam_beta2": FLOAT,
    "adam_epsilon": FLOAT,
    "neftune_noise_alpha": FLOAT,
    "disable_dropout": BOOL,
    # memory, speed, several processes
    "gradient_checkpointing_kwargs": TABLE,
    "cast_lm_head_to_fp32": BOOL,
    "tf32": BOOL,
    "torch_compile": BOOL,
    "torch_compile_backend": TEXT,
    "torch_compile_mode": TEXT,
    "use_liger_kernel": BOOL,
    "liger_kernel_config": TABLE,
    "torch_empty_cache_steps": INT,
    "accelerator_config": ANY,
    "deepspeed": ANY,
    "fsdp": TEXT,
    "fsdp_config": ANY,
    "ds3_gather_for_generation": BOOL,
    "ddp_find_unused_parameters": BOOL,
    "ddp_bucket_cap_mb": INT,
    "ddp_broadcast_buffers": BOOL,
    "ddp_static_graph": BOOL,
    "ddp_backend": TEXT,
    "ddp_timeout": INT,
    "full_determinism": BOOL,
    # vLLM
    "use_vllm": BOOL,
    "vllm_mode": TEXT,
    "vllm_model_impl": TEXT,
    "vllm_enable_sleep_mode": BOOL,
    "vllm_structured_outputs_regex": TEXT,
    "vllm_server_base_url": TEXT,
    "vllm_server_host": TEXT,
    "vllm_server_port": INT,
    "vllm_server_timeout": FLOAT,
    "vllm_group_port": INT,
    "vllm_gpu_memory_utilization": FLOAT,
    "vllm_max_model_length": INT,
    "vllm_tensor_parallel_size": INT,
    "vllm_importance_sampling_correction": BOOL,
    "vllm_importance_sampling_mode": TEXT,
    "vllm_importance_sampling_clip_max": FLOAT,
    "vllm_importance_sampling_clip_min": FLOAT,
    "vllm_importance_sampling_cap": FLOAT,
    # what is printed, and other trackers
    "log_completions": BOOL,
    "num_completions_to_print": INT,
    "log_unique_prompts": BOOL,
    "log_level": TEXT,
    "log_level_replica": TEXT,
    "log_on_each_node": BOOL,
    "logging_nan_inf_filter": BOOL,
    "project": TEXT,
    "trackio_space_id": TEXT,
    "trackio_bucket_id": TEXT,
    "trackio_static_space_id": TEXT,
    "debug": ANY,
    "skip_memory_metrics": BOOL,
}
"""Fields that are passed on, and what they take."""

EVERYWHERE = (
    "top_k",
    "min_p",
    "repetition_penalty",
    "cache_implementation",
    "generation_kwargs",
    "chat_template_kwargs",
)
"""Fields that shape prompts and sampling, in probes and evaluations as in training."""

GENERATION_KEYS = {
    "max_new_tokens": "grpo.max_completion_length",
    "max_length": "grpo.max_completion_length",
    "temperature": "grpo.temperature and evaluation.temperature",
    "do_sample": "grpo.temperature and evaluation.temperature",
    "top_p": "grpo.top_p",
    "top_k": "grpo.extra.top_k",
    "min_p": "grpo.extra.min_p",
    "repetition_penalty": "grpo.extra.repetition_penalty",
    "cache_implementation": "grpo.extra.cache_implementation",
    "num_return_sequences": "grpo.num_generations",
}
"""Keys of ``generation_kwargs`` that have a place of their own."""

GENERATION = frozenset(
    {
        "bad_words_ids",
        "begin_suppress_tokens",
        "encoder_no_repeat_ngram_size",
        "encoder_repetition_penalty",
        "epsilon_cutoff",
        "eta_cutoff",
        "exponential_decay_length_penalty",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "guidance_scale",
        "max_time",
        "min_length",
        "min_new_tokens",
        "no_repeat_ngram_size",
        "remove_invalid_values",
        "renormalize_logits",
        "sequence_bias",
        "suppress_tokens",
        "top_h",
        "typical_p",
        "watermarking_config",
    }
)
"""Keys of ``generation_kwargs`` that are passed on to transformers; the others search with beams,
draft with a second model, change what comes back, or are the tokenizer's."""

CONDITIONS: dict[str, tuple[str, str]] = {
    **{
        name: ("use_vllm", "true")
        for name in PASSED
        if name.startswith("vllm_") and name != "use_vllm"
    },
    **{
        name: ("use_adaptive_entropy", "true")
        for name in ("entropy_coef_min", "entropy_coef_max", "entropy_coef_delta", "entropy_target")
    },
    **{name: ("torch_compile", "true") for name in ("torch_compile_backend", "torch_compile_mode")},
    **{
        name: ("log_completions", "true")
        for name in ("num_completions_to_print", "log_unique_prompts")
    },
    "liger_kernel_config": ("use_liger_kernel", "true"),
}
"""Fields that are read only where another of ``grpo.extra`` is on."""

LOSSES = {
    "delta": ("grpo", "dr_grpo", "bnpo", "dapo", "luspo"),
    "sapo_temperature_neg": ("sapo",),
    "sapo_temperature_pos": ("sapo",),
    "vespo_k_pos": ("vespo",),
    "vespo_lambda_pos": ("vespo",),
    "vespo_k_neg": ("vespo",),
    "vespo_lambda_neg": ("vespo",),
}
"""Fields that are read only under these values of ``grpo.loss_type``."""

CHOICES = {
    "importance_sampling_level": ("token", "sequence"),
    "vllm_mode": ("server", "colocate"),
}


def refusals(extra: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with ``grpo.extra``, by key below ``grpo.extra``; empty when nothing is.

    Args:
        extra: The section.
        settings: ``loss_type``, ``beta``, ``gradient_checkpointing`` of the run.
    """
    found: dict[str, str] = {}
    for name, value in extra.items():
        problem = _of_field(name, value, extra, settings)
        if problem is not None:
            found[name] = problem
    kwargs = extra.get("generation_kwargs")
    for name in kwargs if isinstance(kwargs, Mapping) else ():
        problem = _of_generation(str(name))
        if problem is not None:
            found[f"generation_kwargs.{name}"] = problem
    return found


def _of_field(
    name: str, value: Any, extra: Mapping[str, Any], settings: Mapping[str, Any]
) -> str | None:
    if name in KEYS:
        return f"set by the run itself; set {KEYS[name]}"
    if name in DECIDED:
        return f"set by the run itself; {DECIDED[name]}"
    if name in WITHOUT_EFFECT:
        return f"without effect in a run: {WITHOUT_EFFECT[name]}"
    if name not in PASSED:
        near = get_close_matches(name, [*PASSED, *KEYS], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"unknown; it must be a field of TRL's GRPOConfig{hint}"
    if value is not None and not _fits(value, PASSED[name]):
        return f"{value!r} is not allowed; it must be {PASSED[name]}"
    if name in CHOICES and value not in CHOICES[name]:
        return f"{value!r} is not allowed; allowed are {', '.join(CHOICES[name])}"
    if name in CONDITIONS and not extra.get(CONDITIONS[name][0]):
        other, wanted = CONDITIONS[name]
        return f"without effect unless grpo.extra.{other} is {wanted}"
    if name in LOSSES and settings["loss_type"] not in LOSSES[name]:
        return (
            f"without effect under grpo.loss_type {settings['loss_type']!r}; it is read under "
            f"{', '.join(LOSSES[name])}"
        )
    if name == "use_bias_correction_kl" and not settings["beta"]:
        return "without effect while grpo.beta is 0"
    if name == "gradient_checkpointing_kwargs" and not settings["gradient_checkpointing"]:
        return "without effect unless policy.gradient_checkpointing is true"
    return None


def _of_generation(name: str) -> str | None:
    if name in GENERATION_KEYS:
        return f"set by the run itself; set {GENERATION_KEYS[name]}"
    if name in GENERATION:
        return None
    near = get_close_matches(name, [*GENERATION, *GENERATION_KEYS], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown or not usable here{hint}; allowed are {', '.join(sorted(GENERATION))}"


def _fits(value: Any, kind: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        INT: isinstance(value, int) and not isinstance(value, bool),
        FLOAT: number,
        BOOL: isinstance(value, bool),
        TEXT: isinstance(value, str),
        TABLE: isinstance(value, Mapping),
        ANY: True,
    }[kind]
