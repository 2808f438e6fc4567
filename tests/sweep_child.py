"""A child whose headline depends on its configuration: 1 - |emphasis - 0.4|, step by step.

It speaks the run directory's protocol; rows are written only where FAKE_ROWS asks for them.
"""

import os
import sys
import time
from pathlib import Path

import yaml

from workbench.store.state import read_state, write_state

run_dir = Path(sys.argv[1])
config = yaml.safe_load((run_dir / "config.yaml").read_text())
emphasis = float(config["scalarizer"]["emphasis"])
good = 1 - abs(emphasis - 0.4) + 0.01 * config["seed"]
step, steps = read_state(run_dir).get("step", 0), config["steps"]
# the bad ones are slow, so that they are still there when the others have ended
pause = float(os.environ.get("FAKE_STEP", "0.005")) * (60 if emphasis > 0.8 else 1)

writer = None
if os.environ.get("FAKE_ROWS"):
    from workbench.store.writer import RunWriter

    writer = RunWriter(run_dir, flush_seconds=0.02)

write_state(run_dir, status="running")
if emphasis == float(os.environ.get("FAKE_BROKEN", "-1")):
    write_state(run_dir, status="failed", message="ValueError: not with this one")
    sys.exit(1)
while step < steps:
    if (run_dir / "stop").exists():
        write_state(run_dir, status="stopped", step=step)
        break
    step += 1
    if writer:
        writer.metrics(step, {"judge": good * min(1, 0.5 + step / steps)}, split="probe")
        writer.flush()
    write_state(run_dir, step=step)
    time.sleep(pause)
if writer and step == steps:
    rows = 4
    writer.metrics(step, {"reward": 2 * good}, split="train")
    same = {
        "step": step, "phase": "after", "split": "report", "kind": "k", "prompt": "p",
        "reference": None, "sample": 0, "completion": "c", "num_tokens": 1, "truncated": False,
        "rewards": {"format": emphasis, "length": 1 - emphasis},
        "weights": {"format": 0.5, "length": 0.5}, "judge": good,
    }  # fmt: skip
    table = {name: [value] * rows for name, value in same.items()}
    writer.evaluation({**table, "prompt_id": [f"p{i}" for i in range(rows)]})
if writer:
    writer.flush()
    writer.close()
if step == steps:
    write_state(run_dir, status="finished", step=step)
