"""Rate: blind votes on groups where a vote teaches most; keyboard first."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workbench.analysis import agreement, queries, votes
from workbench.api.workbench import Workbench
from workbench.pages import run_picker
from workbench.pages.markup import (
    act,
    attr,
    button,
    card,
    chip,
    empty,
    esc,
    exports,
    go,
    num,
    percent,
    table,
)  # fmt: skip
from workbench.pages.page import ActionError, Page, View, html
from workbench.pages.run_actions import learn

FEW = 10
GRADES = (0.0, 0.25, 0.5, 0.75, 1.0)


def build(wb: Workbench) -> Page:
    """Make the page's widgets."""
    top = html("rate-top")
    desk = html("rate-desk")
    result = html("rate-agreement")
    return Page("rate", [top, desk, result], show, ACTIONS)


def show(wb: Workbench, view: View, changed: frozenset[str]) -> list[Any]:
    """The next group to judge, and how far raters and judge agree."""
    run = run_picker.chosen(wb, view)
    top = run_picker.strip(wb, view)
    if run is None:
        return [top, card("", run_picker.no_run(wb, view)), ""]
    run_id = str(run["run_id"])
    marks = wb.annotations(run_id)
    queue = votes.candidates(wb.store, run_id)
    done = judged(marks, view, queue)
    left = queue[~queue["group_id"].isin(done | skipped(view))]
    if not len(queue):
        body = empty(
            "Nothing to judge yet",
            "Groups appear here as soon as the run has published its first step.",
            button("Watch it on Runs", go(tab="runs")),
        )
        return [top, card("", body), ""]
    if not len(left):
        body = empty(
            "All done",
            f"You have judged the {len(done)} groups of this run where a vote teaches most.",
            button("See who agrees below", go(tab="rate"), off=True),
        )
        return [top, card("", body), agreement_card(wb, run_id, marks)]
    return [
        top,
        group_card(wb, view, run_id, str(left["group_id"].iloc[0]), len(done), len(left)),
        agreement_card(wb, run_id, marks),
    ]


def agreement_card(wb: Workbench, run_id: str, marks: pd.DataFrame) -> str:
    """What the votes and grades so far say."""
    given, grades = agreement.picks(marks), agreement.grades(marks)
    if not len(given) and not len(grades):
        text = (
            "Votes are stored with the run. They can serve as an anchor (anchor.source: ratings) "
            "and as rewards for the offline trainers."
        )
        return card("Agreement", f'<p class="wb-dim">{text}</p>')
    lines = []
    for row in agreement.agreement(wb.store, run_id).itertuples():
        graded = row.what == "grades"
        same = num(row.correlation, signed=True) if graded else percent(row.same)
        few = ' <span class="wb-dim">few</span>' if row.n < FEW else ""
        title = "grades, as rank correlation" if graded else row.what
        lines.append(
            f"<tr><td>{esc(title)}</td><td><b>{esc(row.who)}</b></td>"
            f'<td class="wb-num">{same}</td><td class="wb-num">{num(row.n)}{few}</td></tr>'
        )
    head = [("", ""), ("who", ""), ("same", "wb-num"), ("groups or texts", "wb-num")]
    body = table(head, lines) if lines else '<p class="wb-dim">No group was judged twice yet.</p>'
    said = [f"{len(given)} votes", f"{len(grades)} grades"]
    if len(given):
        chance = percent(agreement.chance(wb.store, run_id, given))
        said.append(f"by chance a pick is the same in {chance}")
    learn_from = button(
        "Learn from them", act("learn", source=f"annotations,{run_id}"),
        title="on Launch: a run whose rewards are these votes and grades",
    )  # fmt: skip
    return card("Agreement", body, f"{' · '.join(said)} {learn_from} {exports()}")


def judged(marks: pd.DataFrame, view: View, queue: pd.DataFrame) -> set[str]:
    """Groups that this rater is done with: a pick, or a grade for every completion."""
    mine = marks[marks["rater"] == rater(view)]
    if view.get("mode") != "scores":
        return set(mine[mine["type"] == "vote"]["group_id"])
    graded = mine[mine["type"] == "rating"].groupby("group_id")["sample"].nunique()
    sizes = queue.set_index("group_id")["size"]
    return {str(g) for g, n in graded.items() if n >= sizes.get(g, 1)}


def rater(view: View) -> str:
    """Who votes: a name that the person chose, else a common one."""
    return view.get("rater", "me")[:40]


def skipped(view: View) -> set[str]:
    """Groups that were passed over in this tab."""
    return set(filter(None, view.get("skip", "").split(",")))


def group_card(wb: Workbench, view: View, run_id: str, group_id: str, done: int, left: int) -> str:
    """One group, blind: the prompt and its completions, nothing else."""
    rows = votes.shuffled(queries.rollouts(wb.store, run_id, group_id=group_id), rater(view))
    scoring = view.get("mode") == "scores"
    desk = scores(wb, run_id, group_id, rows, view) if scoring else picks(run_id, group_id, rows)
    first = rows.iloc[0]
    passed = ",".join(sorted(skipped(view) | {group_id}))
    none = act("vote", run=run_id, group=group_id, sample=-1)
    tools = (
        ("" if scoring else button("none is good (0)", f'{none} data-key="0"'))
        + button("skip (s)", f'{go(skip=passed)} data-key="s"')
        + button("undo (u)", f'{act("undo", run=run_id)} data-key="u"', off=not done)
    )
    modes = "".join(
        f'<button type="button" class="wb-switch{" on" if on else ""}" '
        f'aria-pressed="{str(on).lower()}" {go(mode=mode)}>{label}</button>'
        for label, mode, on in (("best pick", "", not scoring), ("scores", "scores", scoring))
    )
    who = (
        '<label class="wb-field wb-beside"><b>your name</b>'
        f'<input type="text" data-param="rater" {attr("data-value", rater(view))}></label>'
    )
    asked = (
        "How good is the marked completion? 1 is useless, 5 could not be better."
        if scoring
        else "Which completion is best? Press its number."
    )
    head = (
        f'<div class="wb-tools">{modes}</div><div class="wb-head">{chip(str(first["kind"]))}'
        f'<span class="q" dir="auto">{esc(first["prompt"])}</span></div>'
        f"<p>{asked} You do not see where they come from.</p>"
    )
    return (
        f'<section class="wb-card wb-desk">{head}<div class="wb-votes">{desk}</div>'
        f'<div class="wb-bar">{tools}<span class="wb-right wb-dim wb-who">{done} judged · {left} '
        f"worth judging {who}</span></div></section>"
    )


def picks(run_id: str, group_id: str, rows: pd.DataFrame) -> str:
    """Each completion as a button: the best one is pressed."""
    lines = []
    for place, row in enumerate(rows.itertuples(), start=1):
        vote_attr = act("vote", run=run_id, group=group_id, sample=int(row.sample))
        key = f" {attr('data-key', str(place))}" if place < 10 else ""
        lines.append(
            f'<button type="button" class="wb-vote" {vote_attr}{key}>'
            f'<kbd>{place}</kbd><span class="wb-mono wb-text" dir="auto">'
            f"{esc(row.completion) or '<i>empty</i>'}</span></button>"
        )
    return "".join(lines)


def scores(wb: Workbench, run_id: str, group_id: str, rows: pd.DataFrame, view: View) -> str:
    """Each completion with five grades; the keys grade the first that has none yet."""
    marks = wb.annotations(run_id)
    mine = marks[
        (marks["type"] == "rating")
        & (marks["rater"] == rater(view))
        & (marks["group_id"] == group_id)
    ]
    given = dict(zip(mine["sample"], mine["score"], strict=True))
    lines, next_one = [], True
    for row in rows.itertuples():
        sample = int(row.sample)
        here = sample not in given and next_one
        next_one = next_one and not here
        grades = "".join(
            _grade(
                act("score", run=run_id, group=group_id, sample=sample, score=grade),
                i,
                here,
                given.get(sample) == grade,
            )
            for i, grade in enumerate(GRADES, start=1)
        )
        lines.append(
            f'<div class="wb-vote wb-score{" here" if here else ""}"><span>{grades}</span>'
            f'<span class="wb-mono wb-text" dir="auto">{esc(row.completion) or "<i>empty</i>"}'
            "</span></div>"
        )
    return "".join(lines)


def _grade(attribute: str, number: int, keyed: bool, given: bool) -> str:
    key = f" {attr('data-key', str(number))}" if keyed else ""
    return (
        f'<button type="button" class="wb-switch{" on" if given else ""}" {attribute}{key} '
        f'aria-label="grade {number}">{number}</button>'
    )


def score(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Store a grade of one completion; a second one replaces it."""
    value = float(args["score"])
    if value not in GRADES:
        raise ActionError(f"score {value:g}: allowed are {', '.join(f'{g:g}' for g in GRADES)}")
    run_id, sample = str(args["run"]), int(args["sample"])
    votes.vote(wb.store, run_id, str(args["group"]), sample, rater(view), value)
    return f"Graded {GRADES.index(value) + 1}"


def vote(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Store a vote for one completion of a group, or for none (sample -1)."""
    sample = int(args["sample"])
    votes.vote(
        wb.store, str(args["run"]), str(args["group"]), sample if sample >= 0 else None, rater(view)
    )
    return "Vote stored"


def undo(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Take one's newest vote or grade back."""
    run_id = str(args["run"])
    marks = wb.annotations(run_id)
    kind = "rating" if view.get("mode") == "scores" else "vote"
    mine = marks[(marks["type"] == kind) & (marks["rater"] == rater(view))]
    if not len(mine):
        raise ActionError("There is no vote of yours to take back")
    wb.retract(run_id, str(mine.sort_values("time")["annotation_id"].iloc[-1]))
    return "Taken back"


ACTIONS = {"vote": vote, "score": score, "undo": undo, "learn": learn}
