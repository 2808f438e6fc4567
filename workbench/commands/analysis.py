"""Commands that look back: whatif, compare, evaluate."""

from __future__ import annotations

import argparse
from typing import Any

from workbench.commands.base import (
    Command,
    emit,
    json_flag,
    print_frame,
    print_json,
    run_argument,
    say,
)
from workbench.formatting import plain


def _whatif_arguments(parser: argparse.ArgumentParser) -> None:
    from workbench.config.scalarizers import SCALARIZER_CONFIGS

    run_argument(parser)
    names = [name for name in SCALARIZER_CONFIGS if name != "conductor"]
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--scalarizer", metavar="NAME", help=f"one of {', '.join(names)}")
    which.add_argument(
        "--weights", metavar="NAME=W,...", help="fixed weights, e.g. format=1,length=0.5"
    )
    which.add_argument("--conductor", metavar="RUN", help="ask the newest Conductor of this run")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings of the scalarizer, e.g. concentration=5",
    )
    parser.add_argument("--split", choices=("train", "probe"), default="train")
    parser.add_argument(
        "--aggregation",
        choices=("sum_then_normalize", "normalize_then_sum"),
        help="default: the run's own",
    )
    parser.add_argument("--top", type=int, default=5, help="completions that change most")
    json_flag(parser)


def _whatif(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    wb = Workbench(args.runs_dir)
    result = wb.whatif(
        args.run,
        _scalarizer(args),
        weights=_weights(args.weights),
        conductor=args.conductor,
        split=args.split,
        aggregation=args.aggregation,
    )
    top = result.top(args.top)
    summary = result.summary()
    if args.json:
        print_json(summary | {"top": [plain(r) for r in top.to_dict("records")]})
        return 0
    emit(
        f"{summary['rows']:.0f} completions: rank correlation {summary['rank_correlation']:.3f}, "
        f"{summary['sign_flips']:.1%} change sign"
    )
    print_frame(result.mean_weights().rename_axis("kind").reset_index())
    emit()
    print_frame(top)
    return 0


def _scalarizer(args: argparse.Namespace) -> dict[str, Any] | None:
    from workbench.config.io import apply_set

    if args.scalarizer is None:
        return None
    data: dict[str, Any] = {"scalarizer": {"name": args.scalarizer}}
    for item in args.set:
        apply_set(data, f"scalarizer.{item}")
    return dict(data["scalarizer"])


def _weights(text: str | None, option: str = "--weights") -> dict[str, float] | None:
    if text is None:
        return None
    weights = {}
    for part in text.split(","):
        name, equals, number = part.partition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(f"{option} {part!r}: expected NAME=NUMBER")
    return weights


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="RUN", nargs="+", help="ids or names; RUN@STEP or RUN@before: a checkpoint"
    )
    parser.add_argument("--phase", help="which evaluation; default: the newest")
    parser.add_argument(
        "--reference",
        metavar="POINT",
        help="of the hypervolume: bounds, worst, one of the runs, or format=0,length=0.5",
    )
    json_flag(parser)


def _compare(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    point = args.reference
    if point is not None and "=" in point:
        point = _weights(point, "--reference")
    result = Workbench(args.runs_dir).compare(args.run, phase=args.phase, reference=point)
    if args.json:
        frames = ("means", "wins", "front", "volume", "config")
        print_json({name: getattr(result, name).to_dict("records") for name in frames})
        return 0
    overall = result.means[result.means["kind"] == "all"]
    print_frame(overall.drop(columns="kind"))
    for title, frame in (
        ("wins on the judge", result.wins),
        ("Pareto front of objective means", result.front),
        ("hypervolume", result.volume),
        ("configuration", result.config),
    ):
        if len(frame):
            emit(f"\n{title}")
            print_frame(frame)
    return 0


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    run_argument(parser)
    parser.add_argument("--checkpoint", default="last", help="base, last, best, a step or a path")
    parser.add_argument("--split", choices=("report", "calibration", "train"), default="report")
    parser.add_argument("--prompts", type=int, help="how many prompts; default as configured")
    parser.add_argument("--num-generations", type=int, help="completions per prompt")
    parser.add_argument("--temperature", type=float, help="0 is greedy")
    parser.add_argument("--phase", help="name of this evaluation; default the checkpoint's")
    parser.add_argument("--prompt", help="one prompt of your own instead of a split")
    json_flag(parser, "the means")


def _evaluate(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    wb = Workbench(args.runs_dir)
    names = (
        "checkpoint", "split", "prompts", "num_generations", "temperature", "phase", "prompt",
    )  # fmt: skip
    evaluation = wb.evaluate(args.run, **{name: getattr(args, name) for name in names})
    try:
        result = evaluation.wait()
    except KeyboardInterrupt:
        evaluation.cancel()
        say("cancelled")
        return 130
    failed = 1 if result["problems"] else 0  # the warnings on stderr say which
    if args.json:
        print_json(result)
        return failed
    rows = [{"kind": kind, **means} for kind, means in result["means"].items()]
    import pandas as pd

    print_frame(pd.DataFrame(rows))
    return failed


WHATIF = Command(_whatif_arguments, _whatif)
COMPARE = Command(_compare_arguments, _compare)
EVALUATE = Command(_evaluate_arguments, _evaluate)
