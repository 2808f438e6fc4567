"""The results that ship with the package: one small Parquet, and the tables drawn from it.

``workbench bench --publish`` writes the finished cells of a runs directory into it; ``workbench
bench --published`` draws the tables, which are those of this folder's README. A row is one method
on one seed and one kind of prompt.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.bench import statistics as stats
from workbench.bench.collect import paired
from workbench.bench.methods import METHODS
from workbench.bench.stored import Benchmark

COLUMNS = ("arm", "steps", "seed", "kind", "judge", "length", "tokens", "seconds", "judge_calls")
RIVAL = "judged-sft"
"""What no reinforcement learning at all makes of the same judged rows: the row to beat."""


def location() -> Path:
    """Where the Parquet lies inside the package."""
    return Path(str(resources.files("workbench.bench"))) / "results" / "etudes.parquet"


def gather(found: Benchmark) -> pd.DataFrame:
    """The cells of a store as rows to publish, ``COLUMNS``."""
    spent = found.spent.groupby(["arm", "seed"], as_index=False).first()
    frame = found.scores.merge(spent, on=["arm", "seed"], how="left").assign(steps=found.steps)
    return frame[list(COLUMNS)].sort_values(list(COLUMNS[:4]), ignore_index=True)


def write(frame: pd.DataFrame, path: Path) -> None:
    """Add rows to a Parquet; those of the same method, steps and seed are replaced."""
    key = ["arm", "steps", "seed"]
    if path.is_file():
        old = pd.read_parquet(path)
        kept = old.merge(frame[key].drop_duplicates(), on=key, how="left", indicator=True)
        old = old[(kept["_merge"] == "left_only").to_numpy()]
        frame = pd.concat([old, frame], ignore_index=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.sort_values(list(COLUMNS[:4])).to_parquet(path, index=False)


def read(path: Path | None = None) -> pd.DataFrame:
    """The published rows, ``COLUMNS``.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return pd.read_parquet(path or location())


def table(frame: pd.DataFrame, steps: int) -> pd.DataFrame:
    """One row a method: every seed, the mean, paired differences from equal weights and ``RIVAL``.

    Args:
        frame: published rows.
        steps: policy updates of the cells that are shown.

    Returns:
        method, label, judge_calls, one column a seed, mean, equal and rival (an ``Estimate`` each,
        None with fewer than two seeds in common), seconds; in the order of ``METHODS``.
    """
    rows = frame[frame["steps"] == steps]
    seeds = sorted(set(rows["seed"]))
    found: list[dict[str, Any]] = []
    for arm in (m for m in METHODS if m in set(rows["arm"])):
        own = rows[rows["arm"] == arm]
        by_seed = own.groupby("seed")["judge"].mean()
        found.append(
            {
                "method": arm,
                "label": METHODS[arm].label,
                "judge_calls": own["judge_calls"].mean(),
                **{str(seed): by_seed.get(seed, float("nan")) for seed in seeds},
                "mean": float(by_seed.mean()),
                "equal": _against(rows, arm, "equal"),
                "rival": _against(rows, arm, RIVAL),
                "seconds": own["seconds"].mean(),
            }
        )
    return pd.DataFrame(found)


def _against(rows: pd.DataFrame, arm: str, other: str) -> stats.Estimate | None:
    if arm == other or other not in set(rows["arm"]):
        return None
    ours, theirs = paired(rows, arm, other)
    return stats.paired_difference(ours, theirs) if len(ours) > 1 else None


def markdown(frame: pd.DataFrame, steps: int) -> str:
    """The table as the README has it; scores times 100."""
    shown = table(frame, steps)
    seeds = [name for name in shown.columns if name.isdigit()]
    head = ["Method", "Judge scores", *(f"seed {s}" for s in seeds), "Mean"]
    head += ["against equal [95 %]", "against SFT on the same rows [95 %]"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in shown.to_dict("records"):
        calls = row["judge_calls"]
        scores = [row[seed] for seed in seeds]
        lines.append(
            [
                row["label"],
                f"{calls:,.0f}" if calls == calls else "0",
                *(f"{100 * s:.1f}" if s == s else "" for s in scores),
                f"{100 * row['mean']:.1f}",
                _said(row["equal"]),
                _said(row["rival"]),
            ]
        )
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _said(found: stats.Estimate | None) -> str:
    if not isinstance(found, tuple):
        return ""
    return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
