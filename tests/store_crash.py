"""Kill trainers, archivers and apps at random moments while readers look on; count what is wrong.

``python tests/store_crash.py --seconds 300`` prints the figures. Two writers, one of them killed
again and again, an archiver and an app that are killed as often, and two readers that check every
row: one through ``Store``, one that knows only DuckDB.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

import duckdb
from store_batches import make_batch, make_run

from workbench.analysis import queries
from workbench.analysis.groups import groups
from workbench.store import session
from workbench.store.archive import archive
from workbench.store.catalog import store_path
from workbench.store.reader import Store
from workbench.store.writer import RunWriter

HERE = Path(__file__).resolve().parent
ROWS = 8
PATIENCE = 20.0
"""Readers wait two seconds for an archiver; here more, since a busy test machine is no fault."""
KILLED, SPARED = "20260101-000000-dead", "20260101-000000-11fe"
PER_STEP = (
    "SELECT run_id, step, count(*), count(DISTINCT (group_id, sample)), count(DISTINCT attempt) "
    "FROM rollouts GROUP BY ALL"
)


def write_forever(runs_dir: str, run_id: str) -> None:
    """A trainer: resumes one to three steps before where it died, and notes what was durable."""
    run_dir = Path(runs_dir) / run_id
    ledger = run_dir / "ledger"
    done = [int(line) for line in ledger.read_text().split()] if ledger.exists() else []
    step = max((max(done) if done else 0) - random.randrange(3), 0)
    with RunWriter(run_dir, flush_seconds=0.002) as writer, ledger.open("a") as notes:
        while True:
            writer.rollouts(make_batch(step, ROWS))
            writer.metrics(step, {"loss": float(step)})
            writer.state(step=step, status="running")
            if random.random() < 0.5 and writer.flush():
                notes.write(f"{step}\n")
                notes.flush()
            step += 1
            time.sleep(0.02)


def archive_forever(runs_dir: str, run_id: str | None) -> None:
    """An archiver that hardly rests."""
    while True:
        archive(runs_dir, run_id, patience=0.2)
        time.sleep(random.uniform(0.02, 0.2))


def look_forever(runs_dir: str, run_id: str) -> None:
    """The app: asks what its pages ask, over and over."""
    session.BUSY_SECONDS = PATIENCE
    while True:
        store = Store(runs_dir)
        store.runs()
        groups(store, run_id, limit=4)
        queries.reward_curves(store, run_id)
        time.sleep(0.05)


def read_forever(runs_dir: str, through_store: bool, results: str) -> None:
    """A reader: every step whole, once, of one attempt, and none missing that was durable."""
    session.BUSY_SECONDS = PATIENCE
    tally = {"queries": 0, "rows": 0, "wrong": [], "slowest": 0.0}
    while True:
        durable = {
            (run, int(line))
            for run in (KILLED, SPARED)
            if (Path(runs_dir) / run / "ledger").exists()
            for line in (Path(runs_dir) / run / "ledger").read_text().split()
        }
        asked = time.monotonic()
        try:
            rows = _ask_store(runs_dir) if through_store else _ask_duckdb(runs_dir)
        except Exception as error:
            tally["wrong"].append(f"{type(error).__name__}: {error}")
            rows = None
        if rows is not None:
            tally["queries"] += 1
            tally["slowest"] = max(tally["slowest"], time.monotonic() - asked)
            tally["rows"] += sum(r[2] for r in rows)
            tally["wrong"] += [f"half or doubled: {r}" for r in rows if r[2:] != (ROWS, ROWS, 1)]
            missing = durable - {(r[0], r[1]) for r in rows}
            tally["wrong"] += [f"lost: {m}" for m in sorted(missing)]
        partial = Path(results).with_suffix(".part")
        partial.write_text(json.dumps(tally))
        partial.rename(results)


def _ask_store(runs_dir: str) -> list[tuple]:
    return [tuple(row) for row in Store(runs_dir).sql(PER_STEP).values.tolist()]


def _ask_duckdb(runs_dir: str) -> list[tuple]:
    """Plain DuckDB, trying again while an archiver holds the file."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with duckdb.connect(str(store_path(runs_dir)), read_only=True) as con:
                return con.execute(PER_STEP).fetchall()
        except duckdb.IOException as error:
            if "lock" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def crash_test(runs_dir: Path, seconds: float, seed: int = 0) -> dict:
    """Run it all for ``seconds``; returns kills, queries, rows checked, and whatever went wrong."""
    rng = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    # the fork server of Python 3.11 imports what it preloads with the environment's path only
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (HERE, HERE.parent)))
    context.set_forkserver_preload(["store_crash", "pandas"])
    for run in (KILLED, SPARED):
        make_run(runs_dir, run)
    Store(runs_dir)
    where = str(runs_dir)
    results = [runs_dir / ".reader-store.json", runs_dir / ".reader-duckdb.json"]

    def start(function, *args):
        process = context.Process(target=function, args=args, daemon=True)
        process.start()
        return process

    steady = [start(write_forever, where, SPARED)]
    steady += [start(read_forever, where, i == 0, str(r)) for i, r in enumerate(results)]
    mortal = {
        "writer": (write_forever, KILLED),
        "archiver": (archive_forever, None),
        "app": (look_forever, KILLED),
    }
    alive = {name: start(f, where, arg) for name, (f, arg) in mortal.items()}
    kills = dict.fromkeys(mortal, 0)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.02, 0.6))
        name = rng.choice(sorted(mortal))
        if name == "writer" and kills[name] % 2:  # every other one dies in its work, not on its way
            _wait_for_growth(runs_dir / KILLED / "ledger")
        os.kill(alive[name].pid, signal.SIGKILL)
        alive[name].join()
        kills[name] += 1
        function, arg = mortal[name]
        alive[name] = start(function, where, arg)
    wait_for = time.monotonic() + 30
    while not all(r.exists() for r in results) and time.monotonic() < wait_for:
        time.sleep(0.1)
    for process in [*alive.values(), *steady]:
        process.kill()
        process.join()
    return {"kills": kills} | _verdict(runs_dir, results)


def _wait_for_growth(ledger: Path, patience: float = 10.0) -> None:
    """Until one more step is noted as durable."""
    size = ledger.stat().st_size if ledger.exists() else 0
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if ledger.exists() and ledger.stat().st_size > size:
            return
        time.sleep(0.01)


def _verdict(runs_dir: Path, results: list[Path]) -> dict:
    seen = [json.loads(r.read_text()) for r in results]
    wrong = [w for s in seen for w in s["wrong"]]
    for run in (KILLED, SPARED):
        archive(runs_dir, run)
    left = [p for p in runs_dir.glob("2*/segments/rollouts/*.parquet")]
    wrong += [f"not archived: {p.name}" for p in left]
    final = Store(runs_dir).sql("FROM rollouts ORDER BY run_id, step, group_id, sample")
    for (run, step), rows in final.groupby(["run_id", "step"]):
        if rows.advantage.tolist() != make_batch(int(step), ROWS).advantages.tolist():
            wrong.append(f"changed: {run} step {step}")
    return {
        "queries": sum(s["queries"] for s in seen),
        "rows_read": sum(s["rows"] for s in seen),
        "slowest_seconds": round(max(s["slowest"] for s in seen), 2),
        "final_rows": len(final),
        "attempts": int(final.attempt.max()) if len(final) else 0,
        "wrong": wrong,
    }


def main() -> None:
    """Print the figures of one long run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    runs_dir = Path(tempfile.mkdtemp(prefix="store-crash-"))
    print(json.dumps(crash_test(runs_dir, chosen.seconds, chosen.seed), indent=1))
    shutil.rmtree(runs_dir)


if __name__ == "__main__":
    import store_crash  # so that the fork server finds it by that name, already imported

    store_crash.main()
