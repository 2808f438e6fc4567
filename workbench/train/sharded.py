"""Policies whose parameters are spread over the processes (FSDP 2): saved whole, restored whole.

A checkpoint looks like that of a run on one device. What one process does alone elsewhere (probes,
the evaluation after training) all do here together with the same seed, because every forward pass
needs every process's share of the parameters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from transformers import Trainer
from trl.distributed import DistributedBackend

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)


def is_sharded(trainer: Trainer) -> bool:
    """Whether the policy's parameters are spread over the processes.

    Raises:
        ValueError: In a way that checkpoints and probes cannot follow (FSDP 1, ZeRO stage 3), or
            under settings that need the whole policy in one place.
    """
    backend = DistributedBackend(trainer.accelerator)
    if backend.fsdp_version == 1:
        raise ValueError("accelerate config: FSDP version 1 is not supported; set fsdp_version: 2")
    if backend.is_zero3:
        raise ValueError(
            "accelerate config: DeepSpeed ZeRO stage 3 is not supported; use stage 1 or 2, or FSDP "
            "with fsdp_version: 2, which spreads the parameters too"
        )
    if backend.is_fsdp and trainer.config.grpo.reference_sync_every:
        raise ValueError("grpo.reference_sync_every: not under FSDP; set it to 0")
    return backend.is_fsdp


def whole_optimizer(trainer: Trainer) -> dict[str, Any]:
    """State of the optimiser by parameter names; all processes must call this.

    Only the first process gets it; the others get nothing.
    """
    return get_optimizer_state_dict(trainer.model, _bare(trainer.optimizer), options=WHOLE)


def restore_optimizer(trainer: Trainer, whole: dict[str, Any]) -> None:
    """Give every process its share of the moments of a checkpoint."""
    set_optimizer_state_dict(trainer.model, _bare(trainer.optimizer), whole, options=WHOLE)


def restore_policy(trainer: Trainer, path: Path) -> None:
    """Give every process its share of the policy of a checkpoint.

    Raises:
        ValueError: When it holds adapters.
    """
    if (path / "adapter_config.json").is_file():
        raise ValueError(
            f"{path}: adapters under FSDP cannot be resumed; start a run on one device or under "
            "plain data parallelism, or a new one"
        )
    weights: dict[str, torch.Tensor] = {}
    for file in sorted(path.glob("model*.safetensors")):
        weights |= load_file(file)
    set_model_state_dict(trainer.model, weights, options=WHOLE)


def _bare(optimizer: Any) -> torch.optim.Optimizer:
    """The optimiser inside Accelerate's wrapper."""
    bare: torch.optim.Optimizer = optimizer.optimizer
    return bare
