"""Checkpoints: transformers' own files, the scalarizer's state, and what a run decides by.

::

    runs/<id>/checkpoints/step-000050/
        model.safetensors, config.json, ...      the policy, or adapter_model.safetensors
        tokenizer.json, ...
        conductor.safetensors                    scalarizer and running moments (``Weighing.state``)
        optimizer.pt, scheduler.pt, rng_state*.pth, trainer_state.json    transformers' own
        reference.safetensors, buffer.safetensors, value.safetensors      where there are such
        trainer.json                             step, score, counters, memory; CRC of all the rest

A checkpoint covers every row, metric and warning published before it, so it becomes visible (by a
rename, its files on disk) only after all of them are durable.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from transformers import Trainer

from workbench.runs.checkpoints import (
    CONDUCTOR,
    PREFIX,
    TRAINER,
    inventory,
    read_trainer,
    step_of,
    superfluous,
)
from workbench.train.sharded import restore_optimizer, whole_optimizer

OPTIMIZER, SCHEDULER = "optimizer.pt", "scheduler.pt"  # transformers' names
ENTROPY = "entropy_ctrl_state.json"  # TRL's, and it reads it


def load_conductor(path: Path) -> dict[str, np.ndarray]:
    """State of scalarizer and scaling from a checkpoint, for ``Weighing.load``."""
    return load_arrays(path / CONDUCTOR)


def save(trainer: Trainer) -> Path:
    """Write a checkpoint at the trainer's step, publish it, and apply retention.

    All processes call this; the first one writes.

    Raises:
        OSError: The disk refuses, or not every row could be written before.
    """
    temporary = _temporary(trainer)
    weights = None
    if trainer.sharded:  # every process gives its share
        weights = trainer.accelerator.get_state_dict(trainer.model)
        optimizer = whole_optimizer(trainer)
        if trainer.accelerator.is_main_process:
            torch.save(optimizer, temporary / OPTIMIZER)
            torch.save(trainer.lr_scheduler.state_dict(), temporary / SCHEDULER)
    else:
        trainer._save_optimizer_and_scheduler(str(temporary))
    trainer._save_scaler(str(temporary))
    trainer._save_rng_state(str(temporary))
    trainer.accelerator.wait_for_everyone()
    directory = trainer.checkpoint_dir / f"{PREFIX}{trainer.state.global_step:06d}"
    if not trainer.accelerator.is_main_process:
        return directory
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(temporary, state_dict=weights)
    save_arrays(_contiguous(trainer.weighing.state()), temporary / CONDUCTOR)
    reference = trainer.reference.frozen if trainer.reference is not None else None
    if trainer.config.grpo.reference_sync_every and reference is not None:
        _save_unshared(reference.state_dict(), temporary / "reference.safetensors")
    buffered = _buffer(trainer)
    if buffered:
        _save_unshared(buffered, temporary / "buffer.safetensors")
    if trainer.use_adaptive_entropy:
        known = {"entropy_coef": trainer.entropy_coef}
        known["last_world_entropy"] = trainer._last_world_entropy
        (temporary / ENTROPY).write_text(json.dumps(known))
    return finish(
        trainer,
        temporary,
        {
            "micro_step": trainer._step,
            "counters": asdict(trainer.counters),
            "too_large": trainer.too_large,
        },
    )


def save_rows(trainer: Trainer, extra: Mapping[str, Mapping[str, torch.Tensor]]) -> Path:
    """The same for a run that learns from logged rows; ``extra`` are further files of tensors."""
    temporary = _temporary(trainer)
    trainer._save_optimizer_and_scheduler(str(temporary))
    trainer._save_scaler(str(temporary))
    trainer._save_rng_state(str(temporary))
    trainer.accelerator.wait_for_everyone()
    if not trainer.accelerator.is_main_process:
        return trainer.checkpoint_dir / f"{PREFIX}{trainer.state.global_step:06d}"
    trainer.policy.save_pretrained(temporary)
    save_arrays(_contiguous(trainer.scalarizer_state), temporary / CONDUCTOR)
    for name, tensors in extra.items():
        _save_unshared(tensors, temporary / name)
    return finish(trainer, temporary, {})


def _temporary(trainer: Trainer) -> Path:
    """An empty directory that all processes write into."""
    path = trainer.checkpoint_dir / f".{PREFIX}{trainer.state.global_step:06d}"
    if trainer.accelerator.is_main_process:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    trainer.accelerator.wait_for_everyone()
    return path


def finish(trainer: Trainer, temporary: Path, content: Mapping[str, Any]) -> Path:
    """The end of every checkpoint: rows durable, files on disk, the rename, retention.

    Raises:
        OSError: The disk refuses, or not every row could be written before.
    """
    step = trainer.state.global_step
    directory = trainer.checkpoint_dir / f"{PREFIX}{step:06d}"
    trainer.processing_class.save_pretrained(temporary)
    trainer.state.save_to_json(str(temporary / "trainer_state.json"))
    whole = {
        "step": step,
        "score": trainer.headline,
        "processes": trainer.accelerator.num_processes,
        "memory": trainer.memory.state(),
        **content,
        "files": inventory(temporary),
    }
    (temporary / TRAINER).write_text(json.dumps(whole))
    for file in temporary.rglob("*"):
        _to_disk(file)
    _to_disk(temporary)
    if not trainer.publisher.flush():
        raise OSError("the rows before it could not be written")
    shutil.rmtree(directory, ignore_errors=True)
    os.replace(temporary, directory)
    _to_disk(trainer.checkpoint_dir)
    size = sum(f.stat().st_size for f in directory.rglob("*") if f.is_file())
    trainer.publisher.checkpoint(step, directory, {"bytes": float(size), "score": trainer.headline})
    for path in superfluous(trainer.checkpoint_dir, trainer.config.logging.keep_checkpoints):
        shutil.rmtree(path)
        trainer.publisher.checkpoint(step_of(path), path, {"removed": True})
    return directory


def _to_disk(path: Path) -> None:
    """Wait until a file, or a directory's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def restore(trainer: Trainer, path: Path) -> None:
    """Scalarizer, counters, memory, reference and buffer of a checkpoint.

    Policy, optimiser, schedule and random states are loaded by transformers.
    """
    content = read_trainer(path)
    trainer.weighing.load(load_conductor(path))
    trainer.headline = content["score"]
    trainer.memory.load(content["memory"])
    trainer.too_large = content["too_large"]
    trainer._step = content["micro_step"]
    for name, value in content["counters"].items():
        setattr(trainer.counters, name, value)
    reference = trainer.reference.frozen if trainer.reference is not None else None
    if trainer.config.grpo.reference_sync_every and reference is not None:
        reference.load_state_dict(load_file(path / "reference.safetensors"))
    if (path / "buffer.safetensors").is_file():
        parts: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in load_file(path / "buffer.safetensors").items():
            index, _, name = key.partition(".")
            parts.setdefault(int(index), {})[name] = tensor.to(trainer.args.device)
        trainer._buffered_inputs = [parts[i] for i in sorted(parts)]


def restore_sharded(trainer: Trainer, path: Path) -> None:
    """Optimiser and schedule of a checkpoint, for parameters that are spread over processes."""
    restore_optimizer(trainer, torch.load(path / OPTIMIZER, "cpu", weights_only=True))
    trainer.lr_scheduler.load_state_dict(torch.load(path / SCHEDULER, weights_only=True))


def check_processes(path: Path, processes: int) -> None:
    """Refuse to continue with other random states than were written.

    Raises:
        ValueError: The checkpoint was written by another number of processes.
    """
    written = read_trainer(path)["processes"]
    if processes != written:
        raise ValueError(
            f"{path}: written by {written} processes; resume with as many, not with {processes}"
        )


def _buffer(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Generated batches that are still to be used; empty between generations."""
    every = trainer.args.steps_per_generation * trainer.num_iterations
    if trainer._step % every == 0 or trainer._buffered_inputs is None:
        return {}
    return {
        f"{i}.{name}": value
        for i, part in enumerate(trainer._buffered_inputs)
        for name, value in part.items()
        if value is not None
    }


def _save_unshared(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Save tensors that may share memory (tied weights): each is written for itself."""
    unshared = {
        k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in state.items()
    }
    save_file(unshared, path)


def _contiguous(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.array(value, order="C") for name, value in arrays.items()}
