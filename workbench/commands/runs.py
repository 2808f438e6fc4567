"""Commands about runs: run, list, show, stop, resume, delete."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from workbench.commands.base import (
    Command,
    UsageError,
    emit,
    json_flag,
    print_json,
    print_table,
    run_argument,
    say,
)
from workbench.formatting import plain

if TYPE_CHECKING:
    from workbench.runs.launcher import Launcher


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    from workbench.config.io import PRESETS
    from workbench.config.text import keys_help

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
        metavar="KEY=VALUE",
        help="override a key, e.g. scalarizer.emphasis=0.3 (values are YAML)",
    )
    parser.add_argument("--name", help="name of the run; refused when taken")
    parser.add_argument(
        "--reuse",
        action="store_true",
        help="when the name is taken: follow, resume or show that run instead",
    )
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="train on N processes of this machine"
    )
    parser.add_argument(
        "--accelerate-config", metavar="FILE", help="how to distribute: a file of accelerate config"
    )
    parser.add_argument("--queue", action="store_true", help="wait for a free slot")
    parser.add_argument("--detach", action="store_true", help="print the id and leave it running")
    parser.add_argument("--print", action="store_true", help="print the whole YAML, start nothing")
    parser.add_argument(
        "--check", action="store_true", help="look at everything that can be known, start nothing"
    )
    json_flag(parser, "one object with what came of the run")
    parser.epilog = "keys, with what they allow and their defaults:\n" + keys_help()


def _run(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench
    from workbench.config.io import PRESETS, load, with_name
    from workbench.config.text import dump
    from workbench.runs.spawn import MAX_ACTIVE

    for item in [s for s in args.set if "=" not in s and args.config is None][:1]:
        args.config = item  # `run --set steps=3 quick`: the option took the configuration along
        args.set.remove(item)
    if args.config is None:
        raise UsageError(f"name a YAML file or a preset: {', '.join(PRESETS)}")
    config = load(args.config, args.set)
    if args.name is not None:
        config = with_name(config, args.name)
    if args.print:
        emit(dump(config), end="")
        return 0
    wb = Workbench(args.runs_dir, limit=MAX_ACTIVE if args.queue else None)
    if args.check:
        from workbench.runs.validation import with_absolute_paths

        wb.launcher.check(with_absolute_paths(config))
        say("nothing is wrong that can be known before the model is loaded")
        return 0
    taken = config.name is not None and wb.has(config.name)
    if args.reuse and taken:
        run = wb.run(config.name)
        if run.status in ("stopped", "failed"):
            run.resume()
        return begun(wb, run, args)
    run = wb.start(config, processes=args.processes, accelerate_config=args.accelerate_config)
    return begun(wb, run, args)


def begun(wb: object, run: object, args: argparse.Namespace) -> int:
    """Leave a started run alone, or follow it to its end."""
    if args.detach:
        print_json({"run_id": run}) if args.json else emit(run)
        return 0
    from workbench.commands.follow import follow

    return follow(wb, run, args.json)  # type: ignore[arg-type]


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    json_flag(parser, "the runs")
    parser.add_argument("--status", help="only runs with this status")


def _list(args: argparse.Namespace) -> int:
    from workbench.runs.launcher import Launcher

    infos = Launcher(args.runs_dir).list()
    rows = [plain(i.as_dict()) for i in infos if args.status in (None, i.status)]
    if args.json:
        print_json(rows)
    elif not rows:
        say(f"no runs in {args.runs_dir}; start one with: workbench run quick")
    else:
        table = [
            (
                r["run_id"],
                r["name"],
                r["status"],
                f"{r['step']}/{r['steps']}",
                r.get("scalarizer"),
                r.get("headline"),
                time.strftime("%Y-%m-%d %H:%M", time.localtime(r["created"])),
                r.get("message"),
            )
            for r in rows
        ]
        print_table(
            table,
            ["run_id", "name", "status", "step", "scalarizer", "headline", "created", "message"],
        )
    return 0


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    run_argument(parser)
    json_flag(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--config", action="store_true", help="print its configuration as YAML")
    what.add_argument("--log", action="store_true", help="print its log")
    what.add_argument(
        "--reproduce", action="store_true", help="print the command that makes the run again"
    )


def _show(args: argparse.Namespace) -> int:
    if args.reproduce or args.config or args.log:
        return _show_part(args)
    from workbench.runs.launcher import Launcher

    launcher = Launcher(args.runs_dir)
    run, state = _known(launcher, args.run)
    from workbench.analysis import queries, summary
    from workbench.commands.outcome import print_outcome
    from workbench.store.reader import Store

    store = Store(launcher.runs_dir)
    with store.attached():
        outcome = summary.outcome(store, run, state)
        warnings = queries.warnings(store, run)
    if args.json:
        print_json((state or {}) | outcome | {"warnings": warnings.to_dict("records")})
        return 0
    print_outcome(outcome)
    for row in warnings.itertuples():
        emit(f"step {row.step}: {row.message} {row.advice}")
    if outcome["message"]:
        emit(outcome["message"])
    return 0


def _known(launcher: Launcher, handle: str) -> tuple[str, dict[str, Any] | None]:
    """Id and state of a run; a run that the store alone knows has no state."""
    from workbench.runs.rundir import UnknownRunError

    try:
        info = launcher.get(handle)
        return info.run_id, info.as_dict()
    except UnknownRunError:
        if not (launcher.runs_dir / "workbench.duckdb").exists():
            raise
        from workbench.api.workbench import Workbench

        return Workbench(launcher.runs_dir).resolve(handle), None


def _show_part(args: argparse.Namespace) -> int:
    """One part of a run: how to make it again, its configuration or its log."""
    from workbench.api.workbench import Workbench
    from workbench.config.io import to_dict
    from workbench.config.text import dump

    wb = Workbench(args.runs_dir)
    run = wb.run(args.run)
    if args.reproduce:
        recipe = wb.reproduce(run)
        print_json(recipe) if args.json else emit("\n".join(recipe["lines"]))
    elif args.config:
        config = wb.config(run)
        print_json(to_dict(config)) if args.json else emit(dump(config), end="")
    else:
        offset = 0
        while (part := run.log(offset))[0]:
            emit(part[0].replace("\r\n", "\n").replace("\r", "\n"), end="")
            offset = part[1]
    return 0


def _stop_arguments(parser: argparse.ArgumentParser) -> None:
    run_argument(parser)
    parser.add_argument("--now", action="store_true", help="kill its process group at once")
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="how long asking and terminating each get"
    )
    json_flag(parser)


def _stop(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    wb = Workbench(args.runs_dir)
    run = wb.run(args.run)
    for phase in wb.launcher.stop_phases(run, seconds=args.timeout, now=args.now):
        say(f"{run.name}: {phase}")
    if args.json:
        print_json(wb.state(run))
    return 0


def _resume_arguments(parser: argparse.ArgumentParser) -> None:
    run_argument(parser)
    parser.add_argument("--detach", action="store_true", help="print the id and leave it running")
    json_flag(parser, "one object with what came of the run")


def _resume(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    wb = Workbench(args.runs_dir, limit=None)
    return begun(wb, wb.resume(args.run), args)


def _delete_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", nargs="+", help="id or name of a run")
    parser.add_argument("--yes", action="store_true", help="do not ask, even on a terminal")
    json_flag(parser)


def _delete(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    wb = Workbench(args.runs_dir)
    runs = [wb.run(handle) for handle in args.run]
    if sys.stdin.isatty() and not args.yes:
        say(f"delete {', '.join(run.name for run in runs)} with all rows and checkpoints? [y/N] ")
        if input().strip().lower() not in ("y", "yes"):
            raise UsageError("nothing was deleted")
    deleted = [wb.delete(run) for run in runs]
    print_json({"deleted": deleted}) if args.json else say(f"deleted {', '.join(deleted)}")
    return 0


RUN = Command(_run_arguments, _run)
LIST = Command(_list_arguments, _list)
SHOW = Command(_show_arguments, _show)
STOP = Command(_stop_arguments, _stop)
RESUME = Command(_resume_arguments, _resume)
DELETE = Command(_delete_arguments, _delete)
