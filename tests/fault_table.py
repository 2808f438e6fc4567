"""The table of faults: what a person sees and what is kept, as the tests found it.

``python tests/fault_table.py`` runs every fault test, prints the table as Markdown and puts it into
tests/README.md, between its two marks.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
VARIABLE = "FAULT_TABLE"
START, END = "<!-- faults: `make faults` writes this table -->", "<!-- end of faults -->"

FAULTS = (
    "trainer killed at random moments",
    "app killed",
    "machine rebooted",
    "clock moved by a day",
    "disk full at each write of a run",
    "disk full at each write of a launch",
    "disk full at a checkpoint",
    "runs directory read-only",
    "store moved while live",
    "child ignores SIGTERM",
    "main process of two killed",
    "launch killed at each step",
    "deletion killed at each step",
    "one run's files damaged",
    "lock held by another process",
    "reward hangs",
    "reward raises",
    "reward returns the wrong length",
    "reward returns infinity",
    "model emits only padding",
    "model never stops",
    "completions are empty",
    "prompt longer than the context",
    "prompts table of 10,000 rows",
    "unicode, right-to-left, zero-width and control characters",
)


def note(fault: str, seen: str, kept: str) -> None:
    """One row of the table: what a person reads, what is left. Numbers of one machine go."""
    assert fault in FAULTS, fault
    assert seen and kept
    target = os.environ.get(VARIABLE)
    if target:
        row = {"fault": fault, "seen": plain(seen), "kept": plain(kept)}
        with open(target, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def plain(text: str) -> str:
    """A cell: one line, no path or process number of this machine, no bar."""
    text = re.sub(r"(?:/[\w.@-]+){2,}", "…", " ".join(text.split()))
    text = re.sub(r"processes \[[\d, ]+\]", "processes …", text)
    return text.replace("|", "/").strip()


def markdown(rows: Iterable[dict[str, str]]) -> str:
    """The table, in the order of ``FAULTS``."""
    found = {row["fault"]: row for row in rows}
    lines = ["| fault | what you see | what is kept |", "|---|---|---|"]
    lines += [f"| {f} | {found[f]['seen']} | {found[f]['kept']} |" for f in FAULTS if f in found]
    return "\n".join(lines)


def main() -> int:
    """Run the tests, print the table, put it into tests/README.md."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "rows.jsonl"
        target.touch()
        tests = sorted(str(p) for p in (ROOT / "tests").glob("test_fault_*.py"))
        words = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", *tests]
        status = subprocess.run(words, cwd=ROOT, env=os.environ | {VARIABLE: str(target)})
        rows = [json.loads(line) for line in target.read_text("utf-8").splitlines()]
    table = markdown(rows)
    print(table)
    missing = [f for f in FAULTS if f not in {row["fault"] for row in rows}]
    if status.returncode or missing:
        print(f"not shown: {', '.join(missing) or 'nothing'}; the README stays as it is")
        return 1
    readme = ROOT / "tests" / "README.md"
    text = readme.read_text("utf-8")
    head, rest = text.split(START)
    readme.write_text(f"{head}{START}\n{table}\n{END}{rest.split(END)[1]}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
