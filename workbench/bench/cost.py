"""What a MAESTRO step costs: paired, alternating runs against static weights and against plain TRL.

Runs of a few steps alternate in one process (A B, B A, A B, ...), on the same prompts with the same
seeds and a learning rate so small that every variant generates the same completions; the median of
the per-pair ratios is reported, with its bootstrap interval. Extrinsic objectives (format, length,
preference) are those that TRL's plain ``GRPOTrainer`` can be given as they are; perplexity and
entropy need the policy's own probabilities, which plain TRL does not hand out. Peak memory is that
of a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

EXTRINSIC = ("format", "length", "preference")
ALL = ("perplexity", "format", "entropy", "length", "preference")
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "trl": ("trl", EXTRINSIC),
    "static, extrinsic": ("static", EXTRINSIC),
    "maestro, extrinsic": ("conductor", EXTRINSIC),
    "static": ("static", ALL),
    "maestro": ("conductor", ALL),
}
"""Who chooses the weights, over which objectives."""
COMPARED = (
    ("maestro", "static"),
    ("maestro, extrinsic", "trl"),
    ("static, extrinsic", "trl"),
    ("maestro", "trl"),
)
STEPS, SKIP = 10, 2
"""Steps of a timed run, and how many of the first ones are not counted."""


def config_of(variant: str, policy: str = "etudes", steps: int = STEPS) -> Any:
    """The run of a variant; completions are the same for all."""
    from workbench.config.io import validate

    scalarizer, objectives = VARIANTS[variant]
    return validate(
        {
            "steps": steps,
            "policy": {"model": policy},
            "objectives": [{"name": name} for name in objectives],
            "scalarizer": {"name": "static" if scalarizer == "trl" else scalarizer},
            "grpo": {"learning_rate": 1e-12},
        }
    )


def _clock() -> tuple[Any, list[float], list[float]]:
    """A callback that times steps, wall and CPU seconds."""
    from transformers import TrainerCallback

    wall: list[float] = []
    cpu: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.began = (time.perf_counter(), time.process_time())

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            wall.append(time.perf_counter() - self.began[0])
            cpu.append(time.process_time() - self.began[1])

    return Clock(), wall, cpu


def plain_trl(config: Any, scratch: Path) -> Any:
    """TRL's own trainer on the same prompts with the same extrinsic rewards."""
    from types import SimpleNamespace

    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback
    from trl import GRPOTrainer

    from workbench.objectives import resolve
    from workbench.tasks import load_task
    from workbench.trainers import build
    from workbench.trainers.order import PromptOrder
    from workbench.trainers.text import example_columns

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
    return trainer


def ours(config: Any, scratch: Path) -> tuple[Any, Any]:
    """The workbench's trainer, publishing to a store of its own as in any run; and its writer."""
    from workbench.store.writer import RunWriter
    from workbench.tasks import load_task
    from workbench.trainers import build
    from workbench.trainers.maestro import MaestroTrainer
    from workbench.trainers.session import Session

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


def timed_run(variant: str, policy: str, steps: int = STEPS) -> tuple[float, float]:
    """Median wall and CPU seconds of a step of one short run."""
    config = config_of(variant, policy, steps)
    clock, wall, cpu = _clock()
    with tempfile.TemporaryDirectory() as folder:
        if VARIANTS[variant][0] == "trl":
            trainer, writer = plain_trl(config, Path(folder)), None
        else:
            trainer, writer = ours(config, Path(folder))
        trainer.add_callback(clock)
        trainer.train()
        if writer is not None:
            writer.close()
    return statistics.median(wall[SKIP:]), statistics.median(cpu[SKIP:])


def compare(ours: str, theirs: str, policy: str, pairs: int, tell: Callable[[], None]) -> dict:
    """Alternating runs of two variants; median ratio of wall and CPU time, with 95 % intervals."""
    from workbench.bench.statistics import interval

    ratios: dict[str, list[float]] = {"wall": [], "cpu": []}
    seconds: dict[str, list[float]] = {ours: [], theirs: []}
    for pair in range(pairs):
        order = (ours, theirs) if pair % 2 == 0 else (theirs, ours)
        times = {}
        for variant in order:
            times[variant] = timed_run(variant, policy)
            tell()
        for index, name in enumerate(("wall", "cpu")):
            ratios[name].append(times[ours][index] / times[theirs][index])
        for variant, (wall, _) in times.items():
            seconds[variant].append(wall)
    middle = {
        name: interval(np.array(values)[:, None], lambda a: np.median(a, axis=(-2, -1)))
        for name, values in ratios.items()
    }
    return {
        "step": ours,
        "against": theirs,
        "pairs": pairs,
        "ratio": middle["wall"].value,
        "low": middle["wall"].low,
        "high": middle["wall"].high,
        "cpu_ratio": middle["cpu"].value,
        "cpu_low": middle["cpu"].low,
        "cpu_high": middle["cpu"].high,
        "seconds": statistics.median(seconds[ours]),
        "seconds_against": statistics.median(seconds[theirs]),
    }


def _peak(variant: str, policy: str, channel: Any) -> None:
    timed_run(variant, policy)
    channel.send(own_peak())


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


def peak_memory(variant: str, policy: str) -> int:
    """Peak resident bytes of a fresh process that ran one variant."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_peak, args=(variant, policy, sender))
    process.start()
    sender.close()
    try:
        peak: int = receiver.recv()
    except EOFError as error:
        process.join()
        raise RuntimeError(f"cost of {variant!r}: its process ended early") from error
    process.join()
    return peak


def report(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """``workbench bench --cost``: ratios and peak memory, as a table."""
    import pandas as pd

    from workbench.bench import warm  # noqa: F401 - quiet libraries, imported once
    from workbench.bench.cli import bar, save

    policy = "etudes"
    if args.pairs < 1:
        raise ValueError(f"pairs: {args.pairs} is not allowed; it must be at least 1")
    with bar("timed runs", len(COMPARED) * args.pairs * 2 + len(VARIANTS)) as advance:
        rows = [compare(*pair, policy, args.pairs, lambda: advance(1.0)) for pair in COMPARED]
        memory = {}
        for variant in VARIANTS:
            memory[variant] = peak_memory(variant, policy)
            advance(1.0)
    for row in rows:
        row["memory_ratio"] = memory[row["step"]] / memory[row["against"]]
    table = pd.DataFrame(rows)
    text = markdown(rows)
    save(folder, "cost", table, text)
    return {"json": {"cost": rows, "peak_bytes": memory}, "text": text}


def markdown(rows: list[dict[str, Any]]) -> str:
    """The ratios as Markdown."""
    lines = ["| Step of | against | time | CPU time | peak memory | ms | ms against |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        span = f"{row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        busy = f"{row['cpu_ratio']:.3f} [{row['cpu_low']:.3f}, {row['cpu_high']:.3f}]"
        numbers = f"{busy} | {row['memory_ratio']:.3f}"
        times = f"{1000 * row['seconds']:.0f} | {1000 * row['seconds_against']:.0f}"
        lines.append(f"| {row['step']} | {row['against']} | {span} | {numbers} | {times} |")
    return "\n".join(lines) + "\n"
