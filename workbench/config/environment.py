"""What the environment of a run's processes says: which run they work for, and as what."""

from __future__ import annotations

import os
from pathlib import Path

MARK = "WORKBENCH_RUN_DIR"
"""Directory of the run, links resolved: trainer, ranks and evaluations carry the same."""

ROLE = "WORKBENCH_ROLE"
EVALUATION = "evaluation"
"""``ROLE`` of a process that measures a checkpoint; a trainer and its ranks have none."""


def stop_file() -> Path | None:
    """The file that asks this process's training to end; None where nothing is trained."""
    run_dir = os.environ.get(MARK)
    return Path(run_dir) / "stop" if run_dir and os.environ.get(ROLE) != EVALUATION else None
