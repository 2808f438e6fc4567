"""Tables of ``workbench bench offline``: what each method reached, what it cost, what holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.bench import offline_grid as grid
from workbench.bench import statistics as stats
from workbench.bench.cells import Cell
from workbench.bench.collect import matrix
from workbench.store.reader import Store

_COMPLETIONS = """
SELECT run_id, kind, judge, completion FROM evaluations
WHERE list_contains($runs, run_id) AND phase IN ('before', 'after')
"""
NUMBERS = """
SELECT run_id, name, arg_max(value, step) AS value FROM metrics
WHERE list_contains($runs, run_id) AND name IN ('kl', 'train_seconds', 'peak_memory_mb')
GROUP BY run_id, name
"""


def collected(runs_dir: Path, done: Mapping[str, Path], cells: Sequence[Cell]) -> pd.DataFrame:
    """One row per cell and kind: arm, seed, kind, judge, distinct_1, distinct_2, kl, seconds, mb.

    distinct-n is the share of different n-grams among all of the held-out completions of a kind.
    """
    known = {done[c.name].name: c for c in cells if c.name in done}
    store = Store(runs_dir)
    texts = store.sql(_COMPLETIONS, {"runs": list(known)})
    numbers = store.sql(NUMBERS, {"runs": list(known)}).pivot_table(
        index="run_id", columns="name", values="value"
    )
    rows = []
    for (run, kind), part in texts.groupby(["run_id", "kind"]):
        found = numbers.loc[run].to_dict() if run in numbers.index else {}
        rows.append(
            {
                "arm": known[run].arm,
                "seed": known[run].seed,
                "kind": kind,
                "judge": float(part["judge"].mean()),
                "distinct_1": distinct(part["completion"], 1),
                "distinct_2": distinct(part["completion"], 2),
                "kl": found.get("kl", 0.0 if known[run].arm == "base" else np.nan),
                "seconds": found.get("train_seconds", np.nan),
                "mb": found.get("peak_memory_mb", np.nan),
            }
        )
    return pd.DataFrame(rows)


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams of words as a share of all; 0 where there is none."""
    words = [text.split() for text in texts]
    grams = [tuple(row[i : i + n]) for row in words for i in range(len(row) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def summary(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per arm: mean judge with its interval, spread over seeds, and what it cost.

    The interval is the stratified bootstrap of ``statistics.interval`` on the mean; ``spread`` the
    deviation over seeds of the mean over families; ``scores`` the seeds themselves.
    """
    rows = []
    for arm in dict.fromkeys(cells["arm"]):
        part = cells[cells["arm"] == arm]
        scores = matrix(cells, arm)
        mean = stats.interval(scores, stats.mean)
        seeds = scores.mean(axis=1)
        others = part.groupby("seed")[["distinct_1", "distinct_2", "kl", "seconds", "mb"]].mean()
        rows.append(
            {
                "arm": arm,
                "seeds": len(seeds),
                "judge": mean.value,
                "low": mean.low,
                "high": mean.high,
                "spread": float(seeds.std(ddof=1)) if len(seeds) > 1 else np.nan,
                "worst_seed": float(seeds.min()),
                **others.mean().to_dict(),
                "scores": seeds,
            }
        )
    return pd.DataFrame(rows).sort_values("judge", ascending=False, ignore_index=True)


AGAINST = {
    "{}: RPO better than DRO": ("{}-rpo", "{}-dro"),
    "{}: RPO better than KTO": ("{}-rpo", "{}-kto"),
    "{}: RPO better than SFT": ("{}-rpo", "{}-sft"),
}
"""The paper's claims, asked under every condition."""

CLAIMS = {
    "fresh: RPO better at tau 3 than at tau 1": ("fresh-rpo", "fresh-rpo-tau-1"),
    "votes: RPO better at tau 3 than at tau 1": ("votes-rpo", "votes-rpo-tau-1"),
    "fresh: RPO at tau 1 better with averaged than with summed log-probabilities": (
        "fresh-rpo-tau-1",
        "fresh-rpo-sum",
    ),
    "fresh: the authors' partition on averages, tau 5, falls below the warm start": (
        "base",
        "fresh-rpo-authors",
    ),
    "fresh: the authors' partition on averages, tau 1, falls below the warm start": (
        "base",
        "fresh-rpo-authors-1",
    ),
    "fresh: SFT better on all rows above the mean than on the best": (
        "fresh-sft-above",
        "fresh-sft",
    ),
    "old: RPO better with rows weighted by pi_ref / pi_behaviour": (
        "old-rpo-corrected",
        "old-rpo",
    ),
    "chain: RPO on a MAESTRO run's rollouts improves its policy": ("chain-rpo", "maestro"),
    "chain: RPO on them better than more GRPO for the same seconds": (
        "chain-rpo",
        "chain-more-grpo",
    ),
}
"""What else the table decides: ours above theirs."""


def claims(table: pd.DataFrame) -> dict[str, str]:
    """Each claim with its paired difference over seeds (95 %) and whether that excludes 0.

    A claim stands only where both sides have the same seeds, at least two.
    """
    known = table.set_index("arm")
    asked = {
        text.format(name): (ours.format(name), theirs.format(name))
        for name in grid.CONDITIONS
        for text, (ours, theirs) in AGAINST.items()
    }
    found: dict[str, str] = {}
    for text, (ours, theirs) in (asked | CLAIMS).items():
        if not {ours, theirs} <= set(known.index):
            continue
        a, b = (np.asarray(known.loc[arm, "scores"])[:, None] for arm in (ours, theirs))
        if len(a) != len(b) or len(a) < 2:
            continue
        gain = stats.paired_difference(a, b)
        verdict = "holds" if gain.low > 0 else "refuted" if gain.high < 0 else "open"
        found[text] = f"{verdict} ({gain.value:+.3f}, {gain.low:+.3f} to {gain.high:+.3f})"
    if {"fresh-rpo", "fresh-dro"} <= set(known.index):
        rpo, dro = known.loc["fresh-rpo"], known.loc["fresh-dro"]
        for what, column in (("steadier", "spread"), ("faster", "seconds"), ("smaller", "mb")):
            verdict = "holds" if rpo[column] < dro[column] else "refuted"
            numbers = f"{rpo[column]:.3g} against {dro[column]:.3g}"
            found[f"fresh: RPO {what} than DRO"] = f"{verdict} ({numbers})"
    return found


LABELS = {"base": "warm start", "maestro": "MAESTRO, 50 steps", "chain-more-grpo": "more GRPO"}


def label(arm: str) -> tuple[str, str]:
    """Condition and method of an arm, in words."""
    for name in sorted(["chain", *grid.CONDITIONS], key=len, reverse=True):
        key = arm.removeprefix(f"{name}-")
        known = {**grid.LEARNERS, **grid.VARIANTS}
        if key != arm and key in known:
            return name, known[key].label
    return ("chain" if arm.startswith("chain") else "start"), LABELS.get(arm, arm)


def overview(table: pd.DataFrame) -> str:
    """Conditions against the four methods: mean judge with its interval, the best of a row bold."""
    known = table.set_index("arm")
    keys = list(grid.LEARNERS)
    lines = [f"| rows | {' | '.join(k.upper() for k in keys)} |", f"|---|{'---:|' * len(keys)}"]
    for name, condition in grid.CONDITIONS.items():
        arms = [f"{name}-{key}" for key in keys]
        means = [float(known["judge"].get(arm, np.nan)) for arm in arms]
        if np.isnan(means).all():
            continue
        cells = []
        for arm, mean in zip(arms, means, strict=True):
            if np.isnan(mean):
                cells.append("")
                continue
            text = f"**{mean:.2f}**" if mean == np.nanmax(means) else f"{mean:.2f}"
            cells.append(f"{text} ({known.loc[arm, 'low']:.2f}–{known.loc[arm, 'high']:.2f})")
        lines.append(f"| {name}: {condition.label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def markdown(table: pd.DataFrame) -> str:
    """The table for people: every seed stands in it."""
    lines = [
        "| rows | method | held-out judge (95 %) | every seed | spread | distinct-2 | KL | s | MB |"
        "\n|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    order = ["start", *grid.CONDITIONS, "chain"]
    rows = sorted(table.to_dict("records"), key=lambda r: order.index(label(r["arm"])[0]))
    for row in rows:
        condition, method = label(row["arm"])
        seeds = " ".join(f"{s:.3f}" for s in row["scores"])
        interval = f"{row['judge']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        numbers = [
            "" if np.isnan(row[k]) else f"{row[k]:{f}}"
            for k, f in (("spread", ".3f"), ("distinct_2", ".3f"), ("kl", ".2f"))
        ]
        cost = ["" if np.isnan(row[k]) else f"{row[k]:.0f}" for k in ("seconds", "mb")]
        lines.append(
            f"| {condition} | {method} | {interval} | {seeds} | {' | '.join(numbers + cost)} |"
        )
    return "\n".join(lines) + "\n"
