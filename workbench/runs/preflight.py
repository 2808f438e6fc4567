"""What can be known before a model is loaded, looked at before anything starts.

``workbench run``, ``wb.start`` and the Launch page ask it alike, and ``workbench run --check`` does
only that. Light: it reads configurations, the task's rows and small JSON files, and calls the
functions that a run names once, in a process of their own.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.config.io import Problem
from workbench.config.offline import SourceConfig
from workbench.config.run import FUNCTION, RunConfig
from workbench.config.scalarizers import Conductor
from workbench.config.trl_fields import refusals
from workbench.objectives import OBJECTIVES
from workbench.runs.tryout import Wanted, try_out
from workbench.tasks import load_task
from workbench.tasks.offline_file import file_rows
from workbench.tasks.sources import HUB
from workbench.types import Example

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
    example, problem = (None, None) if shipped and not own else _first_row(config)
    if problem is not None:
        return [*found, problem]
    if example is not None:
        found += _prompts(config, example)
    found += _missing_modules(own)
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
    yield from _packages(config)
    if config.offline is not None:
        if config.offline.source.path is not None:
            yield from _logged_rows(config.offline.source)
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


PACKAGES = {
    "clearml": "clearml",
    "comet_ml": "comet_ml",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""Packages of the trackers that ``logging.report_to`` takes."""


def _packages(config: RunConfig) -> Iterator[Problem]:
    """Packages that a setting needs and that are not installed."""
    for name in config.logging.report_to:
        if name not in PACKAGES:
            allowed = ", ".join(PACKAGES)
            yield Problem("logging.report_to", f"{name!r} is not allowed; allowed are {allowed}")
        elif find_spec(PACKAGES[name]) is None:
            yield Problem("logging.report_to", f"{name!r} needs a package that is not installed")
    if config.policy.quantize is not None and find_spec("bitsandbytes") is None:
        yield Problem("policy.quantize", "needs the package bitsandbytes, which is not installed")
    if config.policy.attn_implementation == "flash_attention_2" and not find_spec("flash_attn"):
        yield Problem(
            "policy.attn_implementation",
            "'flash_attention_2' needs the package flash_attn, which is not installed",
        )


def _logged_rows(source: SourceConfig) -> Iterator[Problem]:
    """A file of rows to learn from: its columns, and what is in them."""
    try:
        file_rows(Path(str(source.path)), source.columns)
    except (ValueError, OSError) as error:
        text = str(error).removeprefix("offline.source.path: ")
        yield Problem("offline.source.path", text)


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


@dataclass(frozen=True)
class _Read:
    """What a task's rows were like when they were last read."""

    key: tuple[Any, ...]
    example: Example | None
    problem: Problem | None


_newest: list[_Read] = []  # a form asks again and again while one types


def _first_row(config: RunConfig) -> tuple[Example | None, Problem | None]:
    """The first row to train on, or why the task cannot be read; neither of the hub's."""
    task = config.task
    paths = [path for path in (task.path, task.eval_path) if path]
    if any(path.startswith(HUB) for path in paths):
        return None, None
    files = [Path(path) for path in paths if Path(path).is_file()]
    stats = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    key = (repr(task), config.offline is None, *stats)
    if len(stats) < len(paths) or not _newest or _newest[0].key != key:
        _newest[:] = [_Read(key, *_read(config))]
    return _newest[0].example, _newest[0].problem


def _read(config: RunConfig) -> tuple[Example | None, Problem | None]:
    task = config.task
    try:
        loaded = load_task(task)
    except (ValueError, OSError) as error:
        text, key = str(error), "task.path" if task.path else "task"
        for name in ("task.path", "task.eval_path", "task.kinds", "task.columns"):
            if text.startswith(f"{name}: "):
                text, key = text.removeprefix(f"{name}: "), name
        return None, Problem(key, text)
    if not loaded.train:
        missing = Problem("task", "there is no prompt to train on")
        return None, missing if config.offline is None else None
    return loaded.train[0], None


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


def _missing_modules(own: Sequence[Wanted]) -> Iterator[Problem]:
    """Functions whose module is not there; looked for, not imported."""
    for wanted in own:
        top = wanted.function.partition(":")[0].partition(".")[0]
        here = top in sys.modules or PathFinder.find_spec(top, [str(Path.cwd())]) is not None
        if not here and find_spec(top) is None:
            yield Problem(wanted.key, f"{wanted.function!r}: there is no module {top!r}")


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
