"""Checkpoints that hold everything and execute nothing: safetensors and JSON.

    checkpoints/step-000050/
        config.json, *.safetensors, tokenizer    the policy, as ``save_pretrained`` writes it
        conductor.safetensors                    the scalarizer's state and the running moments
        optimizer.safetensors, random.safetensors, reference.safetensors, buffer.safetensors
        trainer.json                             scheduler, param groups, counters, random states
        trainer_state.json                       transformers' own account of the training

Written under a temporary name and renamed, so that a directory that is there is whole.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import gather_object
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from transformers import Trainer

from workbench.train.sharded import restore_optimizer as restore_sharded
from workbench.train.sharded import whole_optimizer

if TYPE_CHECKING:
    from workbench.train.maestro import MaestroTrainer

CONDUCTOR = "conductor.safetensors"
TRAINER = "trainer.json"
PREFIX = "step-"


def step_of(path: Path) -> int:
    """Policy updates that a checkpoint directory's name stands for."""
    return int(path.name.removeprefix(PREFIX))


def list_checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    found = [p for p in directory.glob(f"{PREFIX}*") if (p / TRAINER).is_file()]
    return sorted(found, key=step_of)


def read_trainer(path: Path) -> dict[str, Any]:
    """The JSON part of a checkpoint.

    Raises:
        FileNotFoundError: When the directory is no checkpoint of a run.
    """
    if not (path / TRAINER).is_file():
        raise FileNotFoundError(f"{path}: no {TRAINER}; not a checkpoint of a run")
    loaded: dict[str, Any] = json.loads((path / TRAINER).read_text())
    return loaded


def load_conductor(path: Path) -> dict[str, np.ndarray]:
    """State of scalarizer and scaling from a checkpoint, for ``Weighing.load``."""
    return load_arrays(path / CONDUCTOR)


def save(trainer: MaestroTrainer) -> Path:
    """Write a checkpoint at the trainer's step, publish it, and apply retention.

    All processes call this; the first one writes.
    """
    step = trainer.state.global_step
    directory = trainer.checkpoint_dir / f"{PREFIX}{step:06d}"
    states = [random_state()]
    if trainer.accelerator.num_processes > 1:
        states = gather_object(states)
    weights, optimizer = None, None
    if trainer.sharded:  # everybody gives a share
        weights = trainer.accelerator.get_state_dict(trainer.model)
        optimizer = whole_optimizer(trainer)
    if not trainer.accelerator.is_main_process:
        return directory
    temporary = trainer.checkpoint_dir / f".{directory.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(temporary, state_dict=weights)
    trainer.processing_class.save_pretrained(temporary)
    save_arrays(_contiguous(trainer.weighing.state()), temporary / CONDUCTOR)
    tensors, groups, numbers = optimizer or optimizer_state(trainer.optimizer)
    save_file(tensors, temporary / "optimizer.safetensors")
    save_arrays(
        {f"{rank}.{k}": v for rank, state in enumerate(states) for k, v in state["arrays"].items()},
        temporary / "random.safetensors",
    )
    if trainer.config.grpo.reference_sync_every and trainer.reference is not None:
        assert trainer.reference.frozen is not None
        _save_unshared(trainer.reference.frozen.state_dict(), temporary / "reference.safetensors")
    buffered = _buffer(trainer)
    if buffered:
        _save_unshared(buffered, temporary / "buffer.safetensors")
    trainer.state.save_to_json(str(temporary / "trainer_state.json"))
    content = {
        "step": step,
        "micro_step": trainer._step,
        "score": trainer.headline,
        "counters": asdict(trainer.counters),
        "scheduler": jsonable(trainer.lr_scheduler.state_dict()),
        "param_groups": groups,
        "optimizer_numbers": numbers,
        "random": [state["plain"] for state in states],
    }
    (temporary / TRAINER).write_text(json.dumps(content))
    shutil.rmtree(directory, ignore_errors=True)
    os.replace(temporary, directory)
    size = sum(f.stat().st_size for f in directory.rglob("*") if f.is_file())
    published = {"bytes": float(size), "score": trainer.headline}
    trainer.publisher.checkpoint(step, directory, published)
    for path in superfluous(trainer.checkpoint_dir, trainer.config.logging.keep_checkpoints):
        shutil.rmtree(path)
        trainer.publisher.checkpoint(step_of(path), path, {"removed": True})
    return directory


def restore(trainer: MaestroTrainer, path: Path) -> None:
    """Optimiser, scheduler, scalarizer, counters, reference and buffer of a checkpoint.

    The policy itself is loaded by transformers, random states by ``restore_random``.
    """
    content = read_trainer(path)
    if trainer.sharded:
        groups, numbers = content["param_groups"], content["optimizer_numbers"]
        restore_sharded(trainer, path, groups, numbers)
        trainer.lr_scheduler.load_state_dict(content["scheduler"])
    else:
        restore_optimizer(trainer, path)
    trainer.weighing.load(load_conductor(path))
    trainer.headline = content["score"]
    trainer._step = content["micro_step"]
    for name, value in content["counters"].items():
        setattr(trainer.counters, name, value)
    if trainer.config.grpo.reference_sync_every and trainer.reference is not None:
        assert trainer.reference.frozen is not None
        trainer.reference.frozen.load_state_dict(load_file(path / "reference.safetensors"))
    if (path / "buffer.safetensors").is_file():
        parts: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in load_file(path / "buffer.safetensors").items():
            index, _, name = key.partition(".")
            parts.setdefault(int(index), {})[name] = tensor.to(trainer.args.device)
        trainer._buffered_inputs = [parts[i] for i in sorted(parts)]


def restore_optimizer(trainer: Trainer, path: Path) -> None:
    """Moments and learning-rate schedule of a checkpoint, for any trainer of transformers."""
    content = read_trainer(path)
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in load_file(path / "optimizer.safetensors").items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    for index, numbers in content["optimizer_numbers"].items():
        state.setdefault(int(index), {}).update(numbers)
    groups = content["param_groups"]
    for group in groups:
        if "betas" in group:
            group["betas"] = tuple(group["betas"])
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})
    trainer.lr_scheduler.load_state_dict(content["scheduler"])


def restore_random(trainer: Trainer, path: Path) -> None:
    """Give this process back the random states it had when the checkpoint was written."""
    rank = trainer.accelerator.process_index
    plain = read_trainer(path)["random"]
    if rank >= len(plain):
        raise ValueError(
            f"{path}: written by {len(plain)} processes; resume with as many, not with "
            f"{trainer.accelerator.num_processes}"
        )
    arrays = load_arrays(path / "random.safetensors")
    version, internal, gauss = plain[rank]["python"]
    random.setstate((version, tuple(internal), gauss))
    name, position, has_gauss, cached = plain[rank]["numpy"]
    np.random.set_state((name, arrays[f"{rank}.numpy"], position, has_gauss, cached))
    torch.set_rng_state(torch.from_numpy(arrays[f"{rank}.torch"]))
    for device in range(torch.cuda.device_count()):
        key = f"{rank}.cuda{device}"
        if key in arrays:
            torch.cuda.set_rng_state(torch.from_numpy(arrays[key]), device)


def random_state() -> dict[str, Any]:
    """Random states of this process: arrays for safetensors, the rest for JSON."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # type: ignore[misc]
    arrays = {"numpy": keys, "torch": torch.get_rng_state().numpy()}
    for device in range(torch.cuda.device_count()):
        arrays[f"cuda{device}"] = torch.cuda.get_rng_state(device).numpy()
    return {
        "arrays": arrays,
        "plain": {
            "python": [version, list(internal), gauss],
            "numpy": [name, position, has_gauss, cached],
        },
    }


def optimizer_state(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, torch.Tensor], list[Any], dict[str, Any]]:
    """Tensors by "index.name", param groups, and numbers that are no tensors."""
    whole = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, values in whole["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.contiguous()
            else:
                numbers.setdefault(str(index), {})[name] = value
    return tensors, jsonable(whole["param_groups"]), numbers


def _buffer(trainer: MaestroTrainer) -> dict[str, torch.Tensor]:
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


def jsonable(value: Any) -> Any:
    """Tuples to lists and tensors to numbers, so that JSON takes it."""
    return json.loads(json.dumps(value, default=lambda tensor: tensor.item()))


def superfluous(directory: Path, keep: int) -> list[Path]:
    """Checkpoints beyond the newest ``keep``, but never the best one."""
    found = list_checkpoints(directory)
    scores = {path: read_trainer(path)["score"] for path in found}
    scored = [path for path in found if scores[path] is not None]
    best = max(scored, key=lambda path: (scores[path], step_of(path)), default=None)
    return [path for path in found[:-keep] if path != best]
