"""Commands about the store: query, schema, archive."""

from __future__ import annotations

import argparse
import sys

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


def _query_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sql", metavar="SQL", help="one SELECT over the store's views; - reads stdin"
    )
    parser.add_argument("--limit", type=int, default=10_000, help="at most so many rows")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list of objects as JSON")
    form.add_argument("--csv", action="store_true", help="print CSV; formulas are made harmless")


def _query(args: argparse.Namespace) -> int:
    from workbench.api import Workbench

    if args.limit < 1:
        raise UsageError(f"--limit {args.limit}: at least 1")
    answer = Workbench(args.runs_dir).query(
        sys.stdin.read() if args.sql == "-" else args.sql, args.limit
    )
    if args.json:
        print_json([plain(row) for row in answer.rows.to_dict("records")])
    elif args.csv:
        _harmless(answer.rows).to_csv(sys.stdout, index=False)
    else:
        print_frame(answer.rows)
    if answer.notice:
        say(answer.notice)
    return 0


def _harmless(frame):  # type: ignore[no-untyped-def]
    """Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    texts = frame.select_dtypes(include=["object", "string"]).columns
    return frame.assign(**{c: frame[c].map(_quoted) for c in texts})


def _quoted(value: object) -> object:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value


def _schema_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("view", nargs="?", metavar="VIEW", help="only this view")
    json_flag(parser)


def _schema(args: argparse.Namespace) -> int:
    from workbench.api import Workbench

    frame = Workbench(args.runs_dir).schema()
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
    from workbench.api import Workbench

    report = Workbench(args.runs_dir).archive(args.run)
    print_json({"report": report.splitlines()}) if args.json else print(report)
    return 0


QUERY = Command("ask the store with SQL, while runs write", _query_arguments, _query)
SCHEMA = Command("list every view and column with its meaning", _schema_arguments, _schema)
ARCHIVE = Command("move segments into native tables", _archive_arguments, _archive)
