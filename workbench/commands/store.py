"""Commands about the store: query, schema, export, import, archive, doctor."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from workbench.commands.base import (
    Command,
    UsageError,
    json_flag,
    plain,
    print_frame,
    print_json,
    print_table,
    run_argument,
    say,
)
from workbench.store.limits import QUERY_SECONDS, go_on_in_a_child

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("parquet", "csv", "jsonl", "duckdb")


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
        _harmless(answer.rows).to_csv(sys.stdout, index=False)
    else:
        print_frame(answer.rows)
    if answer.notice:
        say(answer.notice)
    return 0


def _harmless(frame: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    from workbench.store.export import neutral

    texts = frame.select_dtypes(include=["object", "string"]).columns
    return frame.assign(
        **{c: frame[c].map(lambda v: neutral(v) if isinstance(v, str) else v) for c in texts}
    )


def _schema_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("view", nargs="?", metavar="VIEW", help="only this view")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    json_flag(parser)


def _schema(args: argparse.Namespace) -> int:
    from workbench.store.describe import schema_frame, schema_markdown, views_markdown

    if args.markdown:
        print(f"{views_markdown()}\n{schema_markdown()}", end="")
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
        print(f"{view}")
        cells = [("  " + r.column, r.type, r.comment) for r in rows.itertuples()]
        print_table(cells, ["  column", "type", "meaning"], width=110)
        print()
    return 0


def _archive_arguments(parser: argparse.ArgumentParser) -> None:
    run_argument(parser, nargs="?")
    json_flag(parser)


def _archive(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    report = Workbench(args.runs_dir).archive(args.run)
    print_json({"report": report.splitlines()}) if args.json else print(report)
    return 0


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", nargs="+", help="id or name of a run")
    parser.add_argument("--format", choices=FORMATS, default="parquet")
    parser.add_argument(
        "--out", metavar="PATH", help="a new folder, or a new file for duckdb (default: the name)"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="WHICH",
        help="best, last or a step: a model folder with a card, in exports/, instead of rows",
    )
    json_flag(parser, "the files written")


def _export(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    wb = Workbench(args.runs_dir)
    if args.checkpoint is not None:
        folders = [wb.export_model(run, args.checkpoint) for run in args.run]
        print_json([str(f) for f in folders]) if args.json else print("\n".join(map(str, folders)))
        return 0
    suffix = ".duckdb" if args.format == "duckdb" else f"-{args.format}"
    out = args.out or f"{args.run[0] if len(args.run) == 1 else 'runs'}{suffix}"
    files = wb.export(args.run, out, args.format)
    print_json([str(f) for f in files]) if args.json else print("\n".join(map(str, files)))
    return 0


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a store or its folder, an export, TRL's completions_*.parquet, or JSONL rows",
    )
    parser.add_argument("--name", help="name of the new run")
    json_flag(parser, "the ids of the new runs")


def _import(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    found = Workbench(args.runs_dir).import_(args.path, args.name)
    print_json(found) if args.json else print("\n".join(found))
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
    print_json(health.as_dict()) if args.json else print(health)
    return 0 if health.healthy else 1


QUERY = Command("ask the store with SQL, while runs write", _query_arguments, _query)
SCHEMA = Command("list every view and column with its meaning", _schema_arguments, _schema)
ARCHIVE = Command("move segments into native tables", _archive_arguments, _archive)
EXPORT = Command("write runs to files of their own", _export_arguments, _export)
IMPORT = Command("bring in runs from elsewhere", _import_arguments, _import)
DOCTOR = Command("tell the state of the store in one screen", _doctor_arguments, _doctor)
