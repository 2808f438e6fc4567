"""The list of prompts on Inspect: groups of one run, filtered, sorted and paged in one query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SORTS: dict[str, str] = {
    "step": "step",
    "kind": "kind",
    "prompt": "prompt",
    "scalar": "scalar",
    "judge": "judge",
    "advantage": "advantage",
    "weight_spread": "weight_spread",
    "disagreement": "disagreement",
}
"""Sort names and the columns behind them; ``reward:OBJECTIVE`` sorts by a mean raw reward."""


@dataclass(frozen=True)
class GroupFilter:
    """Which groups to show. None means any.

    ``text`` is looked for in prompts and completions, upper and lower case alike. ``rewards`` maps
    an objective to an inclusive range of its mean raw reward in the group. ``steps`` is inclusive.
    """

    kind: str | None = None
    split: str | None = None
    steps: tuple[int, int] | None = None
    text: str | None = None
    prompt_id: str | None = None
    rewards: tuple[tuple[str, float, float], ...] = ()


def page_sql(
    run_id: str, where: GroupFilter, sort: str, descending: bool, offset: int, limit: int
) -> tuple[str, dict[str, Any]]:
    """The query of one page, and its parameters.

    Columns: group_id, step, split, kind, prompt_id, prompt, completions, scalar (mean), advantage
    (largest by size), judge (mean), weight_spread (mean over rows of largest minus smallest
    weight), disagreement (1 minus the correlation of advantage and judge), reward (mean; NULL
    unless sorted by it), total, weights (mean by objective).

    Raises:
        ValueError: ``sort`` is unknown, or an offset or limit is negative.
    """
    if offset < 0 or limit < 0:
        raise ValueError(f"offset {offset} and limit {limit} cannot be negative")
    params: dict[str, Any] = {"run": run_id, "offset": offset, "limit": limit}
    rows = ["run_id = $run"]
    for column, value in (
        ("kind", where.kind),
        ("split", where.split),
        ("prompt_id", where.prompt_id),
    ):
        if value is not None:
            rows.append(f"{column} = ${column}")
            params[column] = value
    if where.steps is not None:
        rows.append("step BETWEEN $first AND $last")
        params["first"], params["last"] = where.steps
    groups = []
    if where.text:
        groups.append(
            "bool_or(contains(lower(completion), $text) OR contains(lower(prompt), $text))"
        )
        params["text"] = where.text.lower()
    for i, (objective, low, high) in enumerate(where.rewards):
        groups.append(f"avg(rewards[$objective{i}]) BETWEEN $low{i} AND $high{i}")
        params |= {f"objective{i}": objective, f"low{i}": low, f"high{i}": high}
    if sort.startswith("reward:"):
        key, wanted = "reward", "avg(rewards[$sorted])"
        params["sorted"] = sort.removeprefix("reward:")
    elif sort in SORTS:
        key, wanted = SORTS[sort], "NULL"
    else:
        raise ValueError(f"sort {sort!r} unknown; allowed are {sorted(SORTS)} and reward:OBJECTIVE")
    having = f"HAVING {' AND '.join(groups)}" if groups else ""
    direction = "DESC" if descending else "ASC"
    # Two stages: keys for all groups first, the mean weights only for the groups on the page.
    sql = f"""
    WITH rows AS (SELECT * FROM rollouts WHERE {" AND ".join(rows)}),
    found AS (
        SELECT group_id, any_value(step) AS step, any_value(split) AS split,
            any_value(kind) AS kind, any_value(prompt_id) AS prompt_id,
            any_value(prompt) AS prompt, count(*) AS completions, avg(scalar) AS scalar,
            arg_max(advantage, abs(advantage)) AS advantage, avg(judge) AS judge,
            avg(list_max(map_values(weights)) - list_min(map_values(weights))) AS weight_spread,
            1 - nullif(corr(advantage, judge), 'nan'::DOUBLE) AS disagreement, {wanted} AS reward
        FROM rows GROUP BY group_id {having}
    ),
    page AS (
        SELECT *, count(*) OVER () AS total FROM found
        ORDER BY {key} {direction} NULLS LAST, step DESC, group_id
        LIMIT $limit OFFSET $offset
    ),
    means AS (
        SELECT group_id, map_from_entries(list({{'k': name, 'v': weight}} ORDER BY name)) AS weights
        FROM (
            SELECT group_id, name, avg(weight) AS weight
            FROM (
                SELECT group_id, unnest(map_keys(weights)) AS name,
                    unnest(map_values(weights)) AS weight
                FROM rows WHERE group_id IN (SELECT group_id FROM page)
            ) GROUP BY group_id, name
        ) GROUP BY group_id
    )
    SELECT page.*, means.weights FROM page LEFT JOIN means USING (group_id)
    ORDER BY {key} {direction} NULLS LAST, step DESC, group_id"""
    return sql, params
