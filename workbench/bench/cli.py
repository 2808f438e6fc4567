"""``workbench bench``: run the grid, print the table, leave tables and figures beside the runs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.bench.grid import bar, run_grid, save, say

TIERS = ("language", "bandit")
SEARCHES = ("maestro", "anchored", "oracle")
QUICK_WORLDS = ("conflict -0.8", "trap biased high")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``workbench bench``."""
    parser.add_argument(
        "suite",
        nargs="?",
        choices=("methods", "offline"),
        default="methods",
        help="weightings of the objectives, or learning from logged rows",
    )
    parser.add_argument("--quick", action="store_true", help="few methods and seeds: 5 minutes")
    parser.add_argument("--methods", help="comma-separated methods; all when left out")
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="MODULE:CLASS",
        help="a scalarizer of your own beside the others, e.g. mine:MyScalarizer",
    )
    parser.add_argument("--seeds", type=int, help="how many seeds (default 5; quick 2)")
    parser.add_argument("--steps", type=int, help="policy updates of each cell")
    parser.add_argument(
        "--samples", type=int, help="completions per report prompt (default 16; quick 4)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--tier", choices=TIERS, help="one tier alone")
    parser.add_argument(
        "--sensitivity", help="a sensitivity (emphasis, temperature, ...) instead; or 'all'"
    )
    parser.add_argument("--search", choices=SEARCHES, help="tune on calibration prompts instead")
    parser.add_argument(
        "--report",
        action="store_true",
        help="tables of the cells that are done, of methods, of sensitivity or a search; runs none",
    )
    parser.add_argument(
        "--published", action="store_true", help="the tables that ship with the package; runs none"
    )
    parser.add_argument(
        "--publish",
        metavar="PARQUET",
        help="add the cells that are done to a file of results; runs none",
    )
    parser.add_argument("--cost", action="store_true", help="paired timings instead")
    parser.add_argument("--pairs", type=int, default=60, help="with --cost: pairs of timed steps")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: argparse.Namespace) -> int:
    """Run what was asked for; returns the exit status."""
    folder = Path(args.runs_dir) / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    _strangers(args)
    if args.suite == "offline":
        from workbench.bench.offline_study import report as part
    elif args.published or args.publish:
        part = published
    elif args.cost:
        from workbench.bench.cost import report as part
    elif args.search:
        from workbench.bench.searching import search as part
    elif args.sensitivity:
        from workbench.bench.searching import vary as part
    elif args.report:
        part = stored
    else:
        part = methods
    results = part(args, folder)
    if args.json:
        from workbench.store.state import plain

        print(json.dumps(plain(results["json"]), ensure_ascii=False))
    else:
        print(results["text"])
        say(f"tables and figures are in {folder}")
    return 1 if results.get("failed") else 0


def _strangers(args: argparse.Namespace) -> None:
    """Scalarizers from outside join the table; with --methods they join those."""
    if not args.method:
        return
    from workbench.bench import methods as known
    from workbench.config.scalarizers import Custom
    from workbench.core.scalarizers import build_scalarizer

    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a module beside the command; children inherit the path
    keys = [known.stranger(function) for function in args.method]
    for function in args.method:
        build_scalarizer(Custom(function), known.OBJECTIVES)  # a bad one fails before any cell
    if args.methods or args.quick:
        args.methods = ",".join([args.methods or ",".join(known.QUICK), *keys])


def methods(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both tiers: every method on every seed."""
    results: dict[str, Any] = {"json": {}, "text": ""}
    for tier, part in (("language", language), ("bandit", bandit)):
        if args.tier in (None, tier):
            found = part(args, folder)
            results["json"] |= found["json"]
            results["text"] += ("\n" if results["text"] else "") + found["text"]
            results["failed"] = results.get("failed") or found.get("failed")
    return results


def language(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The language tier: real runs on the etudes."""
    from workbench.bench import cells, collect
    from workbench.bench import methods as known

    budget = cells.QUICK if args.quick else cells.FULL
    if args.steps:
        budget = replace(budget, steps=args.steps)
    if args.samples:
        budget = replace(budget, report_samples=args.samples)
    seeds = range(args.seeds or (2 if args.quick else len(cells.REPORT_SEEDS)))
    chosen = known.choose(args.methods, args.quick)
    grid = cells.grid(chosen, seeds, budget)
    done, failed = run_grid(grid, args)
    if not done:
        raise RuntimeError(f"every cell failed; the first one: {failed[0]}")
    runs_dir = Path(args.runs_dir)
    found = tables(
        folder,
        collect.report_scores(runs_dir, done, grid),
        collect.objective_means(runs_dir, done, grid),
        collect.spent(runs_dir, done, grid),
    )
    found["json"] |= {"budget": vars(budget), "seeds": list(seeds), "failed": failed}
    found["text"] += "".join(f"{line}\n" for line in failed)
    return found | {"failed": bool(failed)}


def published(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Tables of the results that ship with the package, or of a file that is added to first."""
    from workbench.bench import published as kept
    from workbench.bench.stored import read

    path = Path(args.publish) if args.publish else kept.location()
    if args.publish:
        kept.write(kept.gather(read(Path(args.runs_dir), args.steps)), path)
    frame = kept.read(path)
    steps = [args.steps] if args.steps else sorted(set(frame["steps"]))
    text = "".join(f"{n} steps\n\n{kept.markdown(frame, n)}\n" for n in steps)
    return {"json": frame.to_dict("records"), "text": text}


def stored(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Tables and figures of the cells that have finished here, whoever ran them."""
    from workbench.bench.stored import read

    found = read(Path(args.runs_dir), args.steps)
    if not found.cells:
        raise ValueError(
            f"{args.runs_dir} holds {len(found.varied)} cells of sensitivity and none of methods: "
            "--report --sensitivity NAME"
        )
    return tables(folder, found.scores, found.objectives, found.spent)


def tables(folder: Path, scores: Any, objectives: Any, cost: Any) -> dict[str, Any]:
    """The table, the comparisons and the claims; CSV, Markdown and figures into the folder."""
    from workbench.bench import report
    from workbench.plots import benchmark

    table = report.summary(scores, objectives, cost)
    against = report.comparisons(scores, "anchored")
    claims = report.claims(scores)
    save(folder, "methods", table, report.markdown(table))
    scores.to_csv(folder / "cells.csv", index=False)
    benchmark.methods(table).write_html(folder / "methods.html", include_plotlyjs=True)
    benchmark.families(table).write_html(folder / "families.html", include_plotlyjs=True)
    return {
        "json": {
            "methods": table.to_dict("records"),
            "anchored_against": against.to_dict("records"),
            "claims": claims,
        },
        "text": report.markdown(table) + _claims_text(claims),
    }


def _claims_text(claims: dict[str, Any]) -> str:
    lines = []
    for arm, found in claims.items():
        beaten, rest = len(found["beats"]), ", ".join(found["does_not_beat"])
        total = beaten + len(found["does_not_beat"])
        text = f"{arm}: above {beaten} of {total} with a paired 95 % interval"
        lines.append(text + (f"; not above {rest}" if rest else ""))
        if "recovered" in found:
            lines.append(f"{arm}: recovers {found['recovered']:.0%} of the way to the oracle")
    return "\n".join(["", *lines, ""])


def bandit(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The bandit tier: planted worlds."""
    from workbench.bench import experiments
    from workbench.bench.bandit import STEPS, worlds
    from workbench.plots import benchmark

    seeds = range(args.seeds or (1 if args.quick else 5))
    names = QUICK_WORLDS if args.quick else tuple(worlds())
    with bar("planted worlds", len(seeds) * len(names)) as advance:
        frame = experiments.run_tournaments(
            folder / "bandit", seeds, args.jobs, STEPS, names, lambda name: advance(1.0)
        )
    table = experiments.standings(frame)
    text = experiments.markdown(table)
    save(folder, "bandit", table, text)
    benchmark.worlds(frame).write_html(folder / "bandit.html", include_plotlyjs=True)
    return {"json": {"bandit": table.to_dict("records")}, "text": text}
