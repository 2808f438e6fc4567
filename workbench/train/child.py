"""The child process of a run: train, and publish everything into the run's directory.

Usage::

    python -m workbench.train.child RUN_DIR             # starts; the launcher calls it
    python -m workbench.train.child RUN_DIR --resume    # continues from the newest checkpoint

Ends with 0 when the run finished or was stopped, with 1 when it failed. A file ``stop`` in the run
directory, SIGTERM and SIGINT ask it to end after the current step, with a checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from workbench.runs.rundir import read_identity
from workbench.train.process import Child


def _kind(run_dir: Path) -> type[Child]:
    """What kind of run this is: one that samples, or one that learns from logged rows."""
    if read_identity(run_dir).get("kind") != "offline":
        return Child
    from workbench.train.offline_child import OfflineChild

    return OfflineChild


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbench.train.child", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="directory of the run, with its config.yaml")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    arguments = parser.parse_args(argv)
    child = _kind(arguments.run_dir)(arguments.run_dir.absolute(), arguments.resume)
    try:
        child.run()
    except Exception as error:  # whatever it was, the state must say that the run ended
        child.fail(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
