"""The bandit tier as a grid: worlds by seeds in parallel processes, each kept as one JSON file."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.bench import statistics as stats
from workbench.bench.bandit import STEPS, tournament, worlds
from workbench.bench.collect import matrix
from workbench.store.state import plain, write_atomically


def run_tournaments(
    folder: Path,
    seeds: Sequence[int],
    jobs: int = 2,
    steps: int = STEPS,
    names: Sequence[str] | None = None,
    watch: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Play every tournament that is not on disk yet; rows of all that were asked for.

    Args:
        folder: one JSON file a tournament; made when missing.
        seeds: of worlds and draws.
        jobs: processes at once.
        steps: policy updates of each player.
        names: worlds; all when left out.
        watch: told the name of each tournament that ends.

    Returns:
        Columns world, seed, method, utility, weight_error, judged, regret, recovered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {
        folder / f"{name.replace(' ', '-')}-s{seed}-{steps}.json": (name, seed)
        for name in (names or worlds())
        for seed in seeds
    }
    todo = {path: key for path, key in wanted.items() if not path.is_file()}
    if todo:
        context = multiprocessing.get_context("forkserver")
        with ProcessPoolExecutor(min(jobs, len(todo)), mp_context=context) as pool:
            running = {pool.submit(_play, *key, steps): path for path, key in todo.items()}
            for future in as_completed(running):
                path = running[future]
                write_atomically(path, json.dumps(plain(future.result())).encode())
                if watch:
                    watch(path.stem)
    frame = pd.DataFrame([row for path in wanted for row in json.loads(path.read_bytes())])
    return frame.astype({"weight_error": float})


def _play(name: str, seed: int, steps: int) -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(1)
    return tournament(name, seed, steps)


def standings(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per method: mean regret per world, over all worlds with its interval, weight error.

    Worlds stand where families stand in the language tier: (seeds, worlds) matrices.
    """
    rows = []
    for method in dict.fromkeys(frame["method"]):
        own = frame[frame["method"] == method]
        scores = matrix(own.assign(arm=method), method, value="regret", by="world")
        overall = stats.interval(scores, stats.mean)
        by_world = own.groupby("world", sort=False)["regret"].mean()
        rows.append(
            {"method": method}
            | {str(world): float(regret) for world, regret in by_world.items()}
            | {"regret": overall.value, "low": overall.low, "high": overall.high}
            | {"recovered": float(own["recovered"].mean())}
            | {"weight_error": float(own["weight_error"].mean())}
            | {"judged": float(own["judged"].mean())}
        )
    return pd.DataFrame(rows).sort_values("regret", ignore_index=True)


def markdown(table: pd.DataFrame) -> str:
    """Standings as Markdown; regret times 100, lower is better."""
    names = [c for c in table.columns if c.startswith(("conflict", "trap"))]
    header = ["Method", *names, "Regret [95 %]", "Recovered", "Weight error", "Rows judged"]
    lines = ["| " + " | ".join(header) + " |"]
    lines.append("| --- |" + " ---: |" * (len(header) - 1))
    for row in table.to_dict("records"):
        cells = [str(row["method"]), *(f"{100 * row[n]:.1f}" for n in names)]
        low, high = 100 * row["low"], 100 * row["high"]
        cells.append(f"{100 * row['regret']:.1f} [{low:.1f}, {high:.1f}]")
        cells.append(f"{100 * row['recovered']:.0f} %")
        error = row["weight_error"]
        cells.append(f"{error:.2f}" if error == error else "")
        cells.append(f"{row['judged']:,.0f}" if row["judged"] else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
