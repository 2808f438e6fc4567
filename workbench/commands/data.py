"""The command data: look at rows before anything is trained on them."""

from __future__ import annotations

import argparse

from workbench.commands.base import Command, UsageError, emit, json_flag, print_frame, print_json

SHOWN = 3
WIDE, LONG = 60, 8
"""Characters of a cell and columns of a row that are shown."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="JSONL, JSON, CSV, TSV or Parquet, also .gz or .zst; a directory of datasets; or "
        "hub:OWNER/NAME[:SUBSET]; @SPLIT chooses a split",
    )
    parser.add_argument("--eval", metavar="SOURCE", help="held-out rows (task.eval_path)")
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME=COLUMN",
        help="rename columns, e.g. prompt=question reference=answer (task.columns)",
    )
    parser.add_argument(
        "--template",
        metavar="TEXT",
        help="the prompt, composed of columns, e.g. '{story} {question}' (task.template)",
    )
    parser.add_argument(
        "--duplicates",
        choices=("refuse", "keep_first", "keep_all"),
        default="refuse",
        help="what to do with a prompt that stands in several rows (task.duplicates)",
    )
    parser.add_argument(
        "--held-out",
        default="0.1",
        metavar="N",
        help="a share below 1 or a number of prompts (task.held_out)",
    )
    parser.add_argument(
        "--model", metavar="MODEL", help="show what this model would see: a directory or hub name"
    )
    parser.add_argument(
        "--rows", type=int, default=SHOWN, metavar="N", help=f"rows to show (default: {SHOWN})"
    )
    json_flag(parser, "the rows and counts")


def _run(args: argparse.Namespace) -> int:
    from workbench.config import TaskConfig
    from workbench.formatting import clipped
    from workbench.tasks import load_task
    from workbench.tasks.file import preview
    from workbench.tasks.summary import summarise

    columns = dict(_pair(item) for item in args.columns)
    rows = preview(args.source, args.rows)
    if not args.json and len(rows):
        few = rows[rows.columns[:LONG]].map(lambda v: v if v is None else clipped(str(v), WIDE))
        print_frame(few)
        if len(rows.columns) > LONG:
            emit(f"and {len(rows.columns) - LONG} more columns")
    task = load_task(
        TaskConfig(
            name="file",
            path=args.source,
            eval_path=args.eval,
            columns=columns,
            template=args.template,
            duplicates=args.duplicates,
            held_out=_held_out(args.held_out),
        )
    )
    found = summarise(task, args.model)
    if args.json:
        print_json({"rows": rows.to_dict("records"), **found.as_dict()})
        return 0
    if found.shown:
        emit(f"\nas the model sees the first prompt:\n{found.shown}\n")
    lines = found.lines()
    emit("every row can be used: " + "\n".join(lines))
    return 0


def _held_out(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"--held-out {text!r}: a share below 1 or a number of prompts") from error


def _pair(item: str) -> tuple[str, str]:
    name, equals, column = item.partition("=")
    if not equals or not name or not column:
        raise ValueError(f"--columns {item!r}: expected NAME=COLUMN, e.g. prompt=question")
    return name, column


DATA = Command(_arguments, _run, runs_dir=False)
