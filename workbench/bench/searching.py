"""``bench --search`` and ``--sensitivity``: tables and figures of settings instead of methods."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.bench import bandit_sensitivity, collect, sensitivity
from workbench.bench.cells import FULL, Cell
from workbench.bench.grid import bar, run_grid, save
from workbench.bench.methods import EQUAL, EQUAL_BATCH
from workbench.bench.problems import CONFLICTS
from workbench.plots import benchmark

LOGARITHMIC = ("fraction", "entropy_coef", "temperature", "group_size")


def _means(frame: pd.DataFrame) -> pd.Series:
    """Mean over kinds, one value a seed."""
    return frame.groupby("seed")["judge"].mean()


def search(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Settings of the Conductor, or weights per kind, tuned on calibration prompts."""
    steps = args.steps or FULL.steps
    if args.search == "oracle":
        return oracle(args, folder, steps)
    space = {"maestro": sensitivity.maestro_space, "anchored": sensitivity.anchored_space}[
        args.search
    ]()
    space |= {"equal": EQUAL, "equal, batch": EQUAL_BATCH}
    seeds = sensitivity.SEARCH_SEEDS[: args.seeds] if args.seeds else sensitivity.SEARCH_SEEDS
    grid = sensitivity.search_cells(space, seeds, steps)
    done, failed = run_grid([c for cells in grid.values() for c in cells], args)
    rows = []
    for name, cells in grid.items():
        if any(c.name in done for c in cells):
            judged = _means(collect.calibration_scores(Path(args.runs_dir), done, cells))
            rows.append({"setting": name, "judge": judged.mean(), "low": judged.min()})
            rows[-1] |= {"high": judged.max(), "seeds": len(judged)}
    table = pd.DataFrame(rows).sort_values("judge", ascending=False, ignore_index=True)
    text = table.to_string(index=False, float_format=lambda v: f"{v:.3f}") + "\n"
    save(folder, f"search-{args.search}", table, text)
    return {"json": {"search": rows, "failed": failed}, "text": text, "failed": bool(failed)}


def oracle(args: argparse.Namespace, folder: Path, steps: int) -> dict[str, Any]:
    """Weights per kind that measure best: every run tries another candidate on every kind."""
    seeds = sensitivity.SEARCH_SEEDS[: args.seeds] if args.seeds else sensitivity.SEARCH_SEEDS[:2]
    trials = sensitivity.oracle_trials()
    grid = {
        index: sensitivity.search_cells(
            {f"oracle {index}": sensitivity.oracle_of(trial)}, seeds, steps
        )
        for index, trial in enumerate(trials)
    }
    flat = [c for named in grid.values() for cells in named.values() for c in cells]
    done, failed = run_grid(flat, args)
    rows = []
    for index, named in grid.items():
        for cells in named.values():
            if not any(c.name in done for c in cells):
                continue
            scores = collect.calibration_scores(Path(args.runs_dir), done, cells)
            for kind, judge in scores.groupby("kind")["judge"].mean().items():
                rows.append({"kind": kind, "judge": judge, **trials[index][str(kind)]})
    table = pd.DataFrame(rows).sort_values(["kind", "judge"], ascending=[True, False])
    best = sensitivity.best_weights(table)
    text = table.groupby("kind", sort=False).head(4).round(3).to_string(index=False) + "\n"
    text += "\n".join(f"{kind}: {weights}" for kind, weights in best.items()) + "\n"
    save(folder, "search-oracle", table, text)
    return {"json": {"oracle": best, "failed": failed}, "text": text, "failed": bool(failed)}


def vary(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Sensitivity on the reported seeds and prompts; one figure each."""
    names = list(sensitivity.SETTINGS) if args.sensitivity == "all" else [args.sensitivity]
    if args.tier == "bandit":
        return planted(args, folder, names)
    budget = replace(FULL, steps=args.steps) if args.steps else FULL
    seeds = range(args.seeds or 2)
    grids = {name: sensitivity.varied_cells(name, seeds, budget) for name in names}
    flat: list[Cell] = [c for grid in grids.values() for cells in grid.values() for c in cells]
    done, failed = run_grid(flat, args)
    frames, text = [], ""
    for name, grid in grids.items():
        rows = []
        for (method, value), cells in grid.items():
            if not any(c.name in done for c in cells):
                continue
            scores = collect.report_scores(Path(args.runs_dir), done, cells)
            rows += [{"method": method, "value": value, "judge": j} for j in _means(scores)]
        frame = pd.DataFrame(rows).assign(setting=name)
        frames.append(frame)
        figure = benchmark.sensitivity(frame, sensitivity.TITLES[name], name in LOGARITHMIC)
        figure.write_html(folder / f"sensitivity-{name}.html", include_plotlyjs=True)
        text += _pivot(name, frame, "judge")
    table = pd.concat(frames, ignore_index=True)
    save(folder, "sensitivity", table, text)
    results = {"sensitivity": table.to_dict("records"), "failed": failed}
    return {"json": results, "text": text, "failed": bool(failed)}


def planted(args: argparse.Namespace, folder: Path, names: list[str]) -> dict[str, Any]:
    """The same on the planted worlds: share of the way from equal weights to the oracle."""
    seeds = range(args.seeds or 3)
    frames, text = [], ""
    with bar("planted worlds", len(names) * len(seeds) * len(CONFLICTS)) as advance:
        for name in names:
            frame = bandit_sensitivity.run(
                name, folder / "bandit-sensitivity", seeds, args.jobs, watch=lambda: advance(1.0)
            ).assign(setting=name)
            frames.append(frame)
            figure = benchmark.sensitivity(
                frame, sensitivity.TITLES[name], name in LOGARITHMIC, "recovered"
            )
            figure.write_html(folder / f"bandit-sensitivity-{name}.html", include_plotlyjs=True)
            text += _pivot(name, frame, "recovered")
    table = pd.concat(frames, ignore_index=True)
    save(folder, "bandit-sensitivity", table, text)
    return {"json": {"sensitivity": table.to_dict("records")}, "text": text}


def _pivot(name: str, frame: pd.DataFrame, what: str) -> str:
    """Means by method and value, as Markdown."""
    table = frame.pivot_table(index="method", columns="value", values=what, sort=False)
    table = table[sorted(table.columns)]
    header = [sensitivity.TITLES[name], *(f"{value:.3g}" for value in table.columns)]
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * len(table.columns)]
    for method, row in table.iterrows():
        numbers = ("" if value != value else f"{value:.2f}" for value in row)
        lines.append("| " + " | ".join([str(method), *numbers]) + " |")
    return "\n".join(lines) + "\n\n"
