"""Who agrees with whom on Rate: raters among each other, raters and judge, raters and training."""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from workbench.analysis.queries import annotations
from workbench.store.reader import Store

JUDGE = "\x00judge"
"""Key of the judge's column: no rater can be called that."""


def picks(marks: pd.DataFrame) -> pd.DataFrame:
    """The newest vote of each rater on each group: rater, group_id, sample (-1: none is good)."""
    votes = marks[marks["type"] == "vote"].sort_values("time")
    newest = votes.drop_duplicates(["rater", "group_id"], keep="last")
    return newest.assign(sample=newest["sample"].fillna(-1).astype(int))


def between_raters(votes: pd.DataFrame) -> pd.DataFrame:
    """Each pair of raters: groups that both judged, share of the same pick."""
    rows = []
    wide = votes.pivot(index="group_id", columns="rater", values="sample")
    for a, b in combinations(wide.columns, 2):
        both = wide[[a, b]].dropna()
        if len(both):
            rows.append(
                {"who": f"{a} and {b}", "n": len(both), "same": (both[a] == both[b]).mean()}
            )
    return pd.DataFrame(rows, columns=["who", "n", "same"])


def with_scores(votes: pd.DataFrame, rollouts: pd.DataFrame, column: str) -> pd.DataFrame:
    """Each rater against a score of the completions: share of picks that the score puts first.

    Args:
        votes: as ``picks`` makes them.
        rollouts: group_id, sample and the score in ``column``; groups without one are left out.
        column: ``judge`` or ``advantage``.
    """
    scored = rollouts.dropna(subset=[column])
    best = scored.loc[scored.groupby("group_id")[column].transform("max") == scored[column]]
    top = {(g, s) for g, s in zip(best["group_id"], best["sample"], strict=True)}
    known = set(scored["group_id"])
    rows = []
    for rater, part in votes[votes["sample"] >= 0].groupby("rater"):
        here = part[part["group_id"].isin(known)]
        if len(here):
            hits = [(g, s) in top for g, s in zip(here["group_id"], here["sample"], strict=True)]
            rows.append({"who": str(rater), "n": len(here), "same": sum(hits) / len(hits)})
    return pd.DataFrame(rows, columns=["who", "n", "same"])


def grades(marks: pd.DataFrame) -> pd.DataFrame:
    """The newest grade of each rater for each completion: rater, group_id, sample, score."""
    given = marks[marks["type"] == "rating"].sort_values("time")
    newest = given.drop_duplicates(["rater", "group_id", "sample"], keep="last")
    newest = newest.dropna(subset=["rater", "score", "sample"])
    return newest.astype({"sample": int, "score": float})[["rater", "group_id", "sample", "score"]]


def graded_alike(given: pd.DataFrame, rollouts: pd.DataFrame) -> pd.DataFrame:
    """How alike grades order the completions: who, n (completions), correlation (Spearman's).

    Each pair of raters, and each rater with the judge; NaN where one of the two gave every
    completion the same.

    Args:
        given: as ``grades`` makes them.
        rollouts: group_id, sample and judge.
    """
    keys = ["group_id", "sample"]
    wide = given.pivot(index=keys, columns="rater", values="score")
    judge = rollouts.set_index(keys)["judge"].astype(float)
    raters = list(wide.columns)
    wide = wide.join(judge[~judge.index.duplicated()].rename(JUDGE))
    pairs = [(f"{a} and {b}", a, b) for a, b in combinations(raters, 2)]
    pairs += [(f"{a} and the judge", a, JUDGE) for a in raters]
    rows = []
    for who, a, b in pairs:
        both = wide[[a, b]].dropna()
        if len(both) > 1:
            value = both[a].rank().corr(both[b].rank())
            rows.append({"who": who, "n": len(both), "correlation": float(value)})
    return pd.DataFrame(rows, columns=["who", "n", "correlation"])


def agreement(store: Store, run_id: str) -> pd.DataFrame:
    """Who judges alike on Rate: columns what, who, same, correlation, n.

    ``same`` is the share of n groups with the same pick, ``correlation`` Spearman's over n graded
    completions.
    """
    marks = annotations(store, run_id)
    votes, given = picks(marks), grades(marks)
    rollouts = rated(store, run_id, {*votes["group_id"], *given["group_id"]})
    parts = {
        "raters with each other": between_raters(votes),
        "picks the judge likes best": with_scores(votes, rollouts, "judge"),
        "picks with the largest advantage": with_scores(votes, rollouts, "advantage"),
        "grades": graded_alike(given, rollouts),
    }
    rows = [{"what": w} | r for w, frame in parts.items() for r in frame.to_dict("records")]
    return pd.DataFrame(rows, columns=["what", "who", "same", "correlation", "n"])


def rated(store: Store, run_id: str, groups: set[str]) -> pd.DataFrame:
    """The completions of rated groups: group_id, sample, judge, advantage."""
    return store.sql(
        "SELECT group_id, sample, judge, advantage FROM rollouts "
        "WHERE run_id = $run AND list_contains($groups, group_id)",
        {"run": run_id, "groups": sorted(groups)},
    )


def chance(store: Store, run_id: str, votes: pd.DataFrame) -> float:
    """How often two raters who pick at random agree on the voted groups; NaN without any."""
    sizes = rated(store, run_id, set(votes["group_id"])).groupby("group_id").size()
    return 1 / float(sizes.mean())
