"""Evaluate a checkpoint of a run, or the policy before training, on held-out prompts.

Usage::

    python -m workbench.train.evaluate RUN_DIR                        # the newest checkpoint
    python -m workbench.train.evaluate RUN_DIR --checkpoint best
    python -m workbench.train.evaluate RUN_DIR --checkpoint base --split calibration --prompts 50

Every completion becomes a row of the run's ``evaluations``; the means are printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.runs import checkpoints
from workbench.runs.environment import quiet_libraries
from workbench.runs.evaluations import PROGRESS
from workbench.runs.rundir import read_config
from workbench.store.writer import RunWriter
from workbench.tasks import load_task
from workbench.types import Example, RolloutBatch, Task

if TYPE_CHECKING:
    from workbench.config import RunConfig

SPLITS = ("report", "calibration", "train")
OWN = "own"
"""Split and kind of a prompt that was typed; comparisons leave it out."""


def evaluation_rows(batch: RolloutBatch, examples: Sequence[Example], phase: str) -> dict[str, Any]:
    """A rollout as columns of ``evaluations``; ``examples`` are the prompts, one a group."""
    g = batch.num_generations
    return {
        "step": batch.step,
        "phase": phase,
        "split": batch.split,
        "kind": list(batch.kinds),
        "prompt_id": list(batch.prompt_ids),
        "prompt": list(batch.prompts),
        "reference": [e.reference for e in examples for _ in range(g)],
        "sample": np.arange(len(batch.completions), dtype=np.int32) % g,
        "completion": list(batch.completions),
        "num_tokens": np.asarray(batch.num_tokens),
        "truncated": np.asarray(batch.truncated, dtype=bool),
        "rewards": (batch.objectives, batch.rewards),
        "weights": (batch.objectives, batch.weights),
        "judge": batch.judge,
    }


def summarise(batch: RolloutBatch) -> dict[str, dict[str, float]]:
    """Means per kind, and over all under ``all``: judge, rewards, weights, length, truncation."""
    kinds = np.array(batch.kinds)
    summary: dict[str, dict[str, float]] = {}
    for kind in [*dict.fromkeys(batch.kinds), "all"]:
        rows = np.ones(len(kinds), dtype=bool) if kind == "all" else kinds == kind
        means: dict[str, float] = {}
        if batch.judge is not None and not np.isnan(batch.judge[rows]).all():
            means["judge"] = float(np.nanmean(batch.judge[rows]))
        for k, name in enumerate(batch.objectives):
            values = batch.rewards[rows, k]
            if not np.isnan(values).all():
                means[f"reward/{name}"] = float(np.nanmean(values))
            means[f"weight/{name}"] = float(batch.weights[rows, k].mean())
        means["length"] = float(np.mean(batch.num_tokens[rows]))
        means["truncated"] = float(np.mean(batch.truncated[rows]))
        summary[kind] = means
    return summary


def table(summary: dict[str, dict[str, float]], before: dict[str, Any] | None = None) -> str:
    """The summary as text: one line a kind, judge (before and after), mean weights."""
    names = [n.removeprefix("weight/") for n in summary["all"] if n.startswith("weight/")]
    header = f"{'kind':<12}{'judge before':>14}" if before else f"{'kind':<12}"
    lines = [header + f"{'judge':>10}  weights: " + " ".join(f"{n:>11}" for n in names)]
    for kind, means in summary.items():
        line = f"{kind:<12}"
        if before:
            line += f"{before.get(kind, {}).get('judge', np.nan):>14.3f}"
        line += f"{means.get('judge', np.nan):>10.3f}  {'':9}"
        lines.append(line + " ".join(f"{means[f'weight/{n}']:>11.3f}" for n in names))
    return "\n".join(lines)


def evaluate(
    config: RunConfig,
    task: Task,
    checkpoint: Path | None,
    split: str = "report",
    prompt: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[RolloutBatch, list[Example]]:
    """Load a checkpoint (None: the policy before training) and roll out a split's prompts.

    A ``prompt`` of one's own is rolled out instead; no judge knows it, and it is of kind ``own``.

    Raises:
        ValueError: When the split has no prompts, or something does not fit the run.
        RewardError: When an objective fails.
    """
    from workbench.train.rollout import spread
    from workbench.train.session import Session, checkpoint_step

    if prompt is None:
        examples = spread(getattr(task, split), config.evaluation.prompts)
    else:
        identity = hashlib.sha256(prompt.encode()).hexdigest()[:12]
        examples = [Example(prompt=prompt, prompt_id=f"own-{identity}", kind=OWN)]
        task, split = dataclasses.replace(task, judge=None), OWN
    if not examples:
        raise ValueError(f"evaluation: split {split!r} of task {task.name!r} has no prompts")
    session = Session.load(config, task, checkpoint).on_device()
    reference = session.reference_for(checkpoint)
    step = checkpoint_step(checkpoint)
    return session.evaluate(session.model, reference, step, split, examples, tell), examples


def _tell(text: str) -> None:
    """How far it is, for whoever started this process (``Evaluation.progress``)."""
    print(f"{PROGRESS}{text}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbench.train.evaluate", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--checkpoint", default="last", help="base, last, best, a step or a path")
    parser.add_argument("--split", choices=SPLITS, default="report")
    parser.add_argument("--prompt", help="one prompt of your own instead of a split")
    parser.add_argument("--prompts", type=int, help="how many prompts; default as configured")
    parser.add_argument("--num-generations", type=int, help="completions per prompt")
    parser.add_argument("--temperature", type=float, help="0 is greedy")
    parser.add_argument("--phase", help="name of this evaluation; default the checkpoint's")
    parser.add_argument("--json", action="store_true", help="print the means as JSON")
    arguments = parser.parse_args(argv)
    config = read_config(arguments.run_dir)
    settings = {
        name: value
        for name in ("prompts", "num_generations", "temperature")
        if (value := vars(arguments)[name]) is not None
    }
    config = dataclasses.replace(
        config, evaluation=dataclasses.replace(config.evaluation, **settings)
    )
    quiet_libraries(config)
    try:
        checkpoint = checkpoints.find(arguments.run_dir, arguments.checkpoint)
        task = load_task(config.task)
        _tell("loading the policy")
        batch, examples = evaluate(
            config, task, checkpoint, arguments.split, arguments.prompt, _tell
        )
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    phase = arguments.phase or f"{arguments.checkpoint}-{batch.split}"
    with RunWriter(arguments.run_dir) as writer:
        writer.evaluation(evaluation_rows(batch, examples, phase))
        writer.flush()
    for problem in writer.problems:
        print(f"warning: {problem}", file=sys.stderr)
    summary = summarise(batch)
    print(
        json.dumps({"phase": phase, "step": batch.step, "means": summary}, indent=1)
        if arguments.json
        else table(summary)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
