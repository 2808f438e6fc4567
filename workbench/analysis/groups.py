"""The list of groups: filtered, sorted and paged in one query, the same for page and notebook."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from workbench.analysis.queries import known, objectives
from workbench.store.reader import Store

PAGE_SIZE = 16

COLUMNS = {
    "prompt": "any_value(prompt)",
    "kind": "any_value(kind)",
    "prompt_id": "any_value(prompt_id)",
    "completions": "count(*)",
    "scalar": "avg(nullif(scalar, 'NaN'))",
    "advantage": "arg_max(nullif(advantage, 'NaN'), abs(nullif(advantage, 'NaN')))",
    "judge": "avg(nullif(judge, 'NaN'))",
    "disagreement": "1 - nullif(corr(advantage, judge), 'NaN')",
}
"""What is said of a group, as SQL over its rows; NaN and NULL take no part."""

SORTS = {
    "step": "step",
    "kind": COLUMNS["kind"],
    "prompt": COLUMNS["prompt"],
    "scalar": COLUMNS["scalar"],
    "judge": COLUMNS["judge"],
    "advantage": "max(abs(nullif(advantage, 'NaN')))",
    "disagreement": COLUMNS["disagreement"],
}
"""Sort names and what they sort by; ``weight_spread`` and ``reward:OBJECTIVE`` come on top."""

_RANGE = re.compile(r"^\s*(?P<name>[^<>=]+?)\s*(?P<op><=|>=|<|>)\s*(?P<value>-?[0-9.eE+-]+)\s*$")


@dataclass(frozen=True)
class GroupFilter:
    """Which groups to show; empty means any.

    Attributes:
        kind: kind of prompt.
        split: ``train`` or ``probe``.
        step: policy step.
        prompt_id: one prompt.
        text: looked for in prompts and completions, upper and lower case alike.
        where: a comparison that at least one completion fulfils, such as ``format < 0.3``; of an
            objective's raw reward, ``judge``, ``scalar`` or ``advantage``.
    """

    kind: str | None = None
    split: str | None = None
    step: int | str | None = None
    prompt_id: str | None = None
    text: str | None = None
    where: str | None = None


class BadFilter(ValueError):
    """A filter that cannot be read; its text says what can."""


def groups(
    store: Store,
    run_id: str,
    where: GroupFilter | None = None,
    *,
    sort: str = "step",
    descending: bool = True,
    offset: int = 0,
    limit: int = PAGE_SIZE,
) -> pd.DataFrame:
    """One page of the groups of a run, one row each.

    Columns: step, split, group_id, prompt_id, kind, prompt, completions, scalar (mean), advantage
    (the largest by size), judge (mean), disagreement (1 minus the correlation of advantage and
    judge), weights (mean by objective), weight_spread (largest less smallest mean weight), reward
    (mean of the objective that is sorted by, else NULL), total (groups in all).

    Args:
        store: where to ask.
        run_id: whose groups.
        where: which of them.
        sort: one of ``SORTS``, ``weight_spread`` or ``reward:OBJECTIVE``. ``advantage`` sorts by
            size; what is not known stands last either way.
        descending: largest first; among equals the newest group comes first.
        offset: after so many groups.
        limit: at most so many.

    Raises:
        BadFilter: a filter cannot be read.
        ValueError: the sort is unknown, or ``offset`` or ``limit`` is negative.
    """
    if offset < 0 or limit < 0:
        raise ValueError(f"offset {offset} and limit {limit} cannot be negative")
    names = objectives(store, run_id)
    params: dict[str, Any] = {"run": run_id, "offset": offset, "limit": limit}
    params |= {f"name{i}": name for i, name in enumerate(names)}
    means = [f"avg(nullif(weights[$name{i}], 'NaN'))" for i in range(len(names))]
    mean_weights = f"[{', '.join(means)}]::DOUBLE[]"
    spread = f"list_max({mean_weights}) - list_min({mean_weights})"
    key, reward = _key(sort, names, spread, params)
    rows, having = _conditions(where or GroupFilter(), names, params)
    order = f"{'DESC' if descending else 'ASC'} NULLS LAST, step DESC, group_id"
    said = ", ".join(f"{sql} AS {name}" for name, sql in COLUMNS.items())
    listed = ", ".join(f"$name{i}" for i in range(len(names)))
    # keys of all groups first, everything else only for the groups on the page
    frame = store.sql(
        f"""WITH rows AS NOT MATERIALIZED (SELECT * FROM rollouts WHERE {rows}),
        page AS (
            SELECT step, split, group_id, {key} AS key, count(*) OVER () AS total
            FROM rows GROUP BY step, split, group_id HAVING {having}
            ORDER BY key {order} LIMIT $limit OFFSET $offset)
        SELECT step, split, group_id, {said}, {reward} AS reward, {spread} AS weight_spread,
               map([{listed}]::VARCHAR[], {mean_weights}) AS weights, any_value(total) AS total
        FROM rows JOIN page USING (step, split, group_id) GROUP BY step, split, group_id
        ORDER BY any_value(key) {order}""",
        params,
    )
    frame["weights"] = [{k: v for k, v in m.items() if v is not None} for m in frame["weights"]]
    if where is not None and frame.empty and not offset:
        known(store, [run_id], kind=where.kind, split=where.split)
    return frame


def listed(
    store: Store,
    run_id: str,
    *,
    split: str | None = "train",
    kind: str | None = None,
    text: str | None = None,
    where: str | None = None,
    sort: str = "step",
    descending: bool = True,
    limit: int = 20,
    offset: int = 0,
) -> pd.DataFrame:
    """The list of Inspect: one row a group (a prompt at a step); columns as ``groups`` has them.

    Args:
        store: where to ask.
        run_id: whose groups.
        split: ``"train"``, ``"probe"``; None: both.
        kind: kind of prompt.
        text: only groups whose prompt or completions contain it.
        where: only groups with a completion for which it holds, e.g. ``"format < 0.3"``.
        sort: ``step``, ``kind``, ``prompt``, ``scalar``, ``judge``, ``advantage`` (by size),
            ``weight_spread``, ``disagreement`` (advantage against judge), ``reward:NAME``.
        descending: largest first; what is not known stands last either way.
        limit: so many groups.
        offset: after so many.

    Raises:
        ValueError: the sort, the kind or the split is unknown, or ``where`` cannot be read.
    """
    chosen = GroupFilter(kind=kind, split=split, text=text, where=where)
    how: dict[str, Any] = {"sort": sort, "descending": descending}
    return groups(store, run_id, chosen, offset=offset, limit=limit, **how).drop(columns="total")


def _key(sort: str, names: Sequence[str], spread: str, params: dict[str, Any]) -> tuple[str, str]:
    """What to sort by, and the mean reward to show, as SQL."""
    kind, _, name = sort.partition(":")
    if kind == "reward" and name in names:
        params["sorted"] = name
        reward = "avg(nullif(rewards[$sorted], 'NaN'))"
        return reward, reward
    if sort == "weight_spread":
        return spread, "NULL"
    if sort in SORTS:
        return SORTS[sort], "NULL"
    allowed = [*SORTS, "weight_spread", *(f"reward:{n}" for n in names)]
    raise ValueError(f"sort {sort!r} unknown; allowed are {', '.join(allowed)}")


def _conditions(
    where: GroupFilter, names: Sequence[str], params: dict[str, Any]
) -> tuple[str, str]:
    """Conditions on rows, and on groups, as SQL."""
    rows, having = ["run_id = $run"], ["true"]
    for column in ("kind", "split", "prompt_id"):
        if value := getattr(where, column):
            rows.append(f"{column} = ${column}")
            params[column] = value
    if where.step is not None and where.step != "":
        rows.append("step = $at")
        params["at"] = _whole(where.step)
    if where.text:
        having.append(
            "bool_or(contains(lower(completion), $text) OR contains(lower(prompt), $text))"
        )
        params["text"] = where.text.lower()
    if where.where:
        name, op, params["bound"] = comparison(where.where, names)
        column = name
        if name in names:
            column, params["target"] = "rewards[$target]", name
        having.append(f"bool_or({column} {op} $bound AND NOT isnan({column}))")
    return " AND ".join(rows), " AND ".join(f"({h})" for h in having)


def comparison(text: str, names: Sequence[str]) -> tuple[str, str, float]:
    """Read ``preference < 0.3``: name, operator, number.

    Raises:
        BadFilter: the text is no comparison, or names nothing that has a value.
    """
    found = _RANGE.match(text)
    allowed = [*names, "judge", "scalar", "advantage"]
    if found is None:
        raise BadFilter(f"{text!r} is no comparison; write, for example, {allowed[0]} < 0.3")
    if found["name"] not in allowed:
        raise BadFilter(f"{found['name']!r} is unknown; there are {', '.join(allowed)}")
    try:
        return found["name"], found["op"], float(found["value"])
    except ValueError as error:
        raise BadFilter(f"{found['value']!r} is no number") from error


def _whole(step: int | str) -> int:
    try:
        return int(step)
    except ValueError as error:
        raise BadFilter(f"{step!r} is no step") from error
