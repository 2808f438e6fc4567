"""``python -m workbench.bench.store``: what the store costs and how fast it answers.

Builds a synthetic store (by default 1,000,000 rollouts in 200 archived runs and one live run of
2,000 segments that no archive has touched), asks what the pages ask, and does the same, where that
is possible, with what others keep (``peers``). Prints a table, writes JSON beside it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from workbench.analysis import queries
from workbench.analysis.groups import GroupFilter, groups
from workbench.bench.archiving import archiving
from workbench.bench.store_baselines import has_trackio, spread, timed, trackio_tables, trl_tables
from workbench.bench.synthetic_store import PROMPTS, make_batch, make_run
from workbench.store.archive import archive
from workbench.store.catalog import store_path
from workbench.store.reader import Store
from workbench.store.writer import RunWriter

ROWS = 64
STEPS = 78
REPEATS = 30
TARGETS = {"question": 100.0, "search": 1500.0, "open": 150.0, "publish": 0.5}
"""Milliseconds that each kind of measurement should stay below."""


def build(root: Path, runs: int, segments: int) -> str:
    """A store of ``runs`` archived runs of 78 steps and one live run; returns the live one's id."""
    with ProcessPoolExecutor() as pool:
        made = partial(make_run, root, steps=STEPS, steps_per_segment=STEPS)
        list(pool.map(made, range(runs), chunksize=1))
    archive(root)
    return make_run(root, runs, segments, live=True)


def questions(store: Store, run: str, step: int) -> dict[str, Callable[[], Any]]:
    """What Inspect and Runs ask about one run: the calls that the pages make."""
    busy = GroupFilter(kind="story", split="train", text="snow", where="format < 0.7")
    train, prompt = GroupFilter(split="train"), f"prompt-{PROMPTS // 2:04d}"
    return {
        "prompts, filtered and sorted": lambda: groups(store, run, busy, sort="disagreement"),
        "prompts, all, by weight spread": lambda: groups(store, run, train, sort="weight_spread"),
        "text search": lambda: groups(store, run, GroupFilter(text="snow grass")),
        "one prompt's group": lambda: queries.rollouts(store, run, split="train", step=step),
        "one prompt across steps": lambda: queries.weights_over_steps(
            store, run, "prompt_id", prompt
        ),
        "weight map": lambda: queries.weight_map(store, run, limit=1500),
        "curve per objective": lambda: queries.reward_curves(store, run),
        "health of each step": lambda: queries.step_health(store, run),
        "weights over steps": lambda: queries.weights_over_steps(store, run, "split", "train"),
    }


SEARCH = (
    "SELECT run_id, step, completion FROM rollouts "
    "WHERE contains(lower(completion), 'grass snow lemon crow') LIMIT 50"
)


def publishing(folder: Path, steps: int = 100) -> dict[str, float]:
    """How long a step of 64 completions and 5 objectives blocks the trainer's thread.

    And how long after its end it is durable, as a run does it: the writer is not asked to hurry.
    """
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
        writer.flush()
        segments = folder / "publish" / "segments" / "rollouts"
        for batch in batches[:10]:
            before = len(list(segments.glob("*.parquet")))
            start = time.perf_counter()
            writer.rollouts(batch)
            while len(list(segments.glob("*.parquet"))) == before:
                time.sleep(0.002)
            durable.append((time.perf_counter() - start) * 1e3)
    return spread(blocked) | {"durable_slowest_ms": max(durable)}


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
    opened, listed = zip(*found, strict=True)
    return spread(list(opened)) | {"with_runs_ms": float(np.median(listed))}


PARTS = ("store", "archiving", "peers")


def measure(
    folder: Path, runs: int, segments: int, many: int, parts: Sequence[str] = PARTS
) -> dict[str, Any]:
    """The named parts, on a store that is built in ``folder`` unless it is there."""
    result: dict[str, Any] = {}
    if "store" in parts:
        result |= _measure_store(folder, runs, segments)
    if "archiving" in parts:
        _say(f"archiving {many:,} segments of a live run")
        shutil.rmtree(folder / "archiving", ignore_errors=True)
        result["archiving"] = archiving(folder, many)
    for name, steps in (("archived", STEPS), ("live", segments)) if "peers" in parts else ():
        _say(f"asking TRL's files through pandas, {steps:,} steps")
        for old in (f"trl-{name}", "trackio"):
            shutil.rmtree(folder / old, ignore_errors=True)
        result[f"trl, {name}"] = trl_tables(folder / f"trl-{name}", steps)
        if has_trackio():
            _say(f"asking trackio, {steps:,} steps")
            result[f"trackio, {name}"] = trackio_tables(folder / "trackio", steps, runs)
    return result


def _measure_store(folder: Path, runs: int, segments: int) -> dict[str, Any]:
    root, built = folder / "runs", folder / "built"
    if not built.exists():
        shutil.rmtree(root, ignore_errors=True)
        _say(
            f"making {runs} runs of {STEPS * ROWS:,} rollouts, a live one of {segments:,} segments"
        )
        built.write_text(build(root, runs, segments))
    live, store = built.read_text(), Store(root)
    _say("asking")
    middle = "SELECT run_id FROM runs ORDER BY created LIMIT 1 OFFSET $1"
    old = str(store.sql(middle, [runs // 2]).run_id[0])
    first = time.perf_counter()
    queries.facets(store, live)
    loaded = time.perf_counter() - first
    rollouts = int(store.sql("SELECT count(*) AS n FROM archive.rollouts").n[0])
    return {
        "rollouts": rollouts,
        "runs": runs,
        "live_segments": segments,
        "bytes_per_rollout": store_path(root).stat().st_size / max(rollouts, 1),
        "bytes_per_waiting_rollout": _waiting_bytes(root, live) / (segments * ROWS),
        "live_first_ms": loaded * 1e3,
        "publish": publishing(folder / f"publishing-{time.time_ns()}"),
        "open": opening(root),
        "runs table": timed(store.runs, REPEATS),
        "archived": {k: timed(q, REPEATS) for k, q in questions(store, old, STEPS // 2).items()},
        "live": {k: timed(q, REPEATS) for k, q in questions(store, live, segments // 2).items()},
        "search": timed(lambda: store.sql(SEARCH), 5),
    }


def _waiting_bytes(root: Path, run: str) -> int:
    return sum(p.stat().st_size for p in (root / run / "segments" / "rollouts").iterdir())


def _say(text: str) -> None:
    print(f"[bench] {text}", file=sys.stderr, flush=True)


def table(result: dict[str, Any]) -> str:
    """The measurements as text: ours, the target, and what the peers took."""
    lines = [
        f"{result['rollouts']:,} rollouts in {result['runs']} archived runs and a live run of "
        f"{result['live_segments']:,} segments; milliseconds, of the peers the median; cpu: of all "
        "threads together, which other programs of the machine disturb less",
        f"{'':46}{'least':>8}{'median':>8}{'p95':>8}{'cpu':>7}{'target':>8}{'pandas':>9}{'trackio':>9}",
    ]

    def row(what: str, ours: dict[str, float], target: float, kind: str, key: str) -> None:
        peers = [result.get(f"{peer}, {kind}", {}).get(key) for peer in ("trl", "trackio")]
        others = "".join(f"{p['median_ms']:9.1f}" if p else f"{'-':>9}" for p in peers)
        wall = "".join(f"{ours[k]:8.2f}" for k in ("least_ms", "median_ms", "p95_ms"))
        work = f"{ours['cpu_ms']:7.1f}" if "cpu_ms" in ours else f"{'-':>7}"
        lines.append(f"{what:46}{wall}{work}{target:8.1f}{others}")

    row("trainer's thread, a step", result["publish"], TARGETS["publish"], "archived", "publish")
    row("open the store", result["open"], TARGETS["open"], "archived", "")
    row("runs table", result["runs table"], TARGETS["question"], "archived", "runs table")
    for kind in ("archived", "live"):
        for name, ours in result[kind].items():
            row(f"{kind} run: {name}", ours, TARGETS["question"], kind, name)
    row("text search, all runs", result["search"], TARGETS["search"], "archived", "")
    lines.append(
        f"a step is durable within {result['publish']['durable_slowest_ms']:.0f} ms; a rollout "
        f"takes {result['bytes_per_rollout']:.0f} bytes archived, "
        f"{result['bytes_per_waiting_rollout']:.0f} waiting; the first look at all segments of "
        f"the live run took {result['live_first_ms']:.0f} ms"
    )
    if moved := result.get("archiving"):
        lines.append(
            f"archiving a live run of {moved['segments']:,.0f} segments: {moved['seconds']:.1f} s; "
            f"of {moved['reader_questions']:.0f} questions meanwhile the median took "
            f"{moved['reader_median_ms']:.0f} ms, the slowest {moved['reader_slowest_ms']:.0f} ms; "
            f"plain DuckDB connected {moved['other_reader_questions']:.0f} times; the trainer was "
            f"blocked {moved['publish_median_ms']:.2f} ms a step; no row was lost or doubled"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and keep the numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m workbench.bench.store", description=__doc__)
    parser.add_argument("--dir", default="bench-runs/store", help="made, and removed again")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--segments", type=int, default=2000)
    parser.add_argument("--many", type=int, default=5000, help="segments of the archiving part")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--keep", action="store_true", help="use the store in --dir, and leave it")
    parser.add_argument("--json", help="write the numbers to this file; with --keep, add them")
    chosen = parser.parse_args(argv)
    folder, kept = Path(chosen.dir), Path(chosen.json) if chosen.json else None
    if not chosen.keep and folder.exists() and any(folder.iterdir()):
        parser.error(f"--dir {folder} is not empty: it would be removed afterwards")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        result = measure(folder, chosen.runs, chosen.segments, chosen.many, chosen.parts)
    finally:
        if not chosen.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if chosen.keep and kept and kept.exists():
        result = json.loads(kept.read_text()) | result
    if kept:
        kept.write_text(json.dumps(result, indent=1))
    print(table(result) if "rollouts" in result else json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
