"""``workbench bench offline``: RPO, DRO, KTO and SFT on the same logged rows, and what follows.

Three parts, each of ordinary runs, resumed where an interrupt left them:

    methods     the four methods under every condition, on fresh rows with their variants too
    chain       a MAESTRO run, then learning from its own rollouts without any judge, against more
                GRPO for the same seconds
    claims      what the paper of RPO claims, and whether it holds here
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.bench import offline_grid as grid
from workbench.bench.cells import Budget, Cell
from workbench.bench.cli import run_grid, save
from workbench.bench.offline_report import NUMBERS, claims, collected, markdown, summary
from workbench.bench.offline_rows import ROWS, spoil, write_rows
from workbench.store.reader import Store

SEEDS = 5
CHAIN_STEPS = 50
REWARD = {"signal": "objectives", "weighting": "static"}
"""The chain learns from the run's objectives, equally weighted: nobody asks the judge."""

_PACE = """
SELECT (max(time) - min(time)) / (count(*) - 1) AS seconds FROM metrics
WHERE run_id = $run AND name = 'loss' AND split = 'train'
"""


def report(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run what was asked for; tables as text, CSV and JSON."""
    budget = grid.QUICK if args.quick else grid.OFFLINE
    if args.steps:
        budget = replace(budget, steps=args.steps)
    seeds = range(args.seeds or (2 if args.quick else SEEDS))
    conditions = ["fresh"] if args.quick else list(grid.CONDITIONS)
    sources, problems = rows_of(seeds, conditions, args, folder)
    starts, later, failed = starting_points(seeds, budget, args, need_later=not args.quick)
    problems += failed
    cells = method_cells(seeds, conditions, budget, sources, later, variants=not args.quick)
    done, failed = run_grid([*starts, *cells], args)
    problems += failed
    table = summary(collected(Path(args.runs_dir), done, [*starts, *cells]))
    text = markdown(table)
    results: dict[str, Any] = {"offline": table.to_dict("records"), "claims": claims(table)}
    if not args.quick:
        chained, failed = chain(seeds, budget, later, args, folder)
        problems += failed
        text += "\n" + markdown(chained)
        results["chain"] = chained.to_dict("records")
        table = pd.concat([table, chained], ignore_index=True)
    text += "\n" + "\n".join(f"{name}: {found}" for name, found in results["claims"].items()) + "\n"
    save(folder, "offline", table.drop(columns="scores"), text)
    for rows in (results["offline"], results.get("chain", [])):
        for row in rows:
            row["scores"] = np.asarray(row["scores"]).round(6).tolist()
    return {"json": results, "text": text + "".join(f"{p}\n" for p in problems), "failed": problems}


# -- what is run -------------------------------------------------------------------------------


def rows_of(
    seeds: Sequence[int], conditions: Sequence[str], args: argparse.Namespace, folder: Path
) -> tuple[dict[tuple[str, int], Path], list[str]]:
    """Files of rows per condition and seed; sampled once and kept."""
    runs_dir = Path(args.runs_dir)
    cells = [grid.rows_cell(seed) for seed in seeds]
    done, failed = run_grid(cells, args)
    files: dict[tuple[str, int], Path] = {}
    store = Store(runs_dir)
    for cell in cells:
        if cell.name not in done:
            continue
        rows = store.sql(ROWS, {"run": done[cell.name].name})
        for name in conditions:
            condition = grid.CONDITIONS[name]
            if condition.old:
                continue  # the fresh rows themselves
            path = (folder / "rows" / f"{name}-s{cell.seed}.jsonl").absolute()
            if not path.is_file():
                write_rows(spoil(rows, condition, cell.seed), path)
            files[name, cell.seed] = path
        if "old" in conditions:
            files["old", cell.seed] = files["fresh", cell.seed]
    return files, failed


def starting_points(
    seeds: Sequence[int], budget: Budget, args: argparse.Namespace, need_later: bool
) -> tuple[list[Cell], dict[int, tuple[Cell, Path]], list[str]]:
    """The warm start measured once a seed, and MAESTRO's policy by seed."""
    starts = [grid.base_cell(seed, budget) for seed in seeds]
    if not need_later:
        return starts, {}, []
    cells = [grid.later_cell(seed, budget, CHAIN_STEPS) for seed in seeds]
    done, failed = run_grid(cells, args)
    later = {c.seed: (c, done[c.name]) for c in cells if c.name in done}
    return [*starts, *cells], later, failed


def checkpoint(run_dir: Path) -> Path:
    """The newest checkpoint of a finished cell."""
    return max((run_dir / "checkpoints").glob("step-*")).absolute()


def method_cells(
    seeds: Sequence[int],
    conditions: Sequence[str],
    budget: Budget,
    sources: Mapping[tuple[str, int], Path],
    later: Mapping[int, tuple[Cell, Path]],
    variants: bool,
) -> list[Cell]:
    """Every method under every condition, and the variants on fresh rows, seed by seed."""
    cells = []
    for seed in seeds:
        for name in conditions:
            if (name, seed) not in sources or (name == "old" and seed not in later):
                continue
            start = checkpoint(later[seed][1]) if name == "old" else None
            for key, learner in grid.learners(name, variants).items():
                source = {"path": str(sources[name, seed])}
                arm = f"{name}-{key}"
                cells.append(grid.learner_cell(arm, learner, seed, budget, source, start))
    return cells


def chain(
    seeds: Sequence[int],
    budget: Budget,
    later: Mapping[int, tuple[Cell, Path]],
    args: argparse.Namespace,
    folder: Path,
) -> tuple[pd.DataFrame, list[str]]:
    """MAESTRO, then each method on its rollouts, against more GRPO for RPO's seconds."""
    runs_dir = Path(args.runs_dir)
    sources = {seed: {"runs": [cell.name]} for seed, (cell, _) in later.items()}
    cells = [cell for cell, _ in later.values()]
    for seed in (s for s in seeds if s in later):
        start = checkpoint(later[seed][1])
        for key, learner in grid.learners("chain").items():
            for where, policy in (("chain", start), ("chain-base", None)):
                arm = f"{where}-{key}"
                cells.append(
                    grid.learner_cell(arm, learner, seed, budget, sources[seed], policy, REWARD)
                )
    done, failed = run_grid(cells, args)
    more = []
    for seed, (_, run) in later.items():
        steps = CHAIN_STEPS + extra_steps(runs_dir, folder, seed, run, cells, done)
        longer = grid.later_cell(seed, budget, steps)
        more.append(Cell("chain-more-grpo", seed, longer.config))
    longer_done, more_failed = run_grid(more, args)
    return summary(collected(runs_dir, done | longer_done, [*cells, *more])), failed + more_failed


def extra_steps(
    runs_dir: Path,
    folder: Path,
    seed: int,
    run: Path,
    cells: Sequence[Cell],
    done: Mapping[str, Path],
) -> int:
    """GRPO steps that take as long as RPO took on this run's rows; kept once measured."""
    path = folder / "rows" / f"chain-s{seed}.json"
    if path.is_file():
        return int(json.loads(path.read_text())["extra_steps"])
    store = Store(runs_dir)
    pace = float(store.sql(_PACE, {"run": run.name})["seconds"].iloc[0])
    cell = next(c for c in cells if c.arm == "chain-rpo" and c.seed == seed)
    numbers = store.sql(NUMBERS, {"runs": [done[cell.name].name]}).set_index("name")["value"]
    extra = max(1, round(float(numbers["train_seconds"]) / pace))
    path.write_text(
        json.dumps({"extra_steps": extra, "rpo_seconds": numbers["train_seconds"], "pace": pace})
    )
    return extra
