"""Rollouts made up for the store's tests: readable, seeded, with everything that can be logged."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from workbench.store.catalog import store_path
from workbench.store.state import write_atomically, write_state
from workbench.store.writer import RunWriter
from workbench.types import RolloutBatch

NAMES = ("format", "length", "preference")
RUN = "20260101-000000-abcd"


def make_run(runs_dir: Path, run_id: str = RUN, **identity: Any) -> Path:
    """A run directory as the launcher leaves it."""
    run_dir = runs_dir / run_id
    run_dir.mkdir(parents=True)
    known = {"run_id": run_id, "name": f"name-{run_id}", "kind": "maestro", "created": time.time()}
    summary = {"objectives": list(NAMES), "task": "etudes", "scalarizer": "conductor"}
    write_atomically(
        run_dir / "run.json", json.dumps(known | {"summary": summary} | identity).encode()
    )
    write_state(run_dir, status="running", step=0, steps=10)
    return run_dir


def make_batch(
    step: int,
    rows: int = 8,
    split: str = "train",
    names: tuple[str, ...] = NAMES,
    **changes: Any,
) -> RolloutBatch:
    """``rows`` completions in groups of four, drawn from a generator seeded by the step."""
    rng = np.random.default_rng(step)
    k = len(names)
    weights = rng.dirichlet(np.ones(k), rows)
    known: dict[str, Any] = {
        "step": step,
        "split": split,
        "objectives": names,
        "num_generations": 4,
        "prompts": [f"prompt number {i // 4}" for i in range(rows)],
        "prompt_ids": [f"p{i // 4}" for i in range(rows)],
        "kinds": [("fact", "story")[i // 4 % 2] for i in range(rows)],
        "completions": [f"completion {i} at step {step}" for i in range(rows)],
        "num_tokens": np.arange(rows) + 1,
        "truncated": np.arange(rows) % 3 == 0,
        "rewards": rng.random((rows, k)),
        "weights": weights,
        "policy": weights[:, ::-1].copy(),
        "actions": np.arange(rows) % (k + 1) - 1,
        "scalars": rng.random(rows),
        "advantages": rng.standard_normal(rows),
        "judge": np.where(np.arange(rows) % 2 == 0, rng.random(rows), np.nan),
        "token_ids": [list(range(i)) for i in range(rows)],
        "token_entropies": [rng.random(i) for i in range(rows)],
        "contexts": rng.standard_normal((rows, 6)).astype(np.float16),
    }
    return RolloutBatch(**(known | changes))


def fill(run_dir, steps, **changes):
    """One attempt of a run that publishes ``steps``, each in segments of its own."""
    with RunWriter(run_dir, flush_seconds=0) as writer:
        for step in steps:
            writer.rollouts(make_batch(step, **changes))
            writer.metrics(step, {"loss": float(step)})
            writer.conductor_update(step, {"loss": float(step)})
            writer.flush()
    return writer


def plain_count(runs_dir, view):
    """What a client that knows nothing but DuckDB sees."""
    with duckdb.connect(str(store_path(runs_dir)), read_only=True) as con:
        return con.execute(f"SELECT count(*) FROM {view}").fetchall()[0][0]
