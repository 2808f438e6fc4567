"""The command data: look at rows before anything is trained on them."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from workbench.commands.base import Command, emit, json_flag, print_frame, print_json

SHOWN = 5


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="JSONL, Parquet or CSV, a directory of save_to_disk, or hub:OWNER/NAME[:SUBSET]; "
        "@SPLIT chooses a split",
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
        "--rows", type=int, default=SHOWN, metavar="N", help=f"rows to show (default: {SHOWN})"
    )
    json_flag(parser, "the rows and counts")


def _run(args: argparse.Namespace) -> int:
    from workbench.config import TaskConfig
    from workbench.tasks import load_task
    from workbench.tasks.file import preview

    columns = dict(_pair(item) for item in args.columns)
    rows = preview(args.source, args.rows)
    if not args.json:
        print_frame(rows)
    task = load_task(
        TaskConfig(name="file", path=args.source, eval_path=args.eval, columns=columns)
    )
    splits = {name: getattr(task, name) for name in ("train", "calibration", "report")}
    everything = [example for examples in splits.values() for example in examples]
    counts: dict[str, Any] = {name: len(examples) for name, examples in splits.items()}
    counts["kinds"] = dict(Counter(e.kind for e in everything).most_common())
    counts["with_reference"] = sum(e.reference is not None for e in everything)
    counts["conversations"] = sum(not isinstance(e.prompt, str) for e in everything)
    counts["columns"] = sorted({name for e in everything for name in e.extra})
    if args.json:
        print_json({"rows": rows.to_dict("records"), **counts})
        return 0
    emit(
        f"every row can be used: {counts['train']:,} to train on, {counts['calibration']:,} for "
        f"probes, {counts['report']:,} held out; {counts['with_reference']:,} with a reference, "
        f"{counts['conversations']:,} conversations"
    )
    emit("kinds: " + ", ".join(f"{kind} {n:,}" for kind, n in counts["kinds"].items()))
    if counts["columns"]:
        emit("columns that objectives receive: " + ", ".join(counts["columns"]))
    return 0


def _pair(item: str) -> tuple[str, str]:
    name, equals, column = item.partition("=")
    if not equals or not name or not column:
        raise ValueError(f"--columns {item!r}: expected NAME=COLUMN, e.g. prompt=question")
    return name, column


DATA = Command(_arguments, _run, runs_dir=False)
