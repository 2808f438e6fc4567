"""A runs directory as large as the pages must stay fast with: 100 runs, a million rollouts."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from workbench.bench.synthetic_store import KINDS, OBJECTIVES, make_run
from workbench.config.io import load
from workbench.config.text import dump
from workbench.store.archive import archive
from workbench.store.writer import RunWriter

ROWS = 64
"""Completions of one step of a synthetic run."""
SEGMENT = 40
"""Steps in one segment: as an archived run has them, they are gone in a moment anyway."""
PROMPTS = 140
"""Held-out prompts of one evaluation, as a run is configured unless told otherwise."""


def make(root: Path, runs: int = 100, rollouts: int = 1_000_000) -> list[str]:
    """Fill a runs directory with finished, archived runs; returns their ids, oldest first.

    Args:
        root: made where it is missing.
        runs: how many.
        rollouts: logged completions of all of them together.
    """
    steps = -(-rollouts // (runs * ROWS))
    root.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        ids = list(pool.map(_run, [root] * runs, range(runs), [steps] * runs))
    archive(root)
    return ids


def _run(root: Path, index: int, steps: int) -> str:
    run_id = make_run(root, index, steps, steps_per_segment=SEGMENT)
    config = load("quick", [f"name=synthetic-{index}", f"seed={index}", f"steps={steps}"])
    (root / run_id / "config.yaml").write_text(dump(config), "utf-8")
    (root / run_id / "log.txt").write_text(
        "".join(f"step {s} of {steps}\n" for s in range(steps)), "utf-8"
    )
    rng = np.random.default_rng(index)
    with RunWriter(root / run_id) as writer:
        for step, phase in ((0, "before"), (steps, "after")):
            _evaluation(writer, rng, step, phase)
        writer.warning(steps, "collapse", "Emphasis entropy fell below 0.1.", "Raise entropy_coef.")
        writer.state(status="finished", step=steps, steps=steps, steps_per_second=6.0)
    return run_id


def _evaluation(writer: RunWriter, rng: np.random.Generator, step: int, phase: str) -> None:
    """Two completions of each held-out prompt."""
    count = 2 * PROMPTS
    which = np.repeat(np.arange(PROMPTS), 2)
    level = 0.4 + (0.1 if step else 0.0)
    rewards = np.clip(rng.normal(level, 0.2, (count, len(OBJECTIVES))), 0, 1)
    writer.evaluation(
        {
            "step": step,
            "phase": phase,
            "split": "report",
            "kind": [KINDS[p % len(KINDS)] for p in which],
            "prompt_id": [f"held-out-{p:04d}" for p in which],
            "prompt": [f"what does number {p} stand for" for p in which],
            "reference": [None] * count,
            "sample": np.arange(count, dtype=np.int32) % 2,
            "completion": [f"it stands for {rng.integers(100)} things" for _ in which],
            "num_tokens": np.full(count, 6),
            "truncated": np.zeros(count, dtype=bool),
            "rewards": (OBJECTIVES, rewards),
            "weights": (OBJECTIVES, rng.dirichlet(np.ones(len(OBJECTIVES)), count)),
            "judge": np.clip(rng.normal(level, 0.2, count), 0, 1),
        }
    )
