"""Made-up stores of any size, drawn from a seed: what benchmarks are run on."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from workbench.store.encode import encode_rollouts, table_of
from workbench.store.schema import SCHEMA_VERSION
from workbench.store.segments import write_segment
from workbench.store.state import write_atomically, write_state
from workbench.types import RolloutBatch

OBJECTIVES = ("perplexity", "format", "entropy", "length", "preference")
KINDS = ("reason", "story", "format", "belief", "fact", "translate", "comfort")
PROMPTS = 500
GROUP = 8
WORDS = (
    "the a red green blue snow grass lemon crow hen goat frog tells walks sees gives asks because "
    "then there is was not very small old bright lamp tree house river moon song story friend"
).split()


def make_batch(rng: np.random.Generator, step: int, rows: int = 64) -> RolloutBatch:
    """One step of ``rows`` completions in groups of eight, with everything a trainer logs."""
    size = len(OBJECTIVES)
    weights = rng.dirichlet(np.ones(size), rows)
    rewards = rng.random((rows, size))
    lengths = rng.integers(4, 40, rows)
    words = rng.integers(len(WORDS), size=(rows, 40))
    which = rng.integers(PROMPTS, size=-(-rows // GROUP))
    prompts = [int(which[i // GROUP]) for i in range(rows)]
    return RolloutBatch(
        step=step,
        split="train",
        objectives=OBJECTIVES,
        num_generations=GROUP,
        prompts=[
            f"tell me in a few words why {WORDS[p % len(WORDS)]} number {p} matters"
            for p in prompts
        ],
        prompt_ids=[f"prompt-{p:04d}" for p in prompts],
        kinds=[KINDS[p % len(KINDS)] for p in prompts],
        completions=[
            " ".join(WORDS[w] for w in row[:n]) for row, n in zip(words, lengths, strict=True)
        ],
        num_tokens=lengths,
        truncated=lengths > 38,
        rewards=rewards,
        weights=weights,
        policy=weights,
        actions=rng.integers(size, size=rows),
        scalars=(rewards * weights).sum(axis=1),
        advantages=rng.standard_normal(rows),
        kl=rng.random(rows),
        behaviour_logp=-rng.random(rows) * 50,
        reference_logp=-rng.random(rows) * 50,
        judge=np.where(np.arange(rows) // GROUP % 8 == 0, rng.random(rows), np.nan),
        token_ids=[row[:n] for row, n in zip(words, lengths, strict=True)],
        token_entropies=[rng.random(n) for n in lengths],
    )


def make_run(
    root: Path, index: int, steps: int, *, live: bool = False, steps_per_segment: int = 1
) -> str:
    """A run of ``steps`` steps of 64 completions; returns its id.

    ``steps_per_segment`` is how many steps one segment holds.
    """
    rng = np.random.default_rng(index)
    created = 1767225600 + 3600 * index
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(created))
    run_id = f"{stamp}-{index:04x}"
    run_dir = root / run_id
    run_dir.mkdir(parents=True)
    identity = {
        "run_id": run_id,
        "name": f"synthetic-{index}",
        "kind": "maestro",
        "created": created,
        "schema": SCHEMA_VERSION,
        "summary": {"objectives": list(OBJECTIVES), "task": "etudes", "scalarizer": "conductor"},
    }
    write_atomically(run_dir / "run.json", json.dumps(identity).encode())
    for first in range(0, steps, steps_per_segment):
        span = range(first, min(first + steps_per_segment, steps))
        tables = [encode_rollouts(make_batch(rng, s), run_id, 1, created + s)[0] for s in span]
        name = f"s0001-{first:06d}-0000.parquet"
        write_segment(pa.concat_tables(tables), run_dir / "segments" / "rollouts" / name)
        values = [(s, n) for s in span for n in ("loss", "grad_norm", "entropy")]
        columns = {
            "run_id": run_id,
            "attempt": 1,
            "step": [s for s, _ in values],
            "split": "train",
            "name": [n for _, n in values],
            "value": rng.random(len(values)),
            "time": float(created),
        }
        metrics = table_of("metrics", len(values), columns)
        write_segment(metrics, run_dir / "segments" / "metrics" / name)
    status = "running" if live else "finished"
    write_state(run_dir, status=status, step=steps, steps=steps, attempt=1, headline=0.5)
    return run_id
