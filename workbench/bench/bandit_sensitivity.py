"""Sensitivity on the planted worlds: one setting at a time, where hundreds of runs take minutes.

The dial of conflict gives the worlds; reported is the share of the way from equal weights to the
oracle that is recovered, 0 for equal weights and 1 for the true ones.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.bench.agents import EQUAL, Player, anchored
from workbench.bench.bandit import STEPS, oracle, play
from workbench.bench.methods import PLAIN
from workbench.bench.problems import CONFLICTS, plant
from workbench.store.state import plain, write_atomically


def _conductor(**changes: Any) -> Player:
    return Player({"name": "conductor"} | changes)


def _fixed(temperature: float) -> dict[str, Any]:
    return {"temperature": temperature, "learn_temperature": False}


def _anchored_at(temperature: float) -> Player:
    player = anchored()
    return Player(dict(player.scalarizer) | _fixed(temperature))


FRACTIONS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
SETTINGS: dict[str, dict[str, dict[float, Player]]] = {
    "emphasis": {"MAESTRO": {v: _conductor(emphasis=v) for v in (0.1, 0.3, 0.5, 0.8, 1.0)}},
    "temperature": {
        "MAESTRO": {v: _conductor(**_fixed(v)) for v in (0.25, 0.5, 1.0, 2.0, 4.0)},
        "anchored": {v: _anchored_at(v) for v in (0.25, 0.5, 1.0, 2.0, 4.0)},
    },
    "entropy_coef": {
        "MAESTRO": {v: _conductor(entropy_coef=v) for v in (0.001, 0.01, 0.1, 0.3, 1.0)},
        "anchored": {v: anchored(entropy_coef=v) for v in (0.001, 0.02, 0.1, 0.3, 1.0)},
    },
    "fraction": {
        "anchored": {v: anchored(fraction=v) for v in FRACTIONS},
        "anchored, random groups, no caution": {
            v: anchored(fraction=v, **PLAIN) for v in FRACTIONS
        },
        "anchored, disagreeing groups first": {
            v: anchored(fraction=v, select="disagreement") for v in FRACTIONS[:-1]
        },
        "anchored, uncertain groups first": {
            v: anchored(fraction=v, select="uncertain") for v in FRACTIONS[:-1]
        },
    },
    "group_size": {
        "MAESTRO": {v: Player({"name": "conductor"}, group=v) for v in (2, 4, 8, 16)},
        "anchored": {v: anchored(group=v) for v in (2, 4, 8, 16)},
    },
}
"""For each setting, per method, the players; names are those of the language tier's settings."""


def measure(name: str, conflict: float, seed: int, steps: int = STEPS) -> list[dict[str, Any]]:
    """One setting in one world: rows of method, value, conflict, seed, recovered, weight_error."""
    world = plant(conflict, seed=seed)
    rows, ends = [], {}
    for method, players in SETTINGS[name].items():
        for value, player in players.items():
            size = player.group  # equal weights and the oracle see groups of the same size
            if size not in ends:
                best = Player(oracle(world).scalarizer, group=size)
                pair = (Player(EQUAL, group=size), best)
                ends[size] = [play(p, world, seed, steps)["utility"] for p in pair]
            equal, best_utility = ends[size]
            found = play(player, world, seed, steps)
            recovered = (found["utility"] - equal) / (best_utility - equal)
            rows.append(
                {"method": method, "value": value, "conflict": conflict, "seed": seed}
                | {"recovered": recovered, "weight_error": found["weight_error"]}
            )
    return rows


def run(
    name: str,
    folder: Path,
    seeds: Sequence[int],
    jobs: int = 2,
    steps: int = STEPS,
    watch: Callable[[], None] | None = None,
) -> pd.DataFrame:
    """Every world of a setting that is not on disk yet, in parallel; rows of all.

    Raises:
        ValueError: When there is no such setting.
    """
    if name not in SETTINGS:
        raise ValueError(f"setting: {name!r} unknown; allowed are {list(SETTINGS)}")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {
        folder / f"{name}-{conflict:+.1f}-s{seed}-{steps}.json": (name, conflict, seed, steps)
        for conflict in CONFLICTS
        for seed in seeds
    }
    todo = {path: key for path, key in wanted.items() if not path.is_file()}
    if todo:
        context = multiprocessing.get_context("forkserver")
        with ProcessPoolExecutor(min(jobs, len(todo)), mp_context=context) as pool:
            running = {pool.submit(_measure, *key): path for path, key in todo.items()}
            for future in as_completed(running):
                write_atomically(running[future], json.dumps(plain(future.result())).encode())
                if watch:
                    watch()
    return pd.DataFrame([row for path in wanted for row in json.loads(path.read_bytes())])


def _measure(name: str, conflict: float, seed: int, steps: int) -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(1)
    return measure(name, conflict, seed, steps)
