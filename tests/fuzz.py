"""Fuzz every target with Atheris, guided by the branches of ``workbench`` that an input reaches.

``python tests/fuzz.py --seconds 20`` gives each target so long in a process of its own, and prints
how many inputs were tried, how many features of the code were reached and what was found. What
breaks a target is kept as ``fuzz-NAME-*`` in the current folder.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def child(name: str, corpus: str, seconds: str) -> None:
    """One target, until the time is over or something is found."""
    import atheris

    with atheris.instrument_imports(include=["workbench"]):
        from fuzz_targets import SEEDS, TARGETS

        TARGETS[name](SEEDS[name][0])  # what is imported on first use is instrumented too

    def one(data: bytes) -> None:
        TARGETS[name](data)

    options = [f"-max_total_time={seconds}", "-max_len=2000", f"-artifact_prefix=fuzz-{name}-",
               "-timeout=60", "-rss_limit_mb=4000"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, corpus], one)
    atheris.Fuzz()


def fuzz(name: str, seconds: int) -> tuple[int, int, int, str]:
    """Inputs tried, features reached, inputs worth keeping, and what was found."""
    from fuzz_targets import SEEDS

    with tempfile.TemporaryDirectory() as corpus:
        for i, data in enumerate(SEEDS[name]):
            Path(corpus, f"seed{i}").write_bytes(data)
        done = subprocess.run(
            [sys.executable, __file__, "--child", name, corpus, str(seconds)],
            capture_output=True,
            text=True,
            errors="replace",
            env=os.environ | {"PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}"},
        )
    said = done.stdout + done.stderr
    counts = re.findall(r"#(\d+)\s.*?ft: (\d+) corp: (\d+)", said)
    tried, features, kept = map(int, counts[-1]) if counts else (0, 0, 0)
    total = re.search(r"Done (\d+) runs|stat::number_of_executed_units: (\d+)", said)
    tried = max(tried, int((total[1] or total[2]) if total else 0))
    if done.returncode == 0:
        return tried, features, kept, "nothing"
    lines = [line for line in said.splitlines() if re.match(r"\w*(Error|Exception)\b", line)]
    reason = lines[0] if lines else (said.strip().splitlines() or ["no output"])[-1]
    return tried, features, kept, f"FOUND: {reason[:120]}"


def main() -> int:
    """Print the counts; 1 when anything was found."""
    from fuzz_targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    chosen = parser.parse_args()
    print(f"{'target':<12}{'inputs':>10}{'features':>10}{'kept':>8}  found")
    found = False
    total = 0
    for name in chosen.targets or TARGETS:
        tried, features, kept, what = fuzz(name, chosen.seconds)
        total += tried
        found |= what != "nothing"
        print(f"{name:<12}{tried:>10,}{features:>10,}{kept:>8,}  {what}", flush=True)
    print(f"{'all':<12}{total:>10,}")
    return int(found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:5])
    sys.exit(main())
