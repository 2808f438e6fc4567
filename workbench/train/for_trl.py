"""MaestroTrainer and MaestroConfig with TRL's own signature: a GRPO script with two names changed.

Usage::

    from workbench import MaestroConfig, MaestroTrainer

    args = MaestroConfig(output_dir="out", num_generations=8, max_steps=200, run_name="mine",
                         scalarizer={"name": "conductor", "emphasis": 0.3})
    trainer = MaestroTrainer(model="path/or/hub-name", reward_funcs=[concise, polite], args=args,
                             train_dataset=dataset)
    trainer.train()

The trainer is ``train.maestro.MaestroTrainer``, which the workbench's own runs use; here its parts
are made of TRL's arguments. The run is in ``args.runs_dir`` like any other. What a field of TRL's
configuration cannot mean here is refused, with what to set instead (``config.trl_fields``).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft import PeftConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
)
from trl import GRPOConfig

from workbench.config import RunConfig
from workbench.config.io import to_dict, validate
from workbench.config.run import ObjectiveConfig
from workbench.config.trl_fields import PASSED, WITHOUT_EFFECT
from workbench.objectives import Objective, resolve
from workbench.runs import processes, rundir
from workbench.runs.checkpoints import FOLDER
from workbench.store.catalog import ensure_store
from workbench.store.inferred_config import objective_names
from workbench.store.writer import RunWriter
from workbench.tasks.examples import example_of
from workbench.train import build, maestro
from workbench.train.anchors import anchor_source
from workbench.train.monitor import RunMonitor
from workbench.train.rewards import ObjectiveReward
from workbench.train.rollout import spread
from workbench.train.session import Session
from workbench.train.weighting import Weighing
from workbench.train.writer_protocol import NullWriter
from workbench.types import Example, Task

RewardFunc = Callable[..., Any] | str


@dataclass
class MaestroConfig(GRPOConfig):
    """TRL's ``GRPOConfig`` with what chooses the reward weights and where the run is kept."""

    scalarizer: dict[str, Any] | str = field(
        default="conductor",
        metadata={"help": "name or settings of a scalarizer, as in a run's YAML"},
    )
    reward_scaling: str = field(
        default="none", metadata={"help": "none, batch, running or rank, before weighting"}
    )
    bounds: dict[str, list[float]] | None = field(
        default=None, metadata={"help": "lower and upper bound of a reward by its name, if known"}
    )
    runs_dir: str = field(default="runs", metadata={"help": "where runs live"})
    probe_every: int = field(
        default=10, metadata={"help": "sample prompts of eval_dataset at every so many steps"}
    )
    probe_prompts: int = field(default=16, metadata={"help": "how many of them"})


class MaestroTrainer(maestro.MaestroTrainer):
    """GRPO with several rewards whose weights a scalarizer chooses for every completion.

    Takes what TRL's ``GRPOTrainer`` takes, and ``judge``.

    Args:
        model: The policy before training: a directory, a hub name or a loaded model.
        reward_funcs: One or several functions with TRL's reward signature, or names of reward
            models (sequence classifiers).
        args: TRL's settings and ours.
        train_dataset: Rows with ``prompt`` (text or messages); ``kind``, ``reference`` and all
            further columns reach the reward functions.
        eval_dataset: The same; its prompts are sampled now and then and never trained on.
        processing_class: The tokenizer; None: the model's.
        callbacks: Further callbacks.
        optimizers: Optimiser and schedule, where they are not to be made from ``args``.
        peft_config: An adapter to train instead of the whole model.
        judge: A function with TRL's reward signature that says how good a completion is, in [0, 1];
            for a scalarizer with ``anchor: {source: judge}`` and for the probes.

    Raises:
        ConfigError: A value is not allowed; key, value and what is allowed are named.
        ValueError: A field of TRL's has no effect here, or the batch does not divide into groups.
    """

    def __init__(
        self,
        model: str | PreTrainedModel,
        reward_funcs: RewardFunc | Sequence[RewardFunc],
        args: MaestroConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        callbacks: Sequence[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        peft_config: PeftConfig | None = None,
        judge: Callable[..., Any] | None = None,
    ) -> None:
        args = args or MaestroConfig(output_dir="trainer_output")
        where = model if isinstance(model, str) else model.config._name_or_path or "unnamed"
        if isinstance(model, str):
            kwargs = {"use_safetensors": True, **(args.model_init_kwargs or {})}
            model = AutoModelForCausalLM.from_pretrained(model, **kwargs)
        tokenizer = processing_class or AutoTokenizer.from_pretrained(where, padding_side="left")
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if peft_config is not None:
            model = get_peft_model(model, peft_config)
        functions = [reward_funcs] if isinstance(reward_funcs, str) else reward_funcs
        functions = [functions] if callable(functions) else list(functions)
        objectives = named_objectives(functions, args.bounds or {})
        train = examples_of(train_dataset)
        held_out = examples_of(eval_dataset)
        config = describe(args, where, model, [o.name for o in objectives], len(train))
        rewards = [ObjectiveReward(o) for o in objectives]
        hidden_size = model.config.get_text_config().hidden_size
        weighing = Weighing(config, [r.bounds for r in rewards], hidden_size)
        runs_dir = Path(args.runs_dir).expanduser()
        main = os.environ.get("RANK", "0") == "0"  # set by torchrun and accelerate
        self.writer: Any = _open(runs_dir, config) if main else NullWriter()
        self.run_id = self.writer.run_id if main else None
        folder = runs_dir / (self.run_id or ".unwritten")
        task = Task("script", train, held_out, (), judge)
        super().__init__(
            config,
            model,
            tokenizer,
            build.grpo_config(config, Path(args.output_dir)),
            train,
            rewards,
            weighing,
            self.writer,
            folder / FOLDER,
            anchor_source(config, judge, runs_dir, [e.prompt_id for e in train]),
        )
        if optimizers[0] is not None:
            self.optimizer, self.lr_scheduler = optimizers
        session = Session(config, task, self.policy, tokenizer, rewards, weighing)
        self.monitor = RunMonitor(
            self,
            session.roller(
                self.policy, self.reference, session.end_ids, self.state, self.memory.judge_calls
            ),
            spread(held_out, args.probe_prompts) if held_out else [],
            lambda: "stopped on request" if (folder / "stop").exists() else None,
            lambda text: None,
        )
        for callback in (self.monitor, *(callbacks or ())):
            self.add_callback(callback)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as TRL does; the run's status follows, whatever comes of it."""
        self.writer.state(status="running", phase="training")
        try:
            result = super().train(*args, **kwargs)
        except BaseException as error:
            self._end("failed", f"{type(error).__name__}: {error}")
            raise
        asked = self.monitor.stopped
        self._end("stopped" if asked else "finished", asked)
        return result

    def _end(self, status: str, message: str | None) -> None:
        self.writer.state(status=status, phase=None, message=message, pid=None, eta_seconds=None)
        self.writer.flush()


def named_objectives(
    functions: Sequence[RewardFunc], bounds: dict[str, list[float]]
) -> list[Objective]:
    """Reward functions and names of reward models as objectives, each under a name of its own.

    Raises:
        ValueError: There is none, or ``bounds`` names none of them.
    """
    if not functions:
        raise ValueError("reward_funcs: at least one is needed")
    given = [f if isinstance(f, str) else f.__name__ for f in functions]
    if len(set(given)) < len(given):
        raise ValueError(f"reward_funcs: {given} have a name twice; give each function its own")
    names = list(objective_names([Path(name).name for name in given]).values())
    unknown = sorted(set(bounds) - set(names))
    if unknown:
        raise ValueError(f"bounds: {unknown} unknown; the rewards are {names}")
    found = []
    for name, function in zip(names, functions, strict=True):
        lower, upper = bounds.get(name, (None, None))
        if isinstance(function, str):
            found.append(resolve(ObjectiveConfig(name, model=function, lower=lower, upper=upper)))
        else:
            found.append(Objective(name, function, lower, upper, frozenset(), ""))
    return found


def examples_of(dataset: Any) -> tuple[Example, ...]:
    """The rows of a dataset as examples. Raises ValueError naming a row that is none."""
    rows = [] if dataset is None else list(dataset)
    return tuple(example_of(dict(row), f"row {i}", False) for i, row in enumerate(rows))


def describe(
    args: MaestroConfig, where: str, model: PreTrainedModel, names: Sequence[str], prompts: int
) -> RunConfig:
    """A run's configuration that says the same as TRL's, field by field.

    Raises:
        ConfigError: A value is not allowed.
        ValueError: A field has no effect here, or cannot be said.
    """
    plain = MaestroConfig(output_dir=args.output_dir, use_cpu=True, bf16=False)
    changed = {n for n in (*PASSED, *WITHOUT_EFFECT) if getattr(args, n) != getattr(plain, n)}
    for name in sorted(changed & set(WITHOUT_EFFECT)):
        raise ValueError(f"args.{name}: without effect here: {WITHOUT_EFFECT[name]}")
    if str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no":
        raise ValueError("args.eval_strategy: set probe_every; eval_dataset is sampled then")
    accumulated, world = args.gradient_accumulation_steps, int(os.environ.get("WORLD_SIZE", "1"))
    if args.steps_per_generation != accumulated:
        raise ValueError(
            f"args.steps_per_generation: {args.steps_per_generation} is not allowed; it must equal "
            f"gradient_accumulation_steps, {accumulated}"
        )
    rows = args.per_device_train_batch_size * accumulated * world
    if rows % args.num_generations:
        raise ValueError(f"args: {rows} completions a step are no groups of {args.num_generations}")
    steps = args.max_steps
    if steps <= 0:
        steps = math.ceil(args.num_train_epochs * prompts * args.num_generations / rows)
        steps *= args.num_iterations
    if not prompts:
        raise ValueError("train_dataset: there is no row to train on")
    chosen = {"name": args.scalarizer} if isinstance(args.scalarizer, str) else args.scalarizer
    if args.reward_weights is not None:
        if chosen != {"name": "static"}:
            raise ValueError("args.reward_weights: the scalarizer chooses; use 'static' with them")
        chosen = {"name": "static", "weights": dict(zip(names, args.reward_weights, strict=True))}
    saves = str(getattr(args.save_strategy, "value", args.save_strategy)) == "steps"
    warmup = float(args.warmup_steps or 0)
    mapped = {
        "seed": args.seed,
        "steps": steps,
        "policy": {
            "model": str(where),
            "dtype": str(model.dtype).removeprefix("torch."),
            "gradient_checkpointing": bool(args.gradient_checkpointing),
        },
        "objectives": list(names),
        "reward_scaling": args.reward_scaling,
        "aggregation": args.multi_objective_aggregation,
        "scalarizer": chosen,
        "grpo": {
            "num_generations": args.num_generations,
            "prompts_per_step": rows // args.num_generations,
            "max_completion_length": args.max_completion_length,
            "learning_rate": args.learning_rate,
            "lr_scheduler_type": str(
                getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
            ),
            "warmup_steps": round(warmup * steps) if 0 < warmup < 1 else round(warmup),
            "max_grad_norm": args.max_grad_norm,
            "temperature": args.temperature,
            "top_p": args.top_p,
            "beta": args.beta,
            "reference_sync_every": args.ref_model_sync_steps if args.sync_ref_model else 0,
            "scale_rewards": str(args.scale_rewards),
            "epsilon": args.epsilon,
            "num_iterations": args.num_iterations,
            "gradient_accumulation_steps": accumulated,
            "loss_type": args.loss_type,
            "extra": {name: getattr(args, name) for name in sorted(changed & set(PASSED))},
        },
        "probe": {"every": args.probe_every, "prompts": args.probe_prompts},
        "logging": {
            "checkpoint_every": int(args.save_steps) if saves else 0,
            "keep_checkpoints": args.save_total_limit or 3,
            "report_to": [t for t in args.report_to if t != "none"],
        },
    }
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in args.run_name or "")[:60]
    return validate({**mapped, "name": name or None})


def _open(runs_dir: Path, config: RunConfig) -> RunWriter:
    """A run of this configuration, as a script's own process trains it.

    Raises:
        ValueError: A run of this name is there already.
    """
    taken = rundir.taken_names(runs_dir)
    if config.name in taken:
        raise ValueError(f"args.run_name: a run named {config.name!r} is in {runs_dir} already")
    name = config.name or rundir.free_name(Path(config.policy.model).name, taken)
    config = validate({**to_dict(config), "name": name})
    run_id = rundir.create(
        runs_dir, config, token=None, parent=None, cwd=Path.cwd(), kind=rundir.WATCHED
    )
    ensure_store(runs_dir)
    writer = RunWriter(runs_dir / run_id)
    created = processes.identify(os.getpid())["pid_created"]
    writer.state(
        status="starting", steps=config.steps, attempt=writer.attempt, pid=os.getpid(),
        pid_created=created,
    )  # fmt: skip
    writer.flush()  # once, before the first step: others can tell that it is alive
    return writer
