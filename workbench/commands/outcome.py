"""What came of a run, as tables: held-out judge and mean weights, each per kind of prompt."""

from __future__ import annotations

from typing import Any

from workbench.commands.base import emit, print_table
from workbench.formatting import duration


def print_outcome(outcome: dict[str, Any]) -> None:
    """Print the two tables of a run's end: judge per family, mean weights per family."""
    families = outcome["per_family"]
    if any(
        f["judge_before"] is not None or f["judge_after"] is not None for f in families.values()
    ):
        rows = [
            (kind, f["judge_before"], f["judge_after"], _gain(f["judge_before"], f["judge_after"]))
            for kind, f in families.items()
        ]
        before, after = outcome["judge_before"], outcome["judge_after"]
        rows.append(("all", before, after, _gain(before, after)))
        print_table(rows, ["held-out judge", "before", "after", "change"])
        emit()
    names = list(outcome["weights"])
    if names:
        rows = [(k, *(f["weights"].get(n) for n in names)) for k, f in families.items()]
        rows.append(("all", *outcome["weights"].values()))
        print_table(rows, ["mean weight", *names])
        emit()
    took = f" in {duration(outcome['seconds'])}" if "seconds" in outcome else ""
    emit(
        f"{outcome['name']} ({outcome['run_id']}): {outcome['status']}, step {outcome['step']} of "
        f"{outcome['steps']}, {outcome['rollouts']} training completions{took}"
    )


def _gain(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
