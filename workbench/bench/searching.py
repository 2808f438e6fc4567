"""``bench --search`` and ``--sweep``: tables and figures of settings instead of methods."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.bench import charts, collect, sweeps
from workbench.bench.cells import FULL, Cell
from workbench.bench.cli import run_grid, save


def _means(frame: pd.DataFrame) -> pd.Series:
    """Mean over kinds, one value a seed."""
    return frame.groupby("seed")["judge"].mean()


def search(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The paper's meta-reward over its settings, on calibration prompts and seeds of their own."""
    grid = sweeps.search_cells(sweeps.search_space(), steps=args.steps or FULL.steps)
    grid |= sweeps.search_cells(
        {"equal": {"scalarizer": {"name": "static"}}}, steps=args.steps or FULL.steps
    )
    flat = [c for cells in grid.values() for c in cells]
    done, failed = run_grid(flat, args)
    rows = []
    for name, cells in grid.items():
        if any(c.name in done for c in cells):
            judged = _means(collect.calibration_scores(Path(args.runs_dir), done, cells))
            rows.append({"setting": name, "judge": judged.mean(), "low": judged.min()})
            rows[-1] |= {"high": judged.max(), "seeds": len(judged)}
    table = pd.DataFrame(rows).sort_values("judge", ascending=False, ignore_index=True)
    text = table.to_string(index=False, float_format=lambda v: f"{v:.3f}") + "\n"
    save(folder, "search", table, text)
    return {"json": {"search": rows, "failed": failed}, "text": text, "failed": bool(failed)}


def sweep(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Sensitivity sweeps on the reported seeds and prompts; one figure each."""
    names = list(sweeps.SWEEPS) if args.sweep == "all" else [args.sweep]
    budget = FULL
    seeds = range(args.seeds or 2)
    grids = {name: sweeps.sweep_cells(name, seeds, budget) for name in names}
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
        frame = pd.DataFrame(rows).assign(sweep=name)
        frames.append(frame)
        logarithmic = name in ("fraction", "entropy_coef", "temperature", "group_size")
        figure = charts.sweep(frame, sweeps.TITLES[name], logarithmic)
        figure.write_html(folder / f"sweep-{name}.html", include_plotlyjs=True)
        means = frame.pivot_table(index="value", columns="method", values="judge", sort=False)
        text += f"{sweeps.TITLES[name]}\n{means.round(3).to_string()}\n\n"
    table = pd.concat(frames, ignore_index=True)
    save(folder, "sweeps", table, text)
    results = {"sweeps": table.to_dict("records"), "failed": failed}
    return {"json": results, "text": text, "failed": bool(failed)}
