"""The tables: methods by families in the paper's layout, comparisons, and what each one cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from workbench.bench import statistics as stats
from workbench.bench.collect import matrix, paired
from workbench.bench.methods import BASE, METHODS
from workbench.tasks.etudes import FAMILIES

WEIGHTINGS = ("single", "fixed", "adaptive", "maestro")
"""Groups of weightings that never see the judge in training."""


def summary(
    scores: pd.DataFrame, objectives: pd.DataFrame | None = None, cost: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per method with everything the tables say; scores in [0, 1].

    Args:
        scores: columns arm, seed, kind, judge (``collect.report_scores``).
        objectives: ``collect.objective_means``, for what fell below base.
        cost: ``collect.spent``.

    Returns:
        method, label, group, seeds, one column per kind, mean, iqm with low and high, worst (the
        kind that gained least over base) with its gain, below_base (objectives whose paired 95 %
        interval against base lies below 0), vs_equal with low and high (paired), p_vs_equal
        (probability of improvement), recovered (share of the way from equal to oracle), tokens,
        seconds, judge_calls (means per cell).
    """
    arms = [m for m in METHODS if m in set(scores["arm"])]
    kinds = [k for k in FAMILIES if k in set(scores["kind"])]
    rows = []
    for arm in arms:
        own = matrix(scores, arm)
        iqm = stats.interval(own)
        by_kind = dict(zip(sorted(kinds), own.mean(axis=0), strict=True))
        row: dict[str, Any] = {
            "method": arm,
            "label": METHODS[arm].label,
            "group": METHODS[arm].group,
            "seeds": len(own),
            **{kind: float(by_kind[kind]) for kind in kinds},
            "mean": float(own.mean()),
            "iqm": iqm.value,
            "iqm_low": iqm.low,
            "iqm_high": iqm.high,
        }
        rows.append(row | _against(scores, arm, kinds))
        if objectives is not None:
            rows[-1]["below_base"] = _below(objectives, arm)
    frame = pd.DataFrame(rows)
    if {"equal", "oracle"} <= set(arms):
        frame["recovered"] = [recovered(scores, arm) for arm in arms]
    if cost is not None:
        spent = cost.groupby("arm")[["tokens", "seconds", "judge_calls"]].mean()
        frame = frame.join(spent, on="method")
    return frame


def _against(scores: pd.DataFrame, arm: str, kinds: list[str]) -> dict[str, Any]:
    """Comparisons with base and with equal weights on the seeds they share."""
    found: dict[str, Any] = {}
    if arm != BASE:
        ours, base = paired(scores, arm, BASE)
        if ours.size:
            gains = (ours - base).mean(axis=0)
            worst = int(np.argmin(gains))
            found |= {"worst": sorted(kinds)[worst], "worst_gain": float(gains[worst])}
    if arm != "equal" and "equal" in set(scores["arm"]):
        ours, equal = paired(scores, arm, "equal")
        if len(ours) >= 2:
            gain = stats.paired_difference(ours, equal)
            better = stats.improvement(ours, equal)
            found |= {"vs_equal": gain.value, "vs_equal_low": gain.low, "vs_equal_high": gain.high}
            found |= {"p_vs_equal": better.value}
    return found


def _below(objectives: pd.DataFrame, arm: str) -> str:
    """Objectives whose mean fell below base beyond the paired interval."""
    if arm == BASE:
        return ""
    fallen = []
    for name in dict.fromkeys(objectives["objective"]):
        rows = objectives[objectives["objective"] == name]
        ours, base = paired(rows, arm, BASE, value="reward", by="objective")
        if len(ours) >= 2 and stats.paired_difference(ours, base).high < 0:
            fallen.append(name)
    return ", ".join(fallen)


def comparisons(scores: pd.DataFrame, arm: str) -> pd.DataFrame:
    """One method against every other: paired difference of the means and its interval."""
    rows = []
    for other in METHODS:
        if other == arm or other not in set(scores["arm"]):
            continue
        ours, theirs = paired(scores, arm, other)
        if len(ours) < 2:
            continue
        gain, better = stats.paired_difference(ours, theirs), stats.improvement(ours, theirs)
        rows.append(
            {
                "method": arm,
                "against": other,
                "group": METHODS[other].group,
                "difference": gain.value,
                "low": gain.low,
                "high": gain.high,
                "probability": better.value,
                "probability_low": better.low,
                "probability_high": better.high,
            }
        )
    return pd.DataFrame(rows)


def claims(scores: pd.DataFrame) -> dict[str, Any]:
    """What the benchmark was made to find out, each with the numbers that decide it.

    ``anchored``: does it recover at least 80 % of the distance from equal weights to the oracle,
    and beat every method that never sees the judge, with paired intervals above 0? ``maestro``:
    is the paper's meta-reward above every single objective and above equal weights?
    """
    found: dict[str, Any] = {}
    for arm, rivals in (
        ("anchored", WEIGHTINGS),
        ("maestro", ("single",)),
        ("maestro-searched", ("single",)),
        ("maestro-paper", ("single",)),
    ):
        if arm not in set(scores["arm"]):
            continue
        against = comparisons(scores, arm)
        if against.empty:
            continue
        chosen = against[against["group"].isin(rivals) | (against["against"] == "equal")]
        beaten = chosen[chosen["low"] > 0]["against"].tolist()
        found[arm] = {
            "beats": beaten,
            "does_not_beat": [a for a in chosen["against"] if a not in beaten],
            "holds": len(beaten) == len(chosen) > 0,
        }
    if {"anchored", "equal", "oracle"} <= set(scores["arm"]) and "anchored" in found:
        found["anchored"]["recovered"] = recovered(scores, "anchored")
    return found


def recovered(scores: pd.DataFrame, arm: str) -> float:
    """Share of the way from equal weights to the oracle, on the seeds that all three have."""
    table = scores.groupby(["seed", "arm"])["judge"].mean().unstack("arm")
    shared = table[list(dict.fromkeys([arm, "equal", "oracle"]))].dropna()
    gap = (shared["oracle"] - shared["equal"]).mean()
    return float((shared[arm] - shared["equal"]).mean() / gap)


def markdown(frame: pd.DataFrame) -> str:
    """The table in the paper's layout: methods by families, scores times 100."""
    kinds = [k for k in FAMILIES if k in frame]
    header = ["Method", "Seeds", *kinds, "Mean", "IQM [95 %]", "vs equal [95 %]", "P(> equal)"]
    optional = {
        "recovered": "Recovered",
        "worst": "Least gain over base",
        "below_base": "Objectives below base",
        "tokens": "Tokens",
        "seconds": "Seconds",
        "judge_calls": "Judge calls",
    }
    shown = {key: name for key, name in optional.items() if key in frame}
    lines = [_line([*header, *shown.values()])]
    lines.append(_line(["---", *["---:"] * (len(header) + len(shown) - 1)]))
    best = {k: frame.loc[frame["group"].isin(WEIGHTINGS), k].max() for k in [*kinds, "mean"]}
    for row in frame.to_dict("records"):
        cells = [row["label"], str(row["seeds"])]
        for key in (*kinds, "mean"):
            text = f"{100 * row[key]:.1f}"
            leads = row["group"] in WEIGHTINGS and row[key] == best[key]
            cells.append(f"**{text}**" if leads else text)
        iqm = [f"{100 * row[k]:.1f}" for k in ("iqm", "iqm_low", "iqm_high")]
        cells.append(f"{iqm[0]} [{iqm[1]}, {iqm[2]}]")
        cells += _versus(row)
        cells += [_optional(row, key) for key in shown]
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _versus(row: dict[str, Any]) -> list[str]:
    if not _known(row.get("vs_equal")):
        return ["", ""]
    low, high = 100 * row["vs_equal_low"], 100 * row["vs_equal_high"]
    return [f"{100 * row['vs_equal']:+.1f} [{low:+.1f}, {high:+.1f}]", f"{row['p_vs_equal']:.2f}"]


def _optional(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if not _known(value):
        return ""
    if key == "recovered":
        return f"{100 * value:.0f} %"
    if key == "worst":
        return f"{value} {100 * row['worst_gain']:+.1f}"
    if key in ("tokens", "judge_calls"):
        return f"{value:,.0f}"
    return f"{value:.0f}" if key == "seconds" else str(value)


def _known(value: Any) -> bool:
    return value is not None and value == value
