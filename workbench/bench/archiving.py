"""The benchmark's part on archiving: a live run of many segments, with readers."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from workbench.analysis import queries
from workbench.bench.synthetic_store import make_batch, make_run
from workbench.store.archive import archive
from workbench.store.catalog import store_path
from workbench.store.reader import Store
from workbench.store.writer import RunWriter

ROWS = 64

READER = """
import sys, time, duckdb
path, count = sys.argv[1], 0
while True:
    try:
        with duckdb.connect(path, read_only=True) as con:
            con.execute("SET enable_progress_bar = false")
            print(con.execute("SELECT count(*) FROM rollouts").fetchall()[0][0], flush=True)
    except duckdb.IOException as error:
        if "lock" not in str(error):
            raise
    time.sleep(0.5)
"""


def archiving(folder: Path, segments: int) -> dict[str, float]:
    """Archive a live run of many segments while its trainer publishes and readers come and go.

    Four processes: the archiver, a reader that knows only DuckDB and connects anew each time, and
    this one, which asks through ``Store`` between the steps it publishes as the trainer.

    Raises:
        AssertionError: a reader saw too few rows, half a step, or less than a moment before.
    """
    root = folder / "archiving"
    run = make_run(root, 0, segments, live=True)
    store = Store(root)
    first = time.perf_counter()
    queries.facets(store, run)
    loaded = time.perf_counter() - first
    rng = np.random.default_rng(1)
    batch = make_batch(rng, segments, ROWS)
    command = [sys.executable, "-m", "workbench.store.archive", str(root), "--run", run]
    other = [sys.executable, "-c", READER, str(store_path(root))]
    start = time.perf_counter()
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    reader = subprocess.Popen(other, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    waits, seen, published, step = [], [segments * ROWS], [], segments
    with RunWriter(root / run) as writer:
        while worker.poll() is None:
            asked = time.perf_counter()
            writer.rollouts(dataclasses.replace(batch, step=step))
            published.append((time.perf_counter() - asked) * 1e3)
            step += 1
            asked = time.perf_counter()
            seen.append(int(store.sql("SELECT count(*) AS n FROM rollouts").n[0]))
            waits.append((time.perf_counter() - asked) * 1e3)
            time.sleep(0.1)
    seconds = time.perf_counter() - start
    reader.terminate()
    said, complaints = reader.communicate()
    counts = [int(line) for line in said.split()]
    for numbers in (seen, [segments * ROWS, *counts]):
        if numbers != sorted(numbers) or any(n % ROWS for n in numbers):
            raise AssertionError(f"rows seen while archiving: {numbers[:5]}...{numbers[-5:]}")
    if complaints:
        raise AssertionError(f"a reader failed: {complaints}")
    archive(root, run)
    final = int(store.sql("SELECT count(*) AS n FROM archive.rollouts").n[0])
    if final != step * ROWS:
        raise AssertionError(f"{final} rows archived of {step * ROWS}")
    return {
        "segments": float(segments),
        "seconds": seconds,
        "first_look_ms": loaded * 1e3,
        "reader_median_ms": float(np.median(waits)),
        "reader_slowest_ms": float(np.max(waits)),
        "reader_questions": float(len(waits)),
        "other_reader_questions": float(len(counts)),
        "publish_median_ms": float(np.median(published)),
        "rows": float(final),
    }
