"""What the server process imports once, so that every cell forked from it starts at once."""

from __future__ import annotations

import os

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}
os.environ.update(QUIET)  # read by the libraries when they are imported

from workbench.bench import sft  # noqa: E402
from workbench.train import child, evaluate, maestro, session  # noqa: E402

__all__ = ["child", "evaluate", "maestro", "session", "sft"]
