"""Who agrees with whom on Rate: raters among each other, raters and judge, raters and training."""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from workbench.api.workbench import Workbench
from workbench.pages.markup import act, button, card, esc, exports, num, percent, table

FEW = 10
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


def agreement_card(wb: Workbench, run_id: str, marks: pd.DataFrame) -> str:
    """What the votes and grades so far say."""
    votes, given = picks(marks), grades(marks)
    if not len(votes) and not len(given):
        text = (
            "Votes are stored with the run. They can serve as an anchor (anchor.source: ratings) "
            "and as rewards for the offline trainers."
        )
        return card("Agreement", f'<p class="wb-dim">{text}</p>')
    rollouts = wb.sql(
        "SELECT group_id, sample, judge, advantage FROM rollouts "
        "WHERE run_id = $run AND list_contains($groups, group_id)",
        {"run": run_id, "groups": sorted(set(votes["group_id"]) | set(given["group_id"]))},
    )
    lines = []
    for title, frame in (
        ("raters with each other", between_raters(votes)),
        ("picks the judge likes best", with_scores(votes, rollouts, "judge")),
        ("picks with the largest advantage", with_scores(votes, rollouts, "advantage")),
    ):
        for row in frame.itertuples():
            few = ' <span class="wb-dim">few</span>' if row.n < FEW else ""
            lines.append(
                f"<tr><td>{esc(title)}</td><td><b>{esc(row.who)}</b></td>"
                f'<td class="wb-num">{percent(row.same)}</td>'
                f'<td class="wb-num">{num(row.n)}{few}</td></tr>'
            )
    for row in graded_alike(given, rollouts).itertuples():
        few = ' <span class="wb-dim">few</span>' if row.n < FEW else ""
        lines.append(
            f"<tr><td>grades, as rank correlation</td><td><b>{esc(row.who)}</b></td>"
            f'<td class="wb-num">{num(row.correlation, signed=True)}</td>'
            f'<td class="wb-num">{num(row.n)}{few}</td></tr>'
        )
    head = [("", ""), ("who", ""), ("same", "wb-num"), ("groups or texts", "wb-num")]
    body = table(head, lines) if lines else '<p class="wb-dim">No group was judged twice yet.</p>'
    size = rollouts.groupby("group_id").size().mean()
    chance = f"by chance a pick is the same in {percent(1 / size)}" if len(votes) else ""
    said = [f"{len(votes)} votes", f"{len(given)} grades", chance]
    learn = button(
        "Learn from them", act("learn", source=f"annotations,{run_id}"),
        title="on Launch: a run whose rewards are these votes and grades",
    )  # fmt: skip
    return card("Agreement", body, f"{' · '.join(filter(None, said))} {learn} {exports()}")
