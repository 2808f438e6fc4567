"""Environment of a child process: no telemetry, no network where none is needed, a readable log.

Settings that libraries read at import, so this comes before torch and transformers are imported.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from workbench.config import RunConfig

PARAMETERS_PER_THREAD = 5_000_000
"""Below this many parameters a model is faster on one thread than on several."""


def quiet_libraries(config: RunConfig) -> None:
    """Turn telemetry off; the hub too, when every model of the run is on this disk."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    models = [config.policy.model, *(o.model for o in config.objectives if o.model is not None)]
    rows = [path for path in (config.task.path, config.task.eval_path) if path is not None]
    online = any(path.startswith("hub:") for path in rows)
    if not online and all(name == "etudes" or Path(name).is_dir() for name in models):
        os.environ["HF_HUB_OFFLINE"] = "1"
    # TRL 1.16 still sets settings that transformers 5.23 is about to rename
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def choose_threads(parameters: int) -> int:
    """Tell torch how many threads fit a model of this size; returns the number.

    ``OMP_NUM_THREADS`` has the last word. A tiny model loses more to synchronising threads
    than it gains: its matrices fit into one core's cache.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    if "OMP_NUM_THREADS" not in os.environ and not torch.cuda.is_available():
        wanted = max(1, min(os.cpu_count() or 1, parameters // PARAMETERS_PER_THREAD))
        torch.set_num_threads(wanted)
    return torch.get_num_threads()
