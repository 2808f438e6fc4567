"""How a run goes, in one line: step, time left, judge on probe prompts, entropy of the weights."""

from __future__ import annotations

from workbench.formatting import duration
from workbench.runs.rundir import RunInfo


def line(info: RunInfo) -> str:
    """``quick-1  running  step 12/40  ETA 9 s  judge 0.512  entropy 0.98``."""
    parts = [info.name, info.phase if info.status == "running" and info.phase else info.status]
    if info.steps:
        parts.append(f"step {info.step}/{info.steps}")
    if info.eta_seconds is not None and info.status == "running":
        parts.append(f"ETA {duration(info.eta_seconds)}")
    if isinstance(info.headline, int | float):
        parts.append(f"judge {info.headline:.3f}")
    if info.weights_entropy is not None:
        parts.append(f"weights entropy {info.weights_entropy:.2f}")
    if info.message and info.status in ("failed", "stopped"):
        parts.append(info.message)
    return "  ".join(parts)
