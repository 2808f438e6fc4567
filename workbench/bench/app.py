"""``python -m workbench.bench.app``: how fast the app starts and draws, and what watching costs.

Makes a runs directory of 100 runs and a million rollouts, starts the app over it in a process of
its own, and opens every page in Chromium. Then one real run is trained while ten tabs ask for news
of it during every second stretch of time: neighbouring stretches with and without are compared.
The tabs send what the browser's timer sends, at its pace; what a browser costs that runs on the
same machine is not part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from workbench.bench.app_paint import painting
from workbench.bench.app_serve import starting
from workbench.bench.app_watch import watching
from workbench.bench.app_world import make


def table(result: dict[str, Any]) -> str:
    """The measurements as Markdown, with their targets."""
    start, paint, watch = result["start"], result["pages"], result["watching"]
    lines = ["| | measured | target |", "|---|--:|--:|"]
    lines.append(
        f"| app start to first byte (of it on the processor) | {start['seconds']:.1f} s "
        f"({start['cpu']:.1f} s) | 3 s |"
    )
    lines.append(f"| memory then | {start['megabytes']:.0f} MB | 400 MB |")
    lines.append(f"| memory after every page was shown | {result['megabytes']:.0f} MB | |")
    for page, values in paint.items():
        lines.append(
            f"| {page.capitalize()}: first paint, data drawn, after a click on its tab | "
            f"{values['paint']:.2f}, {values['drawn']:.2f}, {values['switch']:.2f} s | 1 s |"
        )
    lines.append(
        f"| ten tabs watching: training slower by | {watch['slowdown']:+.1%} "
        f"[{watch['low']:+.1%}, {watch['high']:+.1%}] | 2 % |"
    )
    lines.append(
        f"| a training step's processor time; the app's own share of a core | "
        f"{watch['step_cpu']:+.1%}; {watch['app_cpu']:.0%} | |"
    )
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table, and keep the numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m workbench.bench.app", description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path("bench-runs/app"), help="kept for later")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rollouts", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a stretch")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    chosen = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    large = chosen.dir / f"{chosen.runs}-{chosen.rollouts}"
    if not (large / "workbench.duckdb").exists():
        _say(f"making {chosen.runs} runs of {chosen.rollouts:,} rollouts together in {large}")
        make(large, chosen.runs, chosen.rollouts)
    _say("starting")
    result: dict[str, Any] = {"start": starting(large, chosen.repeats)}
    _say("drawing")
    result["pages"], result["megabytes"] = painting(large, chosen.repeats)
    _say("watching")
    result["watching"] = watching(chosen.dir / "watched", chosen.pairs, chosen.seconds)
    print(table(result))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1))
    return 0


def _say(text: str) -> None:
    print(f"[bench] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
