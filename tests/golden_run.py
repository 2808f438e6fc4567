"""The golden run: three steps of a tiny model, whose numbers are kept and compared.

``python tests/golden_run.py`` runs it anew and replaces ``golden.json``; say in the commit why the
numbers may change.
"""

from __future__ import annotations

import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch
from tiny_runs import Recorder, tiny_trainer

FILE = Path(__file__).with_name("golden.json")
CONDUCTOR = {"name": "conductor", "update_every": 1, "learning_rate": 0.05, "emphasis": 0.5}


def where() -> dict[str, str]:
    """What decides the last bits of floating point: only the same promises the same numbers."""
    return {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def golden() -> dict[str, Any]:
    """The run: per step completions, rewards, weights, advantages; at the end the Conductor."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        trainer = tiny_trainer(Path(folder), recorder, steps=3, scalarizer=CONDUCTOR, seed=7)
        trainer.train()
        state = trainer.weighing.state()
    steps = [
        {
            "completions": list(batch.completions),
            "rewards": [[None if v != v else float(v) for v in row] for row in batch.rewards],
            "weights": batch.weights.tolist(),
            "advantages": batch.advantages.tolist(),
            "num_generations": batch.num_generations,
        }
        for batch in recorder.batches
    ]
    conductor = {
        k: v.ravel()[:12].tolist() for k, v in sorted(state.items()) if v.dtype.kind == "f"
    }
    return {"where": where(), "steps": steps, "conductor": conductor}


if __name__ == "__main__":
    FILE.write_text(json.dumps(golden(), indent=None) + "\n")
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes, {where()}")
