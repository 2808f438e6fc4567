"""Commands of what people say about runs: rename, duplicate, annotate."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from workbench.commands.base import (
    Command,
    UsageError,
    emit,
    json_flag,
    print_frame,
    print_json,
    run_argument,
    say,
)
from workbench.formatting import plain

if TYPE_CHECKING:
    from workbench.api.workbench import Workbench

_WHERE = re.compile(r"(?P<group>.+?):(?P<sample>\d+|none)(=(?P<score>[0-9.eE+-]+))?\Z")


def _rename_arguments(parser: argparse.ArgumentParser) -> None:
    run_argument(parser)
    parser.add_argument("name", metavar="NAME", help="its new name; refused when taken")
    json_flag(parser)


def _rename(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    run_id = Workbench(args.runs_dir).rename(args.run, args.name)
    if args.json:
        print_json({"run_id": run_id, "name": args.name})
    else:
        say(f"{run_id} is now {args.name}")
    return 0


def _duplicate_arguments(parser: argparse.ArgumentParser) -> None:
    run_argument(parser)
    parser.add_argument("--name", help="name of the new run; made up when left out")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="what to change, e.g. seed=1",
    )
    parser.add_argument("--print", action="store_true", help="print the whole YAML, start nothing")
    parser.add_argument("--detach", action="store_true", help="print the id and leave it running")
    json_flag(parser, "one object with what came of the run")


def _duplicate(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench
    from workbench.commands.runs import begun
    from workbench.config.io import load, to_dict
    from workbench.config.text import dump

    wb = Workbench(args.runs_dir, limit=None)
    config = load(to_dict(wb.duplicate(args.run, args.name)), args.set)
    if args.print:
        emit(dump(config), end="")
        return 0
    return begun(wb, wb.start(config, parent=wb.resolve(args.run)), args)


def _annotate_arguments(parser: argparse.ArgumentParser) -> None:
    run_argument(parser)
    parser.add_argument("--tag", action="append", default=[], metavar="TEXT", help="put a tag on")
    parser.add_argument("--note", metavar="TEXT", help="write the note of the run; '' removes it")
    parser.add_argument(
        "--vote", metavar="GROUP:SAMPLE", help="the best completion of a group; GROUP:none"
    )
    parser.add_argument(
        "--score", metavar="GROUP:SAMPLE=S", help="a grade of one completion, 0 to 1"
    )
    parser.add_argument("--rater", default="me", help="who votes or grades")
    parser.add_argument("--retract", metavar="ID", help="take an annotation back")
    parser.add_argument(
        "--queue", type=int, metavar="N", help="show the N groups where a vote teaches most"
    )
    json_flag(parser, "what is said of the run")


def _annotate(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    wb = Workbench(args.runs_dir)
    run = wb.run(args.run)
    done = _store(wb, run, args)
    if args.queue:
        groups = wb.to_rate(run, args.queue)
        print_json([plain(r) for r in groups.to_dict("records")]) if args.json else print_frame(
            groups
        )
        return 0
    if done:
        print_json({"annotations": done}) if args.json else say("\n".join(done))
        return 0
    marks, agreement = wb.annotations(run), wb.agreement(run)
    if args.json:
        parts = {"annotations": marks, "agreement": agreement}
        print_json({k: [plain(r) for r in v.to_dict("records")] for k, v in parts.items()})
        return 0
    columns = ["annotation_id", "type", "rater", "score", "text", "group_id", "sample"]
    print_frame(marks[columns])
    if len(agreement):
        emit()
        print_frame(agreement)
    return 0


def _store(wb: Workbench, run: str, args: argparse.Namespace) -> list[str]:
    """Store everything that the command line says; returns the ids."""
    done = [wb.annotate(run, "tag", text=text) for text in args.tag]
    if args.note is not None:
        done.append(wb.annotate(run, "note", annotation_id="note", text=args.note))
    if args.retract is not None:
        if args.retract not in set(wb.annotations(run)["annotation_id"]):
            raise ValueError(f"no annotation {args.retract!r} on run {args.run!r}")
        wb.retract(run, args.retract)
        done.append(args.retract)
    for option in ("vote", "score"):
        text = getattr(args, option)
        if text is None:
            continue
        found = _WHERE.match(text)
        if found is None or (found["score"] is None) != (option == "vote"):
            form = "GROUP:SAMPLE" if option == "vote" else "GROUP:SAMPLE=SCORE"
            raise UsageError(f"--{option} {text!r}: expected {form}")
        sample = None if found["sample"] == "none" else int(found["sample"])
        score = None if found["score"] is None else float(found["score"])
        done.append(wb.vote(run, found["group"], sample, args.rater, score))
    return done


RENAME = Command(_rename_arguments, _rename)
DUPLICATE = Command(_duplicate_arguments, _duplicate)
ANNOTATE = Command(_annotate_arguments, _annotate)
