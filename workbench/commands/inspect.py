"""The command that shows what Inspect shows: prompts with their weights, and one group."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from workbench.commands.base import Command, emit, json_flag, print_frame, print_json, run_argument
from workbench.formatting import plain


def _arguments(parser: argparse.ArgumentParser) -> None:
    run_argument(parser)
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="id of a prompt: its group")
    parser.add_argument("--step", type=int, help="of the group; default: the newest")
    parser.add_argument("--split", choices=("train", "probe"), default="train")
    parser.add_argument("--kind", help="list only this kind of prompt")
    parser.add_argument("--text", help="list only groups that contain it")
    parser.add_argument("--sort", default="step", help="step, scalar, weight_spread, reward:NAME …")
    parser.add_argument("--limit", type=int, default=20, help="list so many groups")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the rows: .csv or .parquet")
    json_flag(parser, "the rows")


def _run(args: argparse.Namespace) -> int:
    from workbench.api.workbench import Workbench

    wb = Workbench(args.runs_dir)
    findings = None
    if args.prompt is None:
        rows = wb.groups(
            args.run, split=args.split, kind=args.kind, text=args.text, sort=args.sort,
            limit=args.limit,
        )  # fmt: skip
        shown = ["step", "kind", "prompt_id", "prompt", "scalar", "advantage", "judge", "weights"]
    else:
        rows = wb.group(args.run, args.prompt, step=args.step)
        findings = wb.findings(args.run, args.prompt, step=args.step)
        shown = ["sample", "completion", "action", "weights", "rewards", "advantage", "judge"]
    if args.out is not None:
        _keep(rows, args.out)
        print_json({"file": str(args.out)}) if args.json else emit(args.out)
        return 0
    if args.json:
        said: dict[str, Any] = {"rows": [plain(r) for r in rows.to_dict("records")]}
        if findings is not None:
            said["findings"] = findings.to_dict("records")
        print_json(said)
        return 0
    print_frame(rows[shown])
    if findings is not None:
        emit()
        for row in findings.itertuples():
            emit(" ".join(filter(None, (row.title, row.text, row.advice))))
    return 0


def _keep(rows: Any, path: Path) -> None:
    """Write rows as the page's own download does.

    Raises:
        ValueError: the file is to be neither CSV nor Parquet.
    """
    from workbench.pages.export import as_csv, as_parquet, flat

    writers = {".csv": as_csv, ".parquet": as_parquet}
    if path.suffix not in writers:
        raise ValueError(f"--out {str(path)!r}: allowed are .csv and .parquet")
    path.write_bytes(writers[path.suffix](flat(rows)))


INSPECT = Command(_arguments, _run)
