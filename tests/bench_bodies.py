"""Bodies of benchmark cells for tests: real child processes that do next to nothing."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from workbench.store.state import write_state


def finishes(argv: Sequence[str]) -> int:
    print("hello from the cell")
    with (Path(argv[0]).parent / "calls.txt").open("a") as file:
        file.write(f"{Path(argv[0]).name} {os.getpid()}\n")
    write_state(argv[0], status="finished", step=1)
    return 0


def crashes(argv: Sequence[str]) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def raises(argv: Sequence[str]) -> int:
    raise RuntimeError("the policy has diverged")


def hangs(argv: Sequence[str]) -> int:
    write_state(argv[0], status="running", step=0)
    time.sleep(60)
    return 0


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](sys.argv[2:]))
