"""``python -m workbench.store.bench``: what the store costs and how fast it answers.

Builds a synthetic store (by default 1,000,000 rollouts in 200 archived runs and one live run of
2,000 segments that no archive has touched), asks what the pages ask, and does the same, where that
is possible, with TRL's per-step Parquet files and pandas. Prints a table, writes JSON beside it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.store.archive import archive
from workbench.store.catalog import store_path
from workbench.store.groups import GroupFilter
from workbench.store.reader import Store
from workbench.store.synthetic import PROMPTS, make_batch, make_run
from workbench.store.writer import RunWriter

ROWS = 64
STEPS = 78
REPEATS = 30
TARGETS = {"question": 100.0, "search": 1500.0, "open": 150.0, "publish": 0.5}
"""Milliseconds that each kind of measurement should stay below."""


def build(root: Path, runs: int, segments: int) -> str:
    """A store of ``runs`` archived runs of 78 steps and one live run; returns the live one's id."""
    with ProcessPoolExecutor() as pool:
        list(pool.map(make_run, [root] * runs, range(runs), [STEPS] * runs, chunksize=1))
    archive(root)
    return make_run(root, runs, segments, live=True)


def timed(ask: Callable[[], Any], repeats: int = REPEATS) -> dict[str, float]:
    """Median and 95th percentile in milliseconds of ``ask``, after two calls to warm up."""
    for _ in range(2):
        ask()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - start) * 1e3)
    return {"median_ms": float(np.median(taken)), "p95_ms": float(np.percentile(taken, 95))}


def questions(store: Store, run: str, step: int) -> dict[str, Callable[[], Any]]:
    """What Inspect and Runs ask about one run."""
    busy = GroupFilter(kind="story", text="snow", rewards=(("format", 0.3, 0.7),))
    group = f"train-{step:06d}-003"
    return {
        "prompts, filtered and sorted": lambda: store.page(run, busy, sort="disagreement"),
        "prompts, all, by weight spread": lambda: store.page(run, sort="weight_spread"),
        "one prompt's group": lambda: store.group(run, group),
        "one prompt across steps": lambda: store.prompt(run, f"prompt-{PROMPTS // 2:04d}", "train"),
        "curve per objective": lambda: store.curves(run),
        "metrics": lambda: store.metrics(run, ["loss"]),
    }


def publishing(folder: Path, steps: int = 100) -> dict[str, float]:
    """How long a step of 64 completions and 5 objectives blocks the trainer's thread."""
    rng = np.random.default_rng(0)
    batches = [make_batch(rng, s, ROWS) for s in range(steps)]
    blocked, durable = [], []
    with RunWriter(folder / "publish") as writer:
        for batch in batches:
            start = time.perf_counter()
            writer.rollouts(batch)
            writer.metrics(batch.step, {"loss": 1.0, "grad_norm": 1.0})
            writer.state(step=batch.step, status="running")
            blocked.append((time.perf_counter() - start) * 1e3)
            time.sleep(0.02)
        for batch in batches[:20]:
            start = time.perf_counter()
            writer.rollouts(batch)
            writer.flush()
            durable.append((time.perf_counter() - start) * 1e3)
    return {
        "median_ms": float(np.median(blocked)),
        "p95_ms": float(np.percentile(blocked, 95)),
        "durable_p95_ms": float(np.percentile(durable, 95)),
    }


def opening(root: Path, repeats: int = 5) -> dict[str, float]:
    """Opening the store and listing its runs, each time in a new process."""
    code = (
        "import sys, time, pandas; from workbench.store.reader import Store\n"
        "s = time.perf_counter(); Store(sys.argv[1]); o = time.perf_counter()\n"
        "Store(sys.argv[1]).runs(); print(o - s, time.perf_counter() - s)"
    )
    found = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True
        )
        found.append([float(v) * 1e3 for v in done.stdout.split()])
    opened, listed = np.median(found, axis=0)
    return {
        "median_ms": float(opened),
        "p95_ms": float(np.max(found, axis=0)[0]),
        "with_runs_ms": float(listed),
    }


def archiving(folder: Path, segments: int) -> dict[str, float]:
    """Archive a live run of many segments in a process of its own while a reader keeps asking."""
    root = folder / "archiving"
    run = make_run(root, 0, segments, live=True)
    store = Store(root)
    store.steps(run)
    command = [sys.executable, "-m", "workbench.store.archive", str(root), "--run", run]
    start = time.perf_counter()
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    waits = []
    while worker.poll() is None:
        asked = time.perf_counter()
        count = int(store.sql("SELECT count(*) AS n FROM rollouts").n[0])
        waits.append((time.perf_counter() - asked) * 1e3)
        if count != segments * ROWS:
            raise AssertionError(f"{count} rows seen while archiving, not {segments * ROWS}")
    seconds = time.perf_counter() - start
    size = store_path(root).stat().st_size
    return {
        "seconds": seconds,
        "reader_median_ms": float(np.median(waits)),
        "reader_slowest_ms": float(np.max(waits)),
        "reader_questions": float(len(waits)),
        "bytes_per_rollout": size / (segments * ROWS),
    }


def trl_tables(folder: Path, steps: int) -> dict[str, dict[str, float]]:
    """The same questions to ``completions_*.parquet`` as TRL writes them, through pandas."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    written = []
    for step in range(steps):
        batch = make_batch(rng, step, ROWS)
        start = time.perf_counter()
        columns: dict[str, Any] = {"step": [step] * ROWS, "prompt": batch.prompts}
        columns["completion"] = batch.completions
        columns |= {o: batch.rewards[:, i] for i, o in enumerate(batch.objectives)}
        frame = pd.DataFrame(columns | {"advantage": batch.advantages})
        frame.to_parquet(folder / f"completions_{step:05d}.parquet")
        written.append((time.perf_counter() - start) * 1e3)
    names = list(batch.objectives)

    def read() -> pd.DataFrame:
        return pd.concat([pd.read_parquet(p) for p in sorted(folder.glob("*.parquet"))])

    def page() -> pd.DataFrame:
        rows = read()
        found = rows.groupby(["step", "prompt"]).agg({"advantage": "max", names[1]: "mean"})
        return found[found[names[1]].between(0.3, 0.7)].sort_values("advantage").head(16)

    def search() -> pd.DataFrame:
        rows = read()
        return rows[rows.completion.str.contains("snow grass", regex=False)].head(50)

    one = folder / f"completions_{steps // 2:05d}.parquet"
    few = 3
    return {
        "publish": {
            "median_ms": float(np.median(written)),
            "p95_ms": float(np.percentile(written, 95)),
        },
        "prompts, filtered and sorted": timed(page, few),
        "one prompt's group": timed(lambda: pd.read_parquet(one), few),
        "one prompt across steps": timed(lambda: (r := read())[r.prompt == batch.prompts[0]], few),
        "curve per objective": timed(lambda: read().groupby("step")[names].mean(), few),
        "text search": timed(search, few),
    }


def measure(folder: Path, runs: int, segments: int, many: int, peers: bool) -> dict[str, Any]:
    """Everything, on a store that is built in ``folder``."""
    root = folder / "runs"
    _say(f"making {runs} runs of {STEPS * ROWS:,} rollouts and a live one of {segments:,} segments")
    live = build(root, runs, segments)
    store = Store(root)
    _say("asking")
    old = str(
        store.sql("SELECT run_id FROM runs ORDER BY created LIMIT 1 OFFSET $1", [runs // 2]).run_id[
            0
        ]
    )
    rollouts = int(store.sql("SELECT count(*) AS n FROM archive.rollouts").n[0])
    first = time.perf_counter()
    store.steps(live)
    result: dict[str, Any] = {
        "rollouts": rollouts,
        "runs": runs,
        "live_segments": segments,
        "bytes_per_rollout": store_path(root).stat().st_size / max(rollouts, 1),
        "live_first_ms": (time.perf_counter() - first) * 1e3,
        "publish": publishing(folder),
        "open": opening(root),
        "runs table": timed(store.runs),
        "archived": {k: timed(q) for k, q in questions(store, old, STEPS // 2).items()},
        "live": {k: timed(q) for k, q in questions(store, live, segments // 2).items()},
        "search": timed(lambda: store.search("grass snow lemon crow"), 5),
        "archiving": archiving(folder, many),
    }
    if peers:
        _say("asking TRL's files through pandas")
        result["trl, one run"] = trl_tables(folder / "trl-run", STEPS)
        result["trl, live run"] = trl_tables(folder / "trl-live", segments)
    return result


def _say(text: str) -> None:
    print(f"[bench] {text}", file=sys.stderr, flush=True)


def table(result: dict[str, Any]) -> str:
    """The measurements as text: ours, the target, and TRL's files through pandas."""
    lines = [
        f"{result['rollouts']:,} rollouts in {result['runs']} archived runs "
        f"({result['bytes_per_rollout']:.0f} bytes each), and a live run of "
        f"{result['live_segments']:,} segments",
        f"{'':46}{'median':>9}{'p95':>9}{'target':>9}{'pandas':>10}   ms",
    ]

    def row(what: str, ours: dict[str, float], target: float, peer: dict[str, float] | None) -> str:
        other = f"{peer['median_ms']:10.1f}" if peer else f"{'':10}"
        return f"{what:46}{ours['median_ms']:9.2f}{ours['p95_ms']:9.2f}{target:9.1f}{other}"

    peer = result.get("trl, one run", {})
    live_peer = result.get("trl, live run", {})
    lines.append(
        row("trainer's thread, a step", result["publish"], TARGETS["publish"], peer.get("publish"))
    )
    lines.append(row("open the store", result["open"], TARGETS["open"], None))
    lines.append(row("runs table", result["runs table"], TARGETS["question"], None))
    for kind, others in (("archived", peer), ("live", live_peer)):
        for name, ours in result[kind].items():
            lines.append(row(f"{kind} run: {name}", ours, TARGETS["question"], others.get(name)))
    lines.append(row("text search, all runs", result["search"], TARGETS["search"], None))
    archived = result["archiving"]
    lines.append(
        f"archiving a live run: {archived['seconds']:.1f} s; of {archived['reader_questions']:.0f} "
        f"questions meanwhile the median took {archived['reader_median_ms']:.0f} ms, the slowest "
        f"{archived['reader_slowest_ms']:.0f} ms"
    )
    lines.append(
        f"a step is durable within {result['publish']['durable_p95_ms']:.0f} ms (p95); the first "
        f"look at all segments of the live run took {result['live_first_ms']:.0f} ms"
    )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and keep the numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m workbench.store.bench", description=__doc__)
    parser.add_argument("--dir", default="bench-runs/store", help="made, and removed again")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--segments", type=int, default=2000)
    parser.add_argument("--many", type=int, default=5000, help="segments of the archiving part")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--json", help="write the numbers to this file")
    chosen = parser.parse_args(argv)
    folder = Path(chosen.dir)
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"--dir {folder} is not empty: it would be removed afterwards")
    try:
        result = measure(folder, chosen.runs, chosen.segments, chosen.many, not chosen.no_peers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(result))
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
