"""Commands about the store: query, schema, export, import, archive, doctor."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from typing import TYPE_CHECKING, Any

from workbench.commands.base import (
    Command,
    UsageError,
    emit,
    json_flag,
    print_frame,
    print_json,
    print_table,
    run_argument,
    say,
)
from workbench.formatting import neutral, plain, visible
from workbench.store.limits import QUERY_SECONDS, go_on_in_a_child

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("parquet", "csv", "jsonl", "duckdb")
OUTWARD = ("datasets", "dpo", "lm-eval")


def _query_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sql", metavar="SQL", help="one SELECT over the store's views; - reads stdin"
    )
    parser.add_argument("--limit", type=int, default=10_000, help="at most so many rows")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list of objects as JSON")
    form.add_argument("--csv", action="store_true", help="print CSV; formulas are made harmless")


def _query(args: argparse.Namespace) -> int:
    if args.limit < 1:
        raise UsageError(f"--limit {args.limit}: at least 1")
    sql = sys.stdin.read() if args.sql == "-" else args.sql
    if args.own_process:
        go_on_in_a_child(2 * QUERY_SECONDS)
    from workbench.store.reader import Store

    answer = Store(args.runs_dir).query(sql, args.limit, alone=args.own_process)
    if args.json:
        print_json([plain(row) for row in answer.rows.to_dict("records")])
    elif args.csv:
        print_csv(answer.rows)
    else:
        print_frame(answer.rows)
    if answer.notice:
        say(answer.notice)
    return 0


def print_csv(frame: pd.DataFrame) -> None:
    """Every value whole: lists and maps as JSON, numbers to the last digit, nothing as nothing.

    Text that a spreadsheet would take for a formula gets an apostrophe in front; on a terminal,
    what that would obey is spelled out.
    """
    told = visible if sys.stdout.isatty() else str
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([told(neutral(str(name))) for name in frame.columns])
    for row in frame.itertuples(index=False, name=None):
        writer.writerow([told(_csv_cell(value)) for value in row])


def _csv_cell(value: Any) -> str:
    if isinstance(value, float):  # numpy's too
        return "" if value != value else repr(float(value))
    known = neutral(value) if isinstance(value, str) else plain(value)
    if isinstance(known, list | dict):
        return json.dumps(known, ensure_ascii=False)
    return "" if known is None else str(known)


def _schema_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("view", nargs="?", metavar="VIEW", help="only this view")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    json_flag(parser)


def _schema(args: argparse.Namespace) -> int:
    from workbench.store.describe import schema_frame, schema_markdown, views_markdown

    if args.markdown:
        emit(f"{views_markdown()}\n{schema_markdown()}", end="")
        return 0
    frame = schema_frame()
    views = list(dict.fromkeys(frame["view"]))
    if args.view is not None and args.view not in views:
        raise ValueError(f"no view {args.view!r}; there are {', '.join(views)}")
    if args.view is not None:
        frame = frame[frame["view"] == args.view]
    if args.json:
        print_json(frame.to_dict("records"))
        return 0
    for view, rows in frame.groupby("view", sort=False):
        emit(f"{view}")
        cells = [("  " + r.column, r.type, r.comment) for r in rows.itertuples()]
        print_table(cells, ["  column", "type", "meaning"], width=110)
        emit()
    return 0


def _archive_arguments(parser: argparse.ArgumentParser) -> None:
    run_argument(parser, nargs="?")
    json_flag(parser)


def _archive(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    report = Workbench(args.runs_dir).archive(args.run)
    print_json({"report": report.splitlines()}) if args.json else emit(report)
    return 0


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", nargs="+", help="id or name of a run")
    parser.add_argument(
        "--format",
        choices=(*FORMATS, *OUTWARD),
        default="parquet",
        help="the first four come back with import; datasets, dpo and lm-eval are for other tools",
    )
    parser.add_argument(
        "--by",
        default="advantage",
        metavar="WHAT",
        help="for dpo, what tells the best of a group: advantage, scalar, judge, votes, "
        "reward:NAME (default: advantage)",
    )
    parser.add_argument(
        "--out", metavar="PATH", help="a new folder, or a new file for duckdb (default: the name)"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="WHICH",
        help="best, last or a step: a model folder with a card, in exports/, instead of rows",
    )
    parser.add_argument(
        "--push",
        metavar="OWNER/NAME",
        help="upload to the hub: rollouts as a data set, or the checkpoint as a model",
    )
    parser.add_argument("--public", action="store_true", help="a repository made now is public")
    json_flag(parser, "the files written")


def _export(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    wb = Workbench(args.runs_dir)
    if args.push is not None:
        runs = args.run if args.checkpoint is None else _one(args.run)
        address = wb.push(runs, args.push, checkpoint=args.checkpoint, private=not args.public)
        print_json({"address": address}) if args.json else emit(address)
        return 0
    if args.checkpoint is not None:
        folders = [wb.export_model(run, args.checkpoint) for run in args.run]
        print_json([str(f) for f in folders]) if args.json else emit("\n".join(map(str, folders)))
        return 0
    suffix = ".duckdb" if args.format == "duckdb" else f"-{args.format}"
    out = args.out or f"{args.run[0] if len(args.run) == 1 else 'runs'}{suffix}"
    files = wb.export(args.run, out, args.format, by=args.by)
    print_json([str(f) for f in files]) if args.json else emit("\n".join(map(str, files)))
    left = "metrics, updates, evaluations and hidden states are not in this form"
    say(left if args.format in OUTWARD else "not taken along: checkpoints' files and the log")
    return 0


def _one(runs: list[str]) -> str:
    if len(runs) > 1:
        raise UsageError(f"--checkpoint is of one run, not of {len(runs)}")
    return runs[0]


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a store or its folder, an export, TRL's completions_*.parquet, or rows of verl, "
        "OpenRLHF, prime-rl or trackio",
    )
    parser.add_argument(
        "--rewards",
        nargs="+",
        metavar="COLUMN",
        help="columns of TRL's tables that are rewards (default: told by the advantages)",
    )
    parser.add_argument("--name", help="name of the new run")
    json_flag(parser, "the ids of the new runs")


def _import(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    wb = Workbench(args.runs_dir)
    found = wb.import_(args.path, args.name, args.rewards)
    print_json(found) if args.json else emit("\n".join(found))
    for run in found:
        if message := wb.state(run)["message"]:
            say(message)
    return 0


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mend",
        action="store_true",
        help="first clear what killed processes left, and put back what is whole",
    )
    json_flag(parser)


def _doctor(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    health = Workbench(args.runs_dir).doctor(args.mend)
    print_json(health.as_dict()) if args.json else emit(health)
    return 0 if health.healthy else 1


QUERY = Command(_query_arguments, _query)
SCHEMA = Command(_schema_arguments, _schema)
ARCHIVE = Command(_archive_arguments, _archive)
EXPORT = Command(_export_arguments, _export)
IMPORT = Command(_import_arguments, _import)
DOCTOR = Command(_doctor_arguments, _doctor)
