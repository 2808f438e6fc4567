"""A trainer in a process of its own that takes one step whenever it is told to."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

STARTING_SECONDS = 600.0
"""How long a trainer may take to load, and to take a step."""


class Step(NamedTuple):
    """What one step took: wall and CPU seconds; tokens seen so far; peak resident bytes so far."""

    wall: float
    cpu: float
    tokens: int
    peak: int


class Paced:
    """The trainer of one variant, waiting for its turns; a context manager that ends it.

    Raises:
        RuntimeError: it ended, or said nothing for ten minutes.
    """

    def __init__(self, variant: str, config: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._channel, theirs = context.Pipe()
        self._process = context.Process(
            target=_train, args=(variant == "trl", config, theirs), name=variant, daemon=True
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> Paced:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.join()
        self._channel.close()

    def step(self) -> Step:
        """Let it take its next step, and wait for that."""
        try:
            self._channel.send(None)
            if self._channel.poll(STARTING_SECONDS):
                step: Step = self._channel.recv()
                return step
        except (EOFError, OSError) as error:
            raise RuntimeError(f"cost of {self._process.name!r}: it ended early") from error
        raise RuntimeError(f"cost of {self._process.name!r}: no step in {STARTING_SECONDS:.0f} s")


def _train(plain: bool, config: Any, channel: Any) -> None:
    """The child: training, held up before each step until the parent sends anything."""
    from workbench.bench import warm  # noqa: F401 - quiet libraries

    with tempfile.TemporaryDirectory() as folder:
        trainer, writer = (plain_trl if plain else ours)(config, Path(folder))
        trainer.add_callback(_turns(channel, writer.flush if writer else lambda: None))
        trainer.train()


def _turns(channel: Any, durable: Callable[[], Any]) -> Any:
    """A callback that measures from one beginning of a step to the next one's."""
    from transformers import TrainerCallback

    class Turns(TrainerCallback):
        began: tuple[float, float] | None = None

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if self.began is not None:
                durable()
                wall, cpu = self.began
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                channel.send(Step(wall, cpu, int(state.num_input_tokens_seen), own_peak()))
            channel.recv()
            self.began = (time.perf_counter(), time.process_time())

    return Turns()


def plain_trl(config: Any, scratch: Path) -> tuple[Any, None]:
    """TRL's own trainer on the same prompts with the same extrinsic rewards; it has no writer."""
    from types import SimpleNamespace

    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback
    from trl import GRPOTrainer

    from workbench.objectives import resolve
    from workbench.tasks import load_task
    from workbench.train import build
    from workbench.train.sampler import PromptOrder
    from workbench.train.text import example_columns

    task = load_task(config.task)
    tokenizer, model = build.load_tokenizer(config.policy), build.load_policy(config.policy)
    ends, limit = build.end_ids(model, tokenizer), config.grpo.max_completion_length

    def reward(objective: Any) -> Callable[..., list[float | None]]:
        def call(prompts: Any, completions: Any, completion_ids: Any, **columns: Any) -> Any:
            cut = [not ids or ids[-1] not in ends for ids in completion_ids]
            scores = SimpleNamespace(truncated=cut, max_completion_length=limit)
            return objective.function(
                prompts, completions, completion_ids, scores=scores, **columns
            )

        call.__name__ = objective.name
        return call

    class Plain(GRPOTrainer):
        def _get_train_sampler(self, dataset: Any = None) -> PromptOrder:
            grpo = config.grpo
            return PromptOrder(
                len(task.train), grpo.prompts_per_step, grpo.num_generations, config.steps, 1, 0
            )

    rows = {"prompt": [e.prompt for e in task.train], **example_columns(task.train)}
    trainer = Plain(
        model=model,
        reward_funcs=[reward(resolve(o)) for o in config.objectives],
        args=build.grpo_config(config, scratch),
        train_dataset=Dataset.from_dict(rows),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, None


def ours(config: Any, scratch: Path) -> tuple[Any, Any]:
    """The workbench's trainer, publishing to a store of its own as in any run; and its writer."""
    from workbench.store.writer import RunWriter
    from workbench.tasks import load_task
    from workbench.train import build
    from workbench.train.maestro import MaestroTrainer
    from workbench.train.session import Session

    task = load_task(config.task)
    session = Session.load(config, task)
    writer = RunWriter(scratch)
    trainer = MaestroTrainer(
        config,
        session.model,
        session.tokenizer,
        build.grpo_config(config, scratch / "trackers"),
        task.train,
        session.rewards,
        session.weighing,
        writer,
        scratch / "checkpoints",
        None,
        task.answer_lead,
    )
    return trainer, writer


def own_peak() -> int:
    """Peak resident bytes of this process.

    Linux hands ``ru_maxrss`` down to a child, so that it starts at the parent's size; the high
    water mark of the address space itself begins anew with each program.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = [row for row in status.read_text().splitlines() if row.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
