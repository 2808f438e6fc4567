"""Rate: blind votes on groups where a vote teaches most; keyboard first."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from workbench.analysis import agreement, queries, votes
from workbench.api.workbench import Workbench
from workbench.pages import chat_text, run_picker
from workbench.pages.launch_address import learn
from workbench.pages.page import ActionError, Page, View, html
from workbench.pages.render import empty, go, or_problem, render

GRADES = (0.0, 0.25, 0.5, 0.75, 1.0)
SHOWN = 4000
"""Characters of a completion that are sent at first."""
FOLDED_AT = 900
FEW = 10
"""Judgements below which a share says little."""


def build(wb: Workbench) -> Page:
    """Make the page's widgets."""
    outputs = [html("rate-top"), html("rate-desk"), html("rate-agreement")]
    return Page("rate", outputs, show, ACTIONS, rows=annotations, text=long_text)


def show(wb: Workbench, view: View, changed: frozenset[str]) -> list[Any]:
    """The next group to judge, and how far raters and judge agree."""
    run = run_picker.chosen(wb, view)
    top = run_picker.picker(wb, view)
    if run is None:
        return [top, run_picker.no_run(wb, view), ""]
    run_id = str(run["run_id"])
    marks = wb.annotations(run_id)
    queue = votes.candidates(wb.store, run_id)
    done = judged(marks, view, queue)
    left = queue[~queue["group_id"].isin(done | skipped(view))]
    if not len(queue):
        body = empty(
            "Nothing to judge yet",
            "Groups appear here as soon as the run has published its first step.",
            "Watch it on Runs",
            go(tab="runs"),
        )
        return [top, body, ""]
    said = or_problem("Agreement", agreement_card, wb, run_id, marks)
    if not len(left):
        return [top, render("rate_done.html", done=len(done), run=run_id), said]
    group = str(left["group_id"].iloc[0])
    card = or_problem(
        "This group", group_card, wb, view, run_id, group, marks, len(done), len(left)
    )
    return [top, card, said]


def annotations(wb: Workbench, view: View) -> tuple[pd.DataFrame, str] | None:
    """What people said about the run, as rows to download."""
    run = run_picker.chosen(wb, view)
    if run is None:
        return None
    return wb.annotations(str(run["run_id"])), f"{view.get('run', 'run')}-annotations"


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


def group_card(
    wb: Workbench,
    view: View,
    run_id: str,
    group_id: str,
    marks: pd.DataFrame,
    done: int,
    left: int,
) -> Markup:
    """One group, blind: the prompt and its different completions, each text once."""
    rows = votes.shuffled(queries.rollouts(wb.store, run_id, group_id=group_id), rater(view))
    mine = _mine(marks, view)
    here = mine[mine["group_id"] == group_id]
    given = dict(zip(here["sample"], here["score"], strict=True))
    scoring = view.get("mode") == "scores"
    texts = []
    for text, part in rows.groupby("completion", sort=False):
        samples = [int(s) for s in part["sample"]]
        thought, answer = chat_text.thought_and_answer(str(text))
        texts.append(
            {
                "samples": samples,
                "shown": answer[:SHOWN],
                "long": len(answer) > FOLDED_AT or answer.count("\n") > 12,
                "part": len(answer) > SHOWN,
                "chars": len(answer),
                "thought": len(thought),
                "grade": given.get(samples[0]),
            }
        )
    open_ones = [i for i, t in enumerate(texts) if t["grade"] is None]
    prompt = str(rows["prompt"].iloc[0])
    chat = chat_text.messages(prompt)
    return render(
        "rate.html",
        run=run_id,
        group=group_id,
        kind=rows["kind"].iloc[0],
        prompt=prompt,
        chat=[(m.role or "prompt", m.text) for m in chat],
        is_chat=len(chat) > 1 or bool(chat[0].role),
        asked=chat_text.last_user(prompt),
        texts=texts,
        size=len(rows),
        scoring=scoring,
        here=open_ones[0] if open_ones else -1,
        grades=list(enumerate(GRADES, start=1)),
        passed=",".join(sorted(skipped(view) | {group_id})),
        can_undo=len(mine) > 0,
        rater=rater(view),
        done=done,
        left=left,
    )


def long_text(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """A completion's whole answer or thought; ``of`` is SAMPLE:PART, ``group`` its group.

    Raises:
        LookupError: there is no such completion.
    """
    run = run_picker.chosen(wb, view)
    rows = (
        pd.DataFrame()
        if run is None
        else queries.rollouts(wb.store, run["run_id"], group_id=str(args.get("group")))
    )
    sample, _, part = str(args.get("of", "")).partition(":")
    found = rows[rows["sample"].astype(str) == sample] if len(rows) else rows
    if not len(found):
        raise LookupError("this text is not there any more")
    thought, answer = chat_text.thought_and_answer(str(found["completion"].iloc[0]))
    return render("text.html", text=thought if part == "thought" else answer)


def agreement_card(wb: Workbench, run_id: str, marks: pd.DataFrame) -> Markup:
    """What the votes and grades so far say about raters, judge and training."""
    picks, grades = agreement.picks(marks), agreement.grades(marks)
    found = agreement.agreement(wb.store, run_id) if len(picks) or len(grades) else pd.DataFrame()
    return render(
        "agreement.html",
        run=run_id,
        picks=len(picks),
        grades=len(grades),
        rows=found.to_dict("records"),
        few=FEW,
        chance=agreement.chance(wb.store, run_id, picks) if len(picks) else None,
    )


def score(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Store a grade of a text, for each of its copies; a second one replaces it."""
    value = float(args["score"])
    if value not in GRADES:
        raise ActionError(f"score {value:g}: allowed are {', '.join(f'{g:g}' for g in GRADES)}")
    for sample in args["samples"]:
        votes.vote(wb.store, str(args["run"]), str(args["group"]), int(sample), rater(view), value)
    return f"Graded {GRADES.index(value) + 1}"


def vote(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Store a vote for one completion of a group, or for none (sample -1)."""
    sample = int(args["sample"])
    votes.vote(
        wb.store, str(args["run"]), str(args["group"]), sample if sample >= 0 else None, rater(view)
    )
    return "Vote stored"


def undo(wb: Workbench, view: View, args: dict[str, Any]) -> str:
    """Take one's newest vote or grade back; a grade of a text with copies goes for all of them."""
    run_id = str(args["run"])
    mine = _mine(wb.annotations(run_id), view).sort_values("time")
    if not len(mine):
        raise ActionError("There is no vote of yours to take back")
    newest = mine.iloc[-1]
    gone = [str(newest["annotation_id"])]
    if newest["type"] == "rating":
        rows = queries.rollouts(wb.store, run_id, group_id=str(newest["group_id"]))
        text = dict(zip(rows["sample"], rows["completion"], strict=True))
        copies = {s for s, t in text.items() if t == text[newest["sample"]]}
        alike = mine[(mine["group_id"] == newest["group_id"]) & mine["sample"].isin(copies)]
        gone = [str(a) for a in alike["annotation_id"]]
    for identity in gone:
        wb.retract(run_id, identity)
    return "Taken back"


def _mine(marks: pd.DataFrame, view: View) -> pd.DataFrame:
    """This rater's votes, or grades while grades are given."""
    kind = "rating" if view.get("mode") == "scores" else "vote"
    return marks[(marks["type"] == kind) & (marks["rater"] == rater(view))]


ACTIONS = {"vote": vote, "score": score, "undo": undo, "learn": learn}
