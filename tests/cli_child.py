"""A child that publishes what a real one would, through RunWriter: made-up numbers, real rows.

Two steps a tick: 2 prompts x 4 completions, three objectives, an evaluation before and after.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from workbench.runs.rundir import read_config
from workbench.store.state import read_state
from workbench.store.writer import RunWriter
from workbench.types import RolloutBatch

KINDS = ("fact", "story")
SIZE, GROUPS = 4, 2


def batch(config, step: int, split: str, rng: np.random.Generator) -> RolloutBatch:
    names = config.objective_names
    rows = SIZE * GROUPS
    rewards = rng.random((rows, len(names)))
    weights = rng.dirichlet(np.ones(len(names)), rows)
    scalars = (rewards * weights).sum(axis=1)
    groups = scalars.reshape(GROUPS, SIZE)
    spread = groups.std(axis=1, ddof=1, keepdims=True) + 1e-4
    advantages = ((groups - groups.mean(axis=1, keepdims=True)) / spread).ravel()
    return RolloutBatch(
        step=step,
        split=split,
        objectives=names,
        num_generations=SIZE,
        prompts=[f"prompt {k}" for k in KINDS for _ in range(SIZE)],
        prompt_ids=[f"p-{k}" for k in KINDS for _ in range(SIZE)],
        kinds=[k for k in KINDS for _ in range(SIZE)],
        completions=[f"text {i} <b>of</b> step {step}" for i in range(rows)],
        num_tokens=np.full(rows, 7),
        truncated=np.zeros(rows, dtype=bool),
        rewards=rewards,
        weights=weights,
        policy=weights,
        actions=np.arange(rows) % len(names),
        scalars=scalars,
        advantages=advantages,
        judge=rng.random(rows) if split == "probe" else None,
    )


def evaluate(writer: RunWriter, config, step: int, phase: str, score: float) -> None:
    rows = [(kind, i) for kind in KINDS for i in range(6)]
    names = config.objective_names
    writer.evaluation(
        {
            "step": [step] * len(rows),
            "phase": [phase] * len(rows),
            "split": ["report"] * len(rows),
            "kind": [kind for kind, _ in rows],
            "prompt_id": [f"r-{kind}-{i}" for kind, i in rows],
            "prompt": [f"report {kind} {i}" for kind, i in rows],
            "reference": ["yes"] * len(rows),
            "sample": [0] * len(rows),
            "completion": [f"{phase} {i}" for _, i in rows],
            "num_tokens": [3] * len(rows),
            "truncated": [False] * len(rows),
            "rewards": [{n: score for n in names} for _ in rows],
            "weights": [{n: 1 / len(names) for n in names} for _ in rows],
            "judge": [score + 0.05 * (kind == "story") + 0.01 * i for kind, i in rows],
        }
    )


def main() -> int:
    run_dir = Path(sys.argv[1])
    config = read_config(run_dir)
    rng = np.random.default_rng(config.seed)
    deaf = os.environ.get("FAKE_MODE") == "deaf"
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    step = read_state(run_dir).get("step", 0)
    with RunWriter(run_dir, flush_seconds=0.05) as writer:
        writer.state(status="running", phase="training", attempt=writer.attempt)
        if step == 0:
            evaluate(writer, config, 0, "before", 0.4)
        while step < config.steps:
            if (run_dir / "stop").exists() and not deaf:
                writer.state(status="stopped", step=step)
                return 0
            writer.rollouts(batch(config, step, "train", rng))
            if step % 5 == 0:
                writer.rollouts(batch(config, step, "probe", rng))
                writer.metrics(step, {"judge": 0.5, "weights_entropy": 0.9}, split="probe")
            step += 1
            print(f"step {step} of {config.steps}", flush=True)
            writer.state(step=step, steps_per_second=50.0, eta_seconds=1.0, headline=0.5)
            time.sleep(float(os.environ.get("FAKE_STEP", "0.01")))
        if os.environ.get("FAKE_MODE") == "fail":
            writer.state(status="failed", message="ValueError: objective 'vowels' raised in row 3")
            return 1
        evaluate(writer, config, step, "after", 0.6)
        writer.warning(step, "collapse", "The Conductor collapsed.", "Raise entropy_coef.")
        writer.state(status="finished", step=step, phase=None, eta_seconds=None)
    return 0


sys.exit(main())
