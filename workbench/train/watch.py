"""watch: log any TRL ``GRPOTrainer`` or ``RLOOTrainer`` into the store, and change nothing in it.

Usage::

    from workbench import watch

    trainer = GRPOTrainer(model=..., reward_funcs=[...], args=..., train_dataset=...)
    watch(trainer)  # runs/ gets one more run; Inspect, what-if and the diagnostics read it
    trainer.train()

Every completion of every step is published with its rewards per function, TRL's weights and the
advantages that trained, and every number that TRL logs. Nothing is drawn, computed or moved that
training would notice: three methods of the trainer are wrapped, their arguments and results are
kept, and everything else happens in the writer's thread. A store that fails is told once as a
warning and never stops the training.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from transformers import TrainerCallback
from trl import GRPOTrainer, RLOOTrainer

from workbench.config import RunConfig
from workbench.config.io import validate
from workbench.runs import processes, rundir
from workbench.store.inferred_config import objective_names
from workbench.store.writer import RunWriter
from workbench.train.build import end_ids
from workbench.types import Floats, RolloutBatch


@dataclass(frozen=True)
class Scored:
    """One call of ``_calculate_rewards``: n rows of this process, rewards of all N."""

    inputs: Sequence[dict[str, Any]]
    prompts: Sequence[Any]
    completions: Sequence[Any]
    ids: Sequence[Sequence[int]]
    rewards: Floats
    advantages: Sequence[float] = ()


def watch(
    trainer: GRPOTrainer | RLOOTrainer, runs_dir: str | Path = "runs", name: str | None = None
) -> Watcher:
    """Log this trainer from now on; returns the watcher, whose ``run_id`` names the run.

    On several processes it is called on each; the first one publishes.

    Args:
        trainer: A GRPO or RLOO trainer of TRL, or of a class derived from one.
        runs_dir: Where runs live.
        name: Name of the run; None: ``args.run_name``, or the name of the script's model.

    Raises:
        TypeError: It is no such trainer.
        ValueError: A run of this name is there already.
    """
    if not isinstance(trainer, GRPOTrainer | RLOOTrainer):
        raise TypeError(
            f"watch takes TRL's GRPOTrainer or RLOOTrainer, not {type(trainer).__name__}"
        )
    watcher = Watcher(trainer, Path(runs_dir).expanduser(), name)
    trainer.add_callback(watcher)
    return watcher


class Watcher(TrainerCallback):
    """What ``watch`` puts on a trainer: wrapped methods, and a callback for steps and logs."""

    def __init__(self, trainer: Any, runs_dir: Path, name: str | None) -> None:
        self.trainer = trainer
        self.names = tuple(objective_names(trainer.reward_func_names).values())
        self.config = describe(trainer, self.names, name)
        self.run_id: str | None = None
        self.writer: RunWriter | None = None
        self.failed = False
        self._scored: Scored | None = None
        self._waiting: dict[tuple[int, str], list[Scored]] = {}
        if trainer.accelerator.is_main_process:
            self._open(runs_dir, name)
        self._wrap("_calculate_rewards", self._rewards)
        self._wrap("_generate_and_score_completions", self._generated)
        self._wrap("train", self._train)

    def _open(self, runs_dir: Path, name: str | None) -> None:
        taken = rundir.taken_names(runs_dir)
        if name is not None and name in taken:
            raise ValueError(f"name: a run named {name!r} is in {runs_dir} already; choose another")
        given = name or rundir.free_name(str(self.config.name), taken)
        config = validate({**_as_mapping(self.config), "name": given})
        self.run_id = rundir.create(
            runs_dir, config, token=None, parent=None, cwd=Path.cwd(), kind=rundir.WATCHED
        )
        self.writer = RunWriter(runs_dir / self.run_id)
        self.writer.state(
            status="starting", steps=config.steps, attempt=self.writer.attempt,
            pid=os.getpid(), pid_created=processes.identify(os.getpid())["pid_created"],
        )  # fmt: skip
        self.writer.flush()  # once, before the first step: others can tell that it is alive

    def _wrap(self, method: str, around: Callable[..., Any]) -> None:
        inner = getattr(self.trainer, method)
        setattr(self.trainer, method, wraps(inner)(partial(around, inner)))

    # -- the wrapped methods -------------------------------------------------------------------

    def _rewards(self, inner: Callable[..., Any], *args: Any) -> Any:
        """``_calculate_rewards(inputs, prompts, completions, completion_ids)``: keep all of it."""
        gathered = inner(*args)
        self._safely(self._keep, args, gathered)
        return gathered

    def _keep(self, args: tuple[Any, ...], gathered: Any) -> None:
        inputs, prompts, completions, ids = args
        self._scored = Scored(
            [dict(row) for row in inputs], list(prompts), list(completions), list(ids),
            gathered.detach().double().cpu().numpy(),
        )  # fmt: skip

    def _generated(self, inner: Callable[..., Any], *args: Any) -> Any:
        """``_generate_and_score_completions``: what was scored now has its advantages."""
        output = inner(*args)
        self._safely(self._take)
        return output

    def _take(self) -> None:
        scored, self._scored = self._scored, None
        if scored is None:
            return
        if self.trainer.accelerator.num_processes > 1:
            parts = gather_object([(scored.inputs, scored.prompts, scored.completions, scored.ids)])
            joined = [[row for part in parts for row in part[i]] for i in range(4)]
        else:
            joined = [list(scored.inputs), scored.prompts, scored.completions, scored.ids]
        advantages = list(self.trainer._logs["advantages"])[-len(scored.rewards) :]
        split = "train" if self.trainer.model.training else "probe"
        key = (self.trainer.state.global_step, split)
        self._waiting.setdefault(key, []).append(Scored(*joined, scored.rewards, advantages))

    def _train(self, inner: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``train``: the run's status follows, whatever comes of it."""
        self._say(status="running", phase="training")
        try:
            result = inner(*args, **kwargs)
        except BaseException as error:
            self._close("failed", f"{type(error).__name__}: {error}")
            raise
        asked = self._asked_to_stop()
        self._close("stopped" if asked else "finished", "stopped on request" if asked else None)
        return result

    def _asked_to_stop(self) -> bool:
        return self.writer is not None and (self.writer.run_dir / "stop").exists()

    # -- the callback --------------------------------------------------------------------------

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Publish the step's rollouts; ask TRL to stop where the run was asked to."""
        self._safely(self._publish)
        self._say(step=state.global_step, steps=state.max_steps)
        if self._asked_to_stop():
            control.should_training_stop = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Publish what an evaluation sampled, as the split ``probe``."""
        self._safely(self._publish)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Publish every number that TRL logs, under the step its rollouts have."""
        if self.writer is not None and logs:
            numbers = {k: float(v) for k, v in logs.items() if isinstance(v, int | float)}
            self._safely(self.writer.metrics, max(0, state.global_step - 1), numbers)

    def _publish(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if self.writer is None:
            return
        for (step, split), parts in waiting.items():
            self.writer.rollouts(partial(self._batch, step, split, parts))

    def _batch(self, step: int, split: str, parts: Sequence[Scored]) -> RolloutBatch:
        """The rows of one step as they are logged; called in the writer's thread."""
        trainer = self.trainer
        inputs = [row for part in parts for row in part.inputs]
        prompts = [prompt for part in parts for prompt in part.prompts]
        ids = [list(row) for part in parts for row in part.ids]
        rewards = np.concatenate([part.rewards for part in parts])
        weights = np.tile(trainer.reward_weights.double().cpu().numpy(), (len(ids), 1))
        ends = {*end_ids(trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class)}
        return RolloutBatch(
            step=step,
            split=split,
            objectives=self.names,
            num_generations=trainer.num_generations
            if split == "train"
            else trainer.num_generations_eval,
            prompts=[self._rendered(prompt) for prompt in prompts],
            prompt_ids=[identity(prompt) for prompt in prompts],
            kinds=[str(row.get("kind") or "default") for row in inputs],
            completions=[text_of(row) for part in parts for row in part.completions],
            num_tokens=np.array([len(row) for row in ids]),
            truncated=np.array([not row or row[-1] not in ends for row in ids]),
            rewards=rewards,
            weights=weights,
            scalars=np.nansum(rewards * weights, axis=1),
            advantages=np.array([a for part in parts for a in part.advantages], dtype=float),
            token_ids=ids,
        )

    def _rendered(self, prompt: Any) -> str:
        """The prompt as the policy saw it: chat messages through the chat template."""
        if isinstance(prompt, str):
            return prompt
        settings = self.trainer.chat_template_kwargs or {}
        text = self.trainer.processing_class.apply_chat_template(
            prompt, tokenize=False, add_generation_prompt=True, **settings
        )
        return str(text)

    def _say(self, **changes: Any) -> None:
        if self.writer is not None:
            self._safely(partial(self.writer.state, heartbeat=time.time(), **changes))

    def _close(self, status: str, message: str | None) -> None:
        self._safely(self._publish)
        self._say(status=status, phase=None, message=message, pid=None)
        if self.writer is not None:
            self._safely(self.writer.flush)
            if self.writer.problems:
                self._tell("; ".join(self.writer.problems))

    def _safely(self, do: Callable[..., Any], *args: Any) -> None:
        """Call it; after a failure say so once and log no more: training goes on."""
        if self.failed:
            return
        try:
            do(*args)
        except Exception as error:
            self.failed = True
            self._tell(f"the run is logged no further: {type(error).__name__}: {error}")

    def _tell(self, text: str) -> None:
        warnings.warn(f"watch: {text}", RuntimeWarning, stacklevel=2)


def describe(trainer: Any, names: Sequence[str], name: str | None) -> RunConfig:
    """The configuration of a watched run, as far as ours has a key for what TRL's says."""
    args = trainer.args
    model = trainer.model_name_or_path if hasattr(trainer, "model_name_or_path") else None
    model = model or trainer.model.config._name_or_path or "unknown"
    grpo = {
        "num_generations": trainer.num_generations,
        "max_completion_length": args.max_completion_length,
        "learning_rate": args.learning_rate,
        "temperature": args.temperature,
        "beta": args.beta,
        "num_iterations": args.num_iterations,
    }
    weights = trainer.reward_weights.double().cpu().numpy()
    share = {n: float(w) for n, w in zip(names, weights, strict=True)}
    aggregation = "sum_then_normalize"
    if isinstance(trainer, GRPOTrainer):
        grpo["scale_rewards"] = str(args.scale_rewards)
        aggregation = args.multi_objective_aggregation
    return validate(
        {
            "name": name or _tidy(args.run_name or Path(str(model)).name),
            "seed": args.seed,
            "steps": max(1, args.max_steps),
            "policy": {"model": str(model)},
            "objectives": list(names),
            "aggregation": aggregation,
            "scalarizer": {"name": "static", "weights": share},
            "grpo": grpo,
        }
    )


def identity(prompt: Any) -> str:
    """The same prompt has the same id at every step: a hash of its text or messages."""
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).hexdigest()


def text_of(completion: Any) -> str:
    """The text of a completion, given as text or as chat messages."""
    if isinstance(completion, str):
        return completion
    return "\n".join(str(message.get("content") or "") for message in completion)


def _tidy(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:60] or "watched"


def _as_mapping(config: RunConfig) -> dict[str, Any]:
    from workbench.config.io import to_dict

    return to_dict(config)
