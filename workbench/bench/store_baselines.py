"""What others keep of the same rollouts, asked the same questions: the benchmark's peers.

TRL writes one ``completions_*.parquet`` a step, which pandas reads. trackio keeps metrics and, as
TRL hands them over, one table of completions a step as JSON in SQLite; it is asked through its own
storage class where it is installed (``pip install trackio``), and left out where it is not.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.bench.synthetic_store import make_batch
from workbench.types import RolloutBatch

Timing = dict[str, float]
ROWS = 64
PEER_REPEATS = 3


def timed(ask: Callable[[], Any], repeats: int, warm: int = 2) -> Timing:
    """What ``ask`` takes, after ``warm`` calls to warm up; see ``spread``."""
    for _ in range(warm):
        ask()
    taken, busy = [], []
    for _ in range(repeats):
        start, work = time.perf_counter(), time.process_time()
        ask()
        taken.append((time.perf_counter() - start) * 1e3)
        busy.append((time.process_time() - work) * 1e3)
    return spread(taken) | {"cpu_ms": float(np.median(busy))}


def spread(milliseconds: list[float]) -> Timing:
    """Median, 95th percentile and minimum."""
    return {
        "median_ms": float(np.median(milliseconds)),
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "least_ms": float(np.min(milliseconds)),
    }


def has_trackio() -> bool:
    """Whether trackio can be asked."""
    return importlib.util.find_spec("trackio") is not None


def _frame(batch: RolloutBatch) -> pd.DataFrame:
    """The table that TRL makes of a step."""
    columns: dict[str, Any] = {"step": [batch.step] * ROWS, "prompt": batch.prompts}
    columns["completion"] = batch.completions
    columns |= {o: batch.rewards[:, i] for i, o in enumerate(batch.objectives)}
    return pd.DataFrame(columns | {"advantage": batch.advantages})


def _questions(
    read: Callable[[], pd.DataFrame], one: Callable[[], Any], batch: RolloutBatch
) -> dict[str, Timing]:
    """The questions about one run that a DataFrame of all its completions can answer."""
    names, prompt = list(batch.objectives), batch.prompts[0]

    def page() -> pd.DataFrame:
        found = read().groupby(["step", "prompt"]).agg({"advantage": "max", names[1]: "mean"})
        return found[found[names[1]].between(0.3, 0.7)].sort_values("advantage").head(16)

    def search() -> pd.DataFrame:
        rows = read()
        return rows[rows.completion.str.contains("snow grass", regex=False)].head(50)

    def across() -> pd.DataFrame:
        rows = read()
        return rows[rows.prompt == prompt]

    asked: dict[str, Callable[[], Any]] = {
        "prompts, filtered and sorted": page,
        "one prompt's group": one,
        "one prompt across steps": across,
        "curve per objective": lambda: read().groupby("step")[names].mean(),
        "text search": search,
    }
    return {name: timed(ask, PEER_REPEATS, 1) for name, ask in asked.items()}


def trl_tables(folder: Path, steps: int) -> dict[str, Timing]:
    """One run of ``steps`` steps as TRL writes it, through pandas."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    written = []
    for step in range(steps):
        batch = make_batch(rng, step, ROWS)
        start = time.perf_counter()
        _frame(batch).to_parquet(folder / f"completions_{step:05d}.parquet")
        written.append((time.perf_counter() - start) * 1e3)
    one = folder / f"completions_{steps // 2:05d}.parquet"

    def read() -> pd.DataFrame:
        return pd.concat([pd.read_parquet(p) for p in sorted(folder.glob("*.parquet"))])

    answers = _questions(read, lambda: pd.read_parquet(one), batch)
    return {"publish": spread(written)} | answers


def trackio_tables(folder: Path, steps: int, runs: int) -> dict[str, Timing]:
    """One run of ``steps`` steps as TRL logs it to trackio, beside ``runs`` runs of metrics alone.

    Raises:
        ModuleNotFoundError: trackio is not installed.
    """
    os.environ["TRACKIO_DIR"] = str(folder)  # read when trackio is imported
    trackio = importlib.import_module("trackio")
    kept = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
    project, run = f"bench-{steps}", "run"
    rng = np.random.default_rng(0)
    trackio.init(project=project, name=run, embed=False, auto_log_gpu=False, auto_log_cpu=False)
    blocked = []
    for step in range(steps):
        batch = make_batch(rng, step, ROWS)
        start = time.perf_counter()
        table = trackio.Table(dataframe=_frame(batch))
        means = {o: float(batch.rewards[:, i].mean()) for i, o in enumerate(batch.objectives)}
        trackio.log({"completions": table, "loss": 1.0, "grad_norm": 1.0} | means, step=step)
        blocked.append((time.perf_counter() - start) * 1e3)
        time.sleep(0.02 if step < 100 else 0)
    trackio.finish()
    for i in range(runs):
        values = [{"loss": 1.0} | means for _ in range(78)]
        kept.bulk_log(project, f"other-{i}", values, steps=list(range(78)))

    def read() -> pd.DataFrame:
        logs = kept.get_logs(project, run)
        return pd.DataFrame([row for log in logs for row in log["completions"]["_value"]])

    def group() -> pd.DataFrame:
        rows = read()
        return rows[rows.step == steps // 2]

    def curve() -> pd.DataFrame:
        return pd.DataFrame(kept.get_logs(project, run, scalar_only=True))

    answers = _questions(read, group, batch)
    answers["metrics"] = answers["curve per objective"] = timed(curve, PEER_REPEATS, 1)
    answers["runs table"] = timed(lambda: kept.get_runs(project), PEER_REPEATS, 1)
    return {"publish": spread(blocked[:100])} | answers
