"""Runs and checkpoints side by side on the same held-out prompts: means, wins, fronts, texts.

The unit is the prompt: completions of one prompt are averaged first, and intervals come from
resampling prompts (percentile bootstrap, 95 %), the same resample for every side, so that
differences between sides are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis.display import DIM, LEFT, RIGHT, Prose, cells, html_table
from workbench.core.pareto import hypervolume, pareto_front
from workbench.formatting import esc, num, percent
from workbench.types import Floats

RESAMPLES = 2000
JUDGE = "judge"


@dataclass(frozen=True)
class Comparison:
    """What two or more sides did on the prompts that all of them answered.

    Attributes:
        sides: names of what is compared, in order.
        means: one row a side and measure (``judge`` and each objective): side, name, kind
            (``all`` or a kind of prompt), mean, low, high, prompts.
        wins: one row an ordered pair of sides: side, against, rate (share of prompts with the
            better judge, ties half), low, high, difference (of judge means), its low and high.
        front: one row a side: its mean per objective (after sign) and whether it is on the
            Pareto front of the sides.
        volume: side, hypervolume of its objective means above ``reference``, low, high.
        reference: the reference point, per objective (after sign).
        texts: prompt_id, kind, prompt, reference and one column of completions per side.
        config: the keys in which the sides' configurations differ, one column a side.
    """

    sides: tuple[str, ...]
    means: pd.DataFrame
    wins: pd.DataFrame
    front: pd.DataFrame
    volume: pd.DataFrame
    reference: Mapping[str, float]
    texts: pd.DataFrame
    config: pd.DataFrame

    def side_by_side(self, kind: str | None = None, per_kind: int = 1) -> Prose:
        """Texts of all sides beside each other, shown whole: prompt and one column a side.

        Args:
            kind: only prompts of this kind.
            per_kind: so many prompts of each kind.
        """
        rows = self.texts if kind is None else self.texts[self.texts["kind"] == kind]
        rows = rows.sort_values("kind", kind="stable").groupby("kind", sort=False).head(per_kind)
        return Prose(rows.set_index("kind")[["prompt", *self.sides]])

    def __repr__(self) -> str:
        prompts = self.means["prompts"].max()
        return f"Comparison({', '.join(self.sides)}; {prompts} prompts)"

    def _repr_html_(self) -> str:
        return comparison_html(self)


def compare(
    sides: Mapping[str, pd.DataFrame],
    signs: Mapping[str, int] | None = None,
    reference: Mapping[str, float] | str | None = None,
    config: pd.DataFrame | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare evaluations.

    Args:
        sides: name -> rows of the ``evaluations`` view of one run and step.
        signs: objective -> -1 where less is better; the others are 1.
        reference: reference point of the hypervolume (after sign), or the name of the side whose
            means it is; None: just below the worst mean of each objective among the sides.
        config: the differing keys of the sides' configurations.
        seed: of the bootstrap.

    Raises:
        ValueError: fewer than two sides, one without rows, no prompt that all answered, or a
            reference that lacks an objective or is no side.
    """
    if len(sides) < 2:
        raise ValueError(f"compare: {len(sides)} side given; two or more are needed")
    for side, rows in sides.items():
        if rows.empty:
            raise ValueError(f"compare: {side!r} has no evaluation yet; run `workbench evaluate`")
    tables = {side: _by_prompt(rows) for side, rows in sides.items()}
    shared = sorted(set.intersection(*(set(t.index) for t in tables.values())))
    if not shared:
        raise ValueError("compare: no held-out prompt was answered by all sides")
    tables = {side: table.loc[shared] for side, table in tables.items()}
    names = [n for n in next(iter(tables.values())).columns if n != "kind"]
    names = [n for n in names if all(n in t and t[n].notna().any() for t in tables.values())]
    draws = _resamples(len(shared), seed)
    objectives = [n for n in names if n != JUDGE]
    points = {
        side: [float(t[n].mean()) * (signs or {}).get(n, 1) for n in objectives]
        for side, t in tables.items()
    }
    front = pd.DataFrame(points, index=objectives).T
    low = _reference(reference, front)
    on_front = pareto_front(front.to_numpy(dtype=float)) if objectives else [True] * len(front)
    return Comparison(
        sides=tuple(sides),
        means=_means(tables, names, draws),
        wins=_wins(tables, draws) if JUDGE in names else pd.DataFrame(),
        front=front.assign(front=on_front).rename_axis("side").reset_index(),
        volume=_volumes(tables, front, signs or {}, low, draws),
        reference=low,
        texts=_texts(sides, shared),
        config=config if config is not None else pd.DataFrame(),
    )


def _by_prompt(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a prompt: kind, mean judge, mean reward per objective."""
    rewards = pd.DataFrame([dict(r) for r in rows["rewards"]], index=rows.index)
    flat = pd.concat([rows[["prompt_id", "kind", JUDGE]], rewards], axis=1)
    numbers = [JUDGE, *rewards.columns]
    flat[numbers] = flat[numbers].astype(float)
    means = flat.groupby("prompt_id")[numbers].mean()
    return means.assign(kind=flat.groupby("prompt_id")["kind"].first())


def _interval(samples: Floats) -> tuple[float, float]:
    low, high = np.nanpercentile(samples, [2.5, 97.5])
    return float(low), float(high)


def _means(tables: Mapping[str, pd.DataFrame], names: Sequence[str], draws: Floats) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for side, table in tables.items():
        kinds = table["kind"].to_numpy()
        for name in names:
            values = table[name].to_numpy(dtype=float)
            for kind in ["all", *sorted(set(kinds))]:
                chosen = np.where((kinds == kind) | (kind == "all"), values, np.nan)
                if np.isnan(chosen).all():
                    continue
                low, high = _interval(_resampled_means(chosen, draws))
                rows.append(
                    {
                        "side": side,
                        "name": name,
                        "kind": kind,
                        "mean": float(np.nanmean(chosen)),
                        "low": low,
                        "high": high,
                        "prompts": int((~np.isnan(chosen)).sum()),
                    }
                )
    return pd.DataFrame(rows)


def _resamples(count: int, seed: int) -> Floats:
    """(R, n): how often each resample holds each prompt; a row sums to n."""
    drawn = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    times = np.zeros((RESAMPLES, count))
    np.add.at(times, (np.arange(RESAMPLES)[:, None], drawn), 1.0)
    return times


def _resampled_means(values: Floats, draws: Floats) -> Floats:
    """(R,) means over each resample of the (n,) values that are not NaN; NaN where all are."""
    known = ~np.isnan(values)
    counts = draws @ known
    sums = draws @ np.where(known, values, 0.0)
    return np.divide(sums, counts, out=np.full(len(draws), np.nan), where=counts > 0)


def _wins(tables: Mapping[str, pd.DataFrame], draws: Floats) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for side, table in tables.items():
        for against, other in tables.items():
            if side == against:
                continue
            gap = table[JUDGE].to_numpy(dtype=float) - other[JUDGE].to_numpy(dtype=float)
            won = np.where(np.isnan(gap), np.nan, (np.sign(gap) + 1) / 2)
            rate = _interval(_resampled_means(won, draws))
            difference = _interval(_resampled_means(gap, draws))
            rows.append(
                {
                    "side": side,
                    "against": against,
                    "rate": float(np.nanmean(won)),
                    "low": rate[0],
                    "high": rate[1],
                    "difference": float(np.nanmean(gap)),
                    "difference_low": difference[0],
                    "difference_high": difference[1],
                }
            )
    return pd.DataFrame(rows)


def _reference(asked: Mapping[str, float] | str | None, front: pd.DataFrame) -> dict[str, float]:
    """The reference point per objective of ``front``, however it was asked for."""
    if asked is None:
        return _below(front)
    if isinstance(asked, str):
        if asked not in front.index:
            raise ValueError(f"reference: {asked!r} is no side; there are {', '.join(front.index)}")
        return {str(k): float(v) for k, v in front.loc[asked].items()}
    missing = [n for n in front.columns if n not in asked]
    if missing:
        raise ValueError(f"reference: no value for {', '.join(missing)}")
    return {str(n): float(asked[n]) for n in front.columns}


def _volumes(
    tables: Mapping[str, pd.DataFrame],
    front: pd.DataFrame,
    signs: Mapping[str, int],
    low: Mapping[str, float],
    draws: Floats,
) -> pd.DataFrame:
    """Hypervolume of each side's means above ``low``, with an interval over resampled prompts."""
    origin = np.array([low[n] for n in front.columns])
    rows = []
    for side, table in tables.items():
        resampled = np.stack(
            [
                _resampled_means(table[n].to_numpy(dtype=float), draws) * signs.get(n, 1)
                for n in front.columns
            ],
            axis=1,
        )
        boxes = np.clip(resampled - origin, 0.0, None).prod(axis=1)  # one point: one box
        least, most = _interval(boxes)
        volume = hypervolume(front.loc[[side]].to_numpy(dtype=float), origin)
        rows.append({"side": side, "hypervolume": volume, "low": least, "high": most})
    return pd.DataFrame(rows)


def _below(front: pd.DataFrame) -> dict[str, float]:
    """A point a tenth of the sides' spread below the worst mean of each objective."""
    worst, best = front.min(), front.max()
    margin = (best - worst).where(best > worst, 1.0) * 0.1
    return {str(k): float(v) for k, v in (worst - margin).items()}


def _texts(sides: Mapping[str, pd.DataFrame], shared: Sequence[str]) -> pd.DataFrame:
    first = next(iter(sides.values())).drop_duplicates("prompt_id").set_index("prompt_id")
    texts = first.loc[list(shared), ["kind", "prompt", "reference"]].copy()
    for side, rows in sides.items():
        texts[side] = rows.groupby("prompt_id")["completion"].apply(list).loc[list(shared)]
    return texts.reset_index()


def comparison_html(found: Comparison) -> str:
    """Means with intervals, one column a side; then who wins and by how much."""
    overall = found.means[found.means["kind"] == "all"].set_index(["name", "side"])
    lines = []
    for name in dict.fromkeys(overall.index.get_level_values("name")):
        part = overall.loc[name]
        best = part["mean"].idxmax() if name == "judge" else None
        shown = [
            f"{'<b>' if side == best else ''}{num(row['mean'])}{'</b>' if side == best else ''} "
            f'<small style="{DIM}">{num(row["low"])} to {num(row["high"])}</small>'
            for side, row in part.loc[list(found.sides)].iterrows()
        ]
        lines.append(f"<tr>{cells([esc(name)], LEFT)}{cells(shown)}</tr>")
    head = [("mean, 95 % interval", LEFT), *((side, RIGHT) for side in found.sides)]
    # of many sides every pair would be a page of sentences: then only those with the first
    said = win_sentences(found, found.sides[0] if len(found.sides) > 3 else None)
    return html_table(head, lines) + "".join(f"<div>{esc(s)}</div>" for s in said)


def win_sentences(found: Comparison, of: str | None = None) -> list[str]:
    """One sentence a pair of sides, the better one first; empty where nothing was judged.

    Args:
        found: what to say.
        of: only pairs with this side.
    """
    said = []
    for row in found.wins.itertuples():
        if of is not None and of not in (row.side, row.against):
            continue
        first = found.sides.index(row.side) < found.sides.index(row.against)
        if row.difference < 0 or (row.difference == 0 and not first):
            continue  # the same pair stands there the other way round
        clear = row.difference_low > 0
        said.append(
            f"{row.side} is ahead of {row.against} by {row.difference:.3f} of the judge (95 %: "
            f"{row.difference_low:.3f} to {row.difference_high:.3f}), with {percent(row.rate)} of "
            f"the prompts won: {'a clear difference' if clear else 'could be chance'}."
        )
    return said
