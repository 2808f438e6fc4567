"""The command offline: learn from logged rows."""

from __future__ import annotations

import argparse
from typing import get_args

from workbench.commands.base import Command, emit, json_flag
from workbench.commands.runs import begun


def _arguments(parser: argparse.ArgumentParser) -> None:
    from workbench.config.doc import describe_fields
    from workbench.config.offline import Method
    from workbench.config.yamlio import write_flow

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="runs by id or name, a file of (prompt, response, reward) rows, or 'annotations' "
        "(with runs behind it: what people said of these)",
    )
    parser.add_argument("--method", choices=get_args(Method), default="dro", help="how to learn")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override a key: those below, or any of `workbench run` (steps=50)",
    )
    parser.add_argument("--name", help="name of the run; refused when taken")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="train on N processes of this machine"
    )
    parser.add_argument("--queue", action="store_true", help="wait for a free slot")
    parser.add_argument("--detach", action="store_true", help="print the id and leave it running")
    parser.add_argument("--print", action="store_true", help="print the whole YAML, start nothing")
    json_flag(parser, "one object with what came of the run")
    lines = ["keys of the rows and the methods, with what they allow and their defaults:"]
    for field in describe_fields():
        if field.path.startswith("offline.") and field.kind != "section":
            key, default = field.path.removeprefix("offline."), write_flow(field.default)
            lines += [f"  {key} ({field.allowed}; default {default})", f"      {field.help}"]
    parser.epilog = "\n".join(lines)


def _run(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench
    from workbench.config.text import dump
    from workbench.runs.spawn import MAX_ACTIVE

    wb = Workbench(args.runs_dir, limit=MAX_ACTIVE if args.queue else None)
    config = wb.offline_config(args.source, args.method, sets=args.set, name=args.name)
    if args.print:
        emit(dump(config), end="")
        return 0
    return begun(wb, wb.start(config, processes=args.processes), args)


OFFLINE = Command(_arguments, _run)
