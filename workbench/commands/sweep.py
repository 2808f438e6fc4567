"""The command sweep: a grid or a random search, each trial an ordinary run."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

from workbench.commands.base import (
    Command,
    UsageError,
    emit,
    json_flag,
    print_frame,
    print_json,
    say,
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    from workbench.config.io import PRESETS
    from workbench.runs.sweep_plan import PRUNERS, SAMPLERS

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "config",
        nargs="?",
        metavar="CONFIG",
        help=f"a YAML file, or a preset: {', '.join(PRESETS)}",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUES",
        help="key=value for all, key=a,b,c to try each, key=low..high[:log] to draw from",
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=[0],
        metavar="SEED",
        help="run every configuration once for each (default: 0)",
    )
    parser.add_argument(
        "--random", type=int, metavar="N", help="draw N configurations instead of trying the grid"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="runs at once (default: 2)"
    )
    parser.add_argument(
        "--early-stop",
        action="store_true",
        help="end a run whose metric is below the median of the others at the same step: short for "
        "--pruner median",
    )
    parser.add_argument(
        "--sampler", choices=SAMPLERS, help="how --random N draws (default: random)"
    )
    parser.add_argument("--pruner", choices=PRUNERS, help="what ends a run early (default: none)")
    parser.add_argument(
        "--metric",
        default="headline",
        help="headline (the judge), or SPLIT/NAME of the metrics: train/reward (default: headline)",
    )
    parser.add_argument("--minimize", action="store_true", help="the lower the metric, the better")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="processes of each run"
    )
    parser.add_argument("--name", help="name of the sweep (default: sweep, sweep-2, ...)")
    parser.add_argument("--continue", dest="again", metavar="NAME", help="go on with a sweep")
    parser.add_argument("--show", metavar="NAME", help="print what a sweep has found so far")
    parser.add_argument("--print", action="store_true", help="print the plan, start nothing")
    json_flag(parser, "trials and configurations, best first,")
    parser.epilog = (
        "example: workbench sweep quick --set scalarizer.emphasis=0.1,0.3,0.5 "
        "grpo.learning_rate=1e-4,3e-4 --seeds 0 1 --early-stop"
    )


def _run(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    wb = Workbench(args.runs_dir, limit=None)
    if args.show:
        return _report(wb, args.show, args.json)
    for item in [s for s in args.set if "=" not in s and args.config is None][:1]:
        args.config = item  # `sweep --set a=1,2 quick`: the option took the configuration along
        args.set.remove(item)
    if args.config is None and args.again is None:
        raise UsageError("name a YAML file or a preset, or a sweep to --continue or --show")
    plan = _plan(wb, args)
    if args.print:
        emit(f"{plan.count} trials, {plan.jobs} at once, of:")
        for axis in plan.axes:
            ends = f"{axis.low:g}..{axis.high:g}" if axis.is_range else ", ".join(axis.values)
            emit(f"  {axis.key}: {ends}")
        emit(f"  seed: {', '.join(map(str, plan.seeds))}")
        return 0
    from workbench.runs.sweep_driver import Driver

    if args.again is None:
        plan.save(wb.runs_dir)
    presses: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: presses.append(n))
    say(f"sweep {plan.name}: {plan.count} trials, {plan.jobs} at once")
    Driver(wb.launcher, plan, say, lambda: bool(presses)).run()
    if presses:
        say(f"stopped; go on with: workbench sweep --continue {plan.name}")
    _report(wb, plan.name, args.json)
    return 130 if presses else 0


def _plan(wb: Any, args: argparse.Namespace) -> Any:
    from workbench.runs.rundir import free_name
    from workbench.runs.sweep_plan import SweepPlan

    if args.again is not None:
        return SweepPlan.read(wb.runs_dir, args.again)
    return SweepPlan.make(
        args.name or free_name("sweep", set(wb.sweeps())),
        args.config,
        args.set,
        args.seeds,
        random=args.random,
        jobs=args.jobs,
        sampler=args.sampler,
        pruner=args.pruner or ("median" if args.early_stop else "none"),
        metric=args.metric,
        minimize=args.minimize,
        processes=args.processes,
    )


def _report(wb: Any, name: str, as_json: bool) -> int:
    """Print the configurations, best first."""
    found = wb.sweep(name)
    counts = found.trials["status"].value_counts().to_dict()
    if as_json:
        tables = {"trials": found.trials, "best": found.best}
        print_json({"name": name, "counts": counts}
                   | {k: t.to_dict("records") for k, t in tables.items()})  # fmt: skip
        return 0
    emit(", ".join(f"{n} {status}" for status, n in counts.items()) or "no trials yet")
    if len(found.best):
        print_frame(found.best.rename(columns={"value": found.plan.metric}))
        sys.stdout.flush()
    return 0


SWEEP = Command(_arguments, _run)
