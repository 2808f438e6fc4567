"""What can be known before a model is loaded, looked at before anything starts.

``workbench run``, ``wb.start`` and the Launch page ask it alike, and ``workbench run --check`` does
only that. Light: it reads configurations, the task's rows and small JSON files, and calls the
functions that a run names once, in a process of their own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.config.io import Problem
from workbench.config.run import FUNCTION, RunConfig
from workbench.config.scalarizers import Conductor
from workbench.config.trl_fields import refusals
from workbench.objectives import OBJECTIVES
from workbench.runs.tryout import Wanted, try_out
from workbench.tasks import load_task
from workbench.tasks.sources import HUB
from workbench.types import Example, Task

GB = 1e9
NO_TEMPLATE = "the prompts are conversations, but its tokenizer has no chat template"


def problems_of(config: RunConfig, runs_dir: Path, call: bool = True) -> list[Problem]:
    """Everything that would end the run later, or be ignored by it; empty when nothing is.

    Args:
        config: With absolute paths.
        runs_dir: Where the run's directory will be.
        call: Also call the functions that the run names.
    """
    found = [*_settings(config), *_model(config), *_reward_models(config), *_disk(config, runs_dir)]
    own = list(_own_functions(config))
    shipped = config.task.name == "etudes"  # its rows are right; they are made where one is needed
    task, problem = (None, None) if shipped and not own else _task(config)
    if problem is not None:
        return [*found, problem]
    example = task.train[0] if task is not None and task.train else None
    if example is not None:
        found += _prompts(config, example)
    if call and own and not found:
        found += _called(config, own, example)
    return found


def _settings(config: RunConfig) -> Iterator[Problem]:
    """TRL's fields, and pairs of settings that cannot be or do nothing."""
    grpo = config.grpo
    run = {
        "loss_type": grpo.loss_type,
        "beta": grpo.beta,
        "gradient_checkpointing": config.policy.gradient_checkpointing,
    }
    for name, problem in refusals(grpo.extra, run).items():
        yield Problem(f"grpo.extra.{name}", problem)
    if grpo.extra.get("use_vllm") and find_spec("vllm") is None:
        yield Problem("grpo.extra.use_vllm", "needs the package vllm, which is not installed")
    if config.offline is not None:
        return
    rows, parts = grpo.prompts_per_step * grpo.num_generations, grpo.gradient_accumulation_steps
    if rows % parts:
        yield Problem(
            "grpo.gradient_accumulation_steps",
            f"{parts} does not divide the {rows} completions of a step",
        )
    if grpo.kl_in_reward and grpo.beta == 0:
        yield Problem("grpo.kl_in_reward", "without effect while grpo.beta is 0; set grpo.beta")
    if grpo.reference_sync_every and config.policy.lora is not None:
        yield Problem(
            "grpo.reference_sync_every",
            f"{grpo.reference_sync_every} is not allowed with policy.lora: the reference is the "
            "base model below the adapters, which stays; set it to 0",
        )
    elif grpo.reference_sync_every and grpo.beta == 0 and not _may_ask_reference(config):
        yield Problem(
            "grpo.reference_sync_every",
            "without effect: nothing asks for the reference while grpo.beta is 0; set grpo.beta, "
            "or set it to 0",
        )


def _may_ask_reference(config: RunConfig) -> bool:
    """Whether an objective asks for the reference; one of the user's own may."""
    for objective in config.objectives:
        if objective.function is not None:
            return True
        if objective.name in OBJECTIVES and "reference" in OBJECTIVES[objective.name].needs:
            return True
    return False


def _json(path: Path) -> dict[str, Any]:
    """A JSON file of a model's directory; empty where there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):  # a broken one is told when the model is loaded
        return {}
    return found if isinstance(found, dict) else {}


def _positions(config: Mapping[str, Any]) -> int | None:
    """Positions that a model's configuration declares."""
    for part in (config, config.get("text_config") or {}):
        for name in ("max_position_embeddings", "n_positions"):
            if isinstance(part.get(name), int):
                return int(part[name])
    return None


def _model(config: RunConfig) -> Iterator[Problem]:
    """A policy in a directory of this machine: its files, its end token, its context."""
    folder = Path(config.policy.model)
    if not folder.is_absolute():
        return
    if not (folder / "config.json").is_file():
        yield Problem("policy.model", f"{str(folder)!r} holds no model: there is no config.json")
        return
    if not any(folder.glob("*.safetensors")):
        yield Problem("policy.model", f"{str(folder)!r} holds no weights as safetensors")
    declared = _json(folder / "config.json")
    tokenizer = _json(folder / "tokenizer_config.json")
    if not tokenizer and not (folder / "tokenizer.json").is_file():
        yield Problem("policy.model", f"{str(folder)!r} holds no tokenizer")
    generic = tokenizer.get("tokenizer_class") in ("PreTrainedTokenizerFast", "TokenizersBackend")
    ends = tokenizer.get("eos_token") or _json(folder / "special_tokens_map.json").get("eos_token")
    if generic and not ends:
        yield Problem(
            "policy.model",
            f"the tokenizer of {str(folder)!r} has no end token, so that no completion could end; "
            "name one as eos_token in its tokenizer_config.json",
        )
    positions, length = _positions(declared), config.grpo.max_completion_length
    if positions is not None and length >= positions and not declared.get("is_encoder_decoder"):
        yield Problem(
            "grpo.max_completion_length",
            f"{length} tokens do not fit behind a prompt into the model's context of {positions}",
        )


def _prompts(config: RunConfig, example: Example) -> Iterator[Problem]:
    """Conversations need a chat template."""
    folder = Path(config.policy.model)
    if isinstance(example.prompt, str) or not (folder.is_absolute() or folder == Path("etudes")):
        return
    known = folder.is_absolute() and (
        _json(folder / "tokenizer_config.json").get("chat_template")
        or any(folder.glob("*chat_template*"))
        or any(folder.glob("additional_chat_templates/*"))
    )
    if not known:
        yield Problem(
            "policy.model", f"{NO_TEMPLATE}; use a chat model, or prompts that are plain text"
        )


def _reward_models(config: RunConfig) -> Iterator[Problem]:
    """Reward models in directories: what they are, and whether a completion fits into them."""
    for index, objective in enumerate(config.objectives):
        folder = Path(objective.model or "")
        if objective.model is None or not folder.is_absolute():
            continue
        key = f"objectives.{index}.model"
        declared = _json(folder / "config.json")
        if not declared:
            yield Problem(key, f"{str(folder)!r} holds no model: there is no config.json")
            continue
        labels = declared.get("num_labels") or len(declared.get("id2label") or {}) or 2
        if labels > 2:
            yield Problem(key, f"{str(folder)!r} has {labels} outputs; allowed are 1 and 2")
        limits = [_positions(declared), _json(folder / "tokenizer_config.json").get(LIMIT)]
        known = [n for n in limits if isinstance(n, int) and n < 10**9]
        length = config.grpo.max_completion_length
        if known and min(known) <= length:
            yield Problem(
                key,
                f"{str(folder)!r} reads at most {min(known)} tokens, and a completion may have "
                f"{length}: its end would be cut off. Lower grpo.max_completion_length",
            )


LIMIT = "model_max_length"  # transformers' name, in tokenizer_config.json


def _disk(config: RunConfig, runs_dir: Path) -> Iterator[Problem]:
    """Room for one checkpoint more than are kept: weights, and Adam's two moments in full."""
    folder = Path(config.policy.model)
    weights = sum(f.stat().st_size for f in folder.glob("*.safetensors")) if folder != Path() else 0
    if not folder.is_absolute() or config.policy.lora is not None:
        return
    needed = 3.0 * weights * (config.logging.keep_checkpoints + 1)
    where = next(path for path in (runs_dir, *runs_dir.parents) if path.exists())
    free = shutil.disk_usage(where).free
    if needed > free:
        yield Problem(
            "logging.keep_checkpoints",
            f"{config.logging.keep_checkpoints} checkpoints and a new one need about "
            f"{needed / GB:.1f} GB, and {free / GB:.1f} GB are free in {str(where)!r}",
        )


def _task(config: RunConfig) -> tuple[Task | None, Problem | None]:
    """The task, or why it cannot be read; neither where the hub would be asked."""
    task = config.task
    if any(path and path.startswith(HUB) for path in (task.path, task.eval_path)):
        return None, None
    try:
        loaded = load_task(task)
    except (ValueError, OSError) as error:
        text, key = str(error), "task"
        for name in ("task.path", "task.eval_path", "task.kinds", "task.columns"):
            if text.startswith(f"{name}: "):
                text, key = text.removeprefix(f"{name}: "), name
        return None, Problem("task.path" if key == "task" and task.path else key, text)
    if not loaded.train and config.offline is None:
        return None, Problem("task", "there is no prompt to train on")
    return loaded, None


def _own_functions(config: RunConfig) -> Iterator[Wanted]:
    """Objectives and anchors of the user's own."""
    for index, objective in enumerate(config.objectives):
        if objective.function is not None:
            yield Wanted(f"objectives.{index}.function", objective.function, objective.params)
    chosen = config.scalarizer
    anchor = chosen.anchor if isinstance(chosen, Conductor) else None
    if anchor is not None and chosen.meta_reward == "anchor" and anchor.source:
        if FUNCTION.match(anchor.source) and not anchor.source.startswith("objective:"):
            yield Wanted("scalarizer.anchor.source", anchor.source, {})


def _called(config: RunConfig, own: Sequence[Wanted], example: Example | None) -> Iterator[Problem]:
    """Each of these functions, called once."""
    if example is None:
        example = Example(prompt="What is 2 + 2?", prompt_id="made-up", reference="4")
    columns = {
        **example.extra,
        "prompt_id": example.prompt_id,
        "kind": example.kind,
        "reference": example.reference,
    }
    for key, problem in try_out(own, example.prompt, columns, config.steps).items():
        yield Problem(key, problem)
