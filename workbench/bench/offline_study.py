"""``workbench bench offline``: RPO, DRO, KTO and SFT on the same logged rows, and what follows.

Three parts, each of ordinary runs, seed by seed, resumed where an interrupt left them:

    methods     the four methods under every condition, on fresh rows with their variants too
    chain       a MAESTRO run, then learning from its own rollouts without any judge, against more
                GRPO for the same seconds
    claims      what the paper of RPO claims, and whether it holds here
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.bench import offline_grid as grid
from workbench.bench.cells import Budget, Cell
from workbench.bench.grid import run_grid, save
from workbench.bench.offline_report import NUMBERS, claims, collected, markdown, overview, summary
from workbench.bench.offline_rows import ROWS, spoil, write_rows
from workbench.store.reader import Store

SEEDS = 5
CHAIN_STEPS = 50
REWARD = {"signal": "objectives", "weighting": "conductor"}
"""The chain learns from what its run learned from, the Conductor's weighting: no call asks the
judge, so that more GRPO and learning from rollouts follow the same wish."""

_PACE = """
SELECT (max(time) - min(time)) / (count(*) - 1) AS seconds FROM metrics
WHERE run_id = $run AND name = 'loss' AND split = 'train'
"""


@dataclass
class Found:
    """What is done so far: cells in the order they were asked for, their runs, what went wrong."""

    cells: list[Cell] = field(default_factory=list)
    done: dict[str, Path] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def run(self, cells: Sequence[Cell], args: argparse.Namespace) -> None:
        """Run cells that are not done yet and remember them."""
        done, failed = run_grid(cells, args)
        self.cells += [cell for cell in cells if cell not in self.cells]
        self.done |= done
        self.problems += failed


def report(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run what was asked for, seed by seed; tables as text, CSV and JSON.

    Raises:
        RuntimeError: When every cell failed.
    """
    budget = grid.QUICK if args.quick else grid.OFFLINE
    if args.steps:
        budget = replace(budget, steps=args.steps)
    conditions = ["fresh"] if args.quick else list(grid.CONDITIONS)
    found = Found()
    for seed in range(args.seeds or (2 if args.quick else SEEDS)):
        one_seed(seed, conditions, budget, not args.quick, args, folder, found)
    shown = [cell for cell in found.cells if cell.arm != "rows" and cell.name in found.done]
    if not shown:
        raise RuntimeError(f"every cell failed; the first one: {found.problems[0]}")
    table = summary(collected(Path(args.runs_dir), found.done, shown))
    stated = claims(table)
    said = "".join(f"{name}: {verdict}\n" for name, verdict in stated.items())
    text = f"{overview(table)}\n{markdown(table)}\n{said}"
    save(folder, "offline", table.drop(columns="scores"), text)
    rows = table.to_dict("records")
    for row in rows:
        row["scores"] = np.asarray(row["scores"]).round(6).tolist()
    return {
        "json": {"offline": rows, "claims": stated, "failed": found.problems},
        "text": text + "".join(f"{problem}\n" for problem in found.problems),
        "failed": found.problems,
    }


# -- what is run -------------------------------------------------------------------------------


def one_seed(
    seed: int,
    conditions: Sequence[str],
    budget: Budget,
    whole: bool,
    args: argparse.Namespace,
    folder: Path,
    found: Found,
) -> None:
    """Everything of one seed, so that an early stop leaves whole seeds.

    Args:
        seed: Of rows, their order and every start.
        conditions: Keys of ``grid.CONDITIONS``.
        budget: Updates and evaluation.
        whole: With variants, a policy that moved on, and the chain.
        args: Those of the command.
        folder: Where rows are kept.
        found: Is filled.
    """
    rows, base = grid.rows_cell(seed), grid.base_cell(seed, budget)
    later = grid.later_cell(seed, budget, CHAIN_STEPS)
    found.run([rows, base, *([later] if whole else [])], args)
    if rows.name not in found.done:
        return
    files = row_files(seed, conditions, found.done[rows.name], folder)
    maestro = found.done.get(later.name)
    cells = method_cells(seed, files, budget, maestro, whole)
    if whole and maestro is not None:
        source = {"runs": [later.name]}
        for key, learner in grid.learners("chain").items():
            arm = f"chain-{key}"
            start = checkpoint(maestro)
            cells.append(grid.learner_cell(arm, learner, seed, budget, source, start, REWARD))
    found.run(cells, args)
    chained = next((c for c in cells if c.arm == "chain-rpo" and c.name in found.done), None)
    if maestro is not None and chained is not None:
        extra = extra_steps(folder, seed, maestro, found.done[chained.name])
        longer = grid.later_cell(seed, budget, CHAIN_STEPS + extra)
        found.run([Cell("chain-more-grpo", seed, longer.config)], args)


def row_files(seed: int, conditions: Sequence[str], run_dir: Path, folder: Path) -> dict[str, Path]:
    """Files of a seed's rows by condition; written once and kept."""
    rows = Store(run_dir.parent).sql(ROWS, {"run": run_dir.name})
    files = {}
    for name in conditions:
        # a policy that moved on learns from the fresh rows themselves
        kept = "fresh" if grid.CONDITIONS[name].old else name
        path = (folder / "rows" / f"{kept}-s{seed}.jsonl").absolute()
        if not path.is_file():
            write_rows(spoil(rows, grid.CONDITIONS[name], seed), path)
        files[name] = path
    return files


def checkpoint(run_dir: Path) -> Path:
    """The newest checkpoint of a finished cell."""
    return max((run_dir / "checkpoints").glob("step-*")).absolute()


def method_cells(
    seed: int, files: Mapping[str, Path], budget: Budget, maestro: Path | None, variants: bool
) -> list[Cell]:
    """Every method under every condition of one seed, with the variants."""
    cells = []
    for name, path in files.items():
        if grid.CONDITIONS[name].old and maestro is None:
            continue
        start = checkpoint(maestro) if maestro and grid.CONDITIONS[name].old else None
        for key, learner in grid.learners(name, variants).items():
            arm, source = f"{name}-{key}", {"path": str(path)}
            cells.append(grid.learner_cell(arm, learner, seed, budget, source, start))
    return cells


def extra_steps(folder: Path, seed: int, run: Path, learned: Path) -> int:
    """GRPO steps that take as long as RPO took on this run's rows; kept once measured."""
    path = folder / "rows" / f"chain-s{seed}.json"
    if path.is_file():
        return int(json.loads(path.read_text())["extra_steps"])
    store = Store(run.parent)
    pace = float(store.sql(_PACE, {"run": run.name})["seconds"].iloc[0])
    numbers = store.sql(NUMBERS, {"runs": [learned.name]}).set_index("name")["value"]
    extra = max(1, round(float(numbers["train_seconds"]) / pace))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"extra_steps": extra, "rpo_seconds": numbers["train_seconds"], "pace": pace})
    )
    return extra
