"""What the pages ask the store: SQL in, DataFrames out, always paged or aggregated by DuckDB.

Names of objectives and every value that a person typed travel as parameters, never inside the SQL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.api.workbench import Workbench
from workbench.types import Floats

PAGE_SIZE = 16
JUDGE = "judge (probe prompts)"
SORTS = {
    "newest": ("newest first", "step DESC, group_id"),
    "spread": ("weight spread", "spread DESC NULLS LAST, step DESC, group_id"),
    "best": ("highest reward", "scalar DESC NULLS LAST, step DESC, group_id"),
    "worst": ("lowest reward", "scalar NULLS LAST, step DESC, group_id"),
    "push": ("largest advantage", "push DESC NULLS LAST, step DESC, group_id"),
    "judge": ("advantage against judge", "agreement NULLS LAST, step DESC, group_id"),
    "flat": ("flattest groups", "push NULLS LAST, step DESC, group_id"),
    "prompt": ("prompt A to Z", "prompt, step DESC, group_id"),
}
_RANGE = re.compile(r"^\s*(?P<name>[^<>=]+?)\s*(?P<op><=|>=|<|>)\s*(?P<value>-?[0-9.eE+-]+)\s*$")


@dataclass(frozen=True)
class Filters:
    """Which groups the list of prompts shows; empty strings mean no filter."""

    text: str = ""
    kind: str = ""
    split: str = "train"
    step: str = ""
    where: str = ""
    sort: str = "newest"
    page: int = 0


class BadFilter(ValueError):
    """A filter that cannot be read; its text says what can."""


def objectives_of(wb: Workbench, run_id: str) -> list[str]:
    """The objectives of a run in their order, from its first logged row; empty before that."""
    frame = wb.sql(
        "SELECT map_keys(rewards) AS names FROM rollouts WHERE run_id = $run LIMIT 1",
        {"run": run_id},
    )
    return list(frame["names"].iloc[0]) if len(frame) else []


def facets(wb: Workbench, run_id: str) -> pd.DataFrame:
    """The splits, kinds and steps of a run that have rows: columns split, kind, first, last, n."""
    return wb.sql(
        "SELECT split, kind, min(step) AS first, max(step) AS last, count(*) AS n "
        "FROM rollouts WHERE run_id = $run GROUP BY ALL ORDER BY ALL",
        {"run": run_id},
    )


def groups(wb: Workbench, run_id: str, names: Sequence[str], filters: Filters) -> pd.DataFrame:
    """One page of groups, and in column ``total`` how many there are in all.

    Columns: step, split, group_id, prompt_id, kind, prompt, n, scalar, push, agreement, judge,
    spread, and ``w0..`` the mean weight per objective in the order of ``names``.

    Raises:
        BadFilter: the reward filter names no objective, or is no comparison.
    """
    params: dict[str, Any] = {"run": run_id, "limit": PAGE_SIZE, "skip": filters.page * PAGE_SIZE}
    having = ["true"]
    where = ["run_id = $run"]
    for column, value in (("kind", filters.kind), ("split", filters.split)):
        if value:
            where.append(f"{column} = ${column}")
            params[column] = value
    if filters.step:
        where.append("step = $at")
        params["at"] = _whole(filters.step)
    if filters.text:
        having.append(
            "bool_or(contains(lower(completion), $text)) "
            "OR contains(lower(any_value(prompt)), $text)"
        )
        params["text"] = filters.text.lower()
    if filters.where:
        name, op, bound = reward_range(filters.where, names)
        column = {"judge": "judge", "scalar": "scalar", "advantage": "advantage"}.get(name)
        if column is None:
            column = "rewards[$target]"
            params["target"] = name
        having.append(f"bool_or({column} {op} $bound AND NOT isnan({column}))")
        params["bound"] = bound
    weights = _per_objective("weights", "w", names, params)
    spread = ", ".join(f"w{i}" for i in range(len(names)))
    order = SORTS.get(filters.sort, SORTS["newest"])[1]
    return wb.sql(
        f"""WITH found AS (
            SELECT step, split, group_id, any_value(prompt_id) AS prompt_id,
                   any_value(kind) AS kind, any_value(prompt) AS prompt, count(*) AS n,
                   avg(scalar) AS scalar, max(abs(advantage)) AS push,
                   covar_pop(advantage, judge) AS agreement, avg(judge) AS judge, {weights}
            FROM rollouts WHERE {" AND ".join(where)}
            GROUP BY step, split, group_id HAVING {" AND ".join(f"({h})" for h in having)})
        SELECT *, greatest({spread}) - least({spread}) AS spread, count(*) OVER () AS total
        FROM found ORDER BY {order} LIMIT $limit OFFSET $skip""",
        params,
    )


def reward_range(text: str, names: Sequence[str]) -> tuple[str, str, float]:
    """Read ``preference < 0.3``.

    Raises:
        BadFilter: the text is no comparison, or names nothing that has a value.
    """
    found = _RANGE.match(text)
    allowed = [*names, "judge", "scalar", "advantage"]
    if found is None:
        raise BadFilter(f"{text!r} is no comparison; write, for example, {names[0]} < 0.3")
    if found["name"] not in allowed:
        raise BadFilter(f"{found['name']!r} is unknown; there are {', '.join(allowed)}")
    try:
        return found["name"], found["op"], float(found["value"])
    except ValueError as error:
        raise BadFilter(f"{found['value']!r} is no number") from error


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise BadFilter(f"{text!r} is no step") from error


def _per_objective(column: str, prefix: str, names: Sequence[str], params: dict[str, Any]) -> str:
    """``avg(column[name])`` for each objective, names as parameters."""
    for i, name in enumerate(names):
        params[f"name{i}"] = name
    return ", ".join(
        f"avg({column}[$name{i}]) FILTER (NOT isnan({column}[$name{i}])) AS {prefix}{i}"
        for i in range(len(names))
    )


def step_rows(wb: Workbench, run_id: str, split: str, step: int) -> pd.DataFrame:
    """Every completion of one step, ordered as the trainer had them: groups, then samples."""
    return wb.sql(
        "SELECT * FROM rollouts WHERE run_id = $run AND split = $split AND step = $step "
        "ORDER BY group_id, sample",
        {"run": run_id, "split": split, "step": step},
    )


def steps_of_prompt(wb: Workbench, run_id: str, prompt_id: str) -> pd.DataFrame:
    """When a prompt was sampled: columns split, step, in order."""
    return wb.sql(
        "SELECT DISTINCT split, step FROM rollouts WHERE run_id = $run AND prompt_id = $prompt "
        "ORDER BY split, step",
        {"run": run_id, "prompt": prompt_id},
    )


def weights_over_steps(
    wb: Workbench, run_id: str, column: str, value: str, since: int = -1
) -> pd.DataFrame:
    """Mean weights per step: columns step, kind, objective, weight.

    Args:
        wb: where to ask.
        run_id: whose rows.
        column: ``prompt_id``, ``kind`` or ``split``: what ``value`` selects by.
        value: the prompt, kind or split.
        since: only steps after this one.
    """
    if column not in ("prompt_id", "kind", "split"):
        raise ValueError(f"column {column!r}; allowed are prompt_id, kind, split")
    # a policy, where there is one, is what the Conductor believes; weights add the drawn emphasis
    return wb.sql(
        f"""SELECT step, kind, entry.key AS objective, avg(entry.value) AS weight
        FROM (SELECT step, kind, unnest(map_entries(coalesce(policy, weights))) AS entry
              FROM rollouts WHERE run_id = $run AND {column} = $value AND step > $since)
        GROUP BY ALL ORDER BY step, kind""",
        {"run": run_id, "value": value, "since": since},
    )


def map_points(
    wb: Workbench, run_id: str, names: Sequence[str], split: str, limit: int = 1500
) -> pd.DataFrame:
    """Mean weights of each prompt where it was seen last: prompt_id, step, kind, prompt, names."""
    params: dict[str, Any] = {"run": run_id, "split": split, "limit": limit}
    frame = wb.sql(
        f"""SELECT prompt_id, step, any_value(kind) AS kind, any_value(prompt) AS prompt,
                   {_per_objective("coalesce(policy, weights)", "w", names, params)}
        FROM rollouts WHERE run_id = $run AND split = $split GROUP BY prompt_id, step
        QUALIFY row_number() OVER (PARTITION BY prompt_id ORDER BY step DESC) = 1
        ORDER BY step DESC, prompt_id LIMIT $limit""",
        params,
    )
    return frame.rename(columns={f"w{i}": name for i, name in enumerate(names)})


def reward_curves(
    wb: Workbench, run_id: str, since: int = -1, split: str = "train"
) -> pd.DataFrame:
    """Mean raw reward per objective and step: columns step, name, value."""
    return wb.sql(
        """SELECT step, entry.key AS name, avg(entry.value) AS value
        FROM (SELECT step, unnest(map_entries(rewards)) AS entry FROM rollouts
              WHERE run_id = $run AND split = $split AND step > $since)
        WHERE NOT isnan(entry.value) GROUP BY ALL ORDER BY step""",
        {"run": run_id, "since": since, "split": split},
    )


def judge_curve(wb: Workbench, run_id: str, since: int = -1) -> pd.DataFrame:
    """Mean judge of the probe prompts where it was asked: columns step, name, value."""
    return wb.sql(
        "SELECT step, $name AS name, avg(judge) AS value FROM rollouts WHERE run_id = $run "
        "AND split = 'probe' AND judge IS NOT NULL AND step > $since GROUP BY step ORDER BY step",
        {"run": run_id, "since": since, "name": JUDGE},
    )


def step_health(wb: Workbench, run_id: str, since: int = -1) -> pd.DataFrame:
    """Per training step: share of flat groups, truncated share, tokens, KL, normalised entropy.

    A group that a scalarizer holds back whole (mask 0) has something to teach: it is not flat.
    """
    return wb.sql(
        """WITH rows AS (
            SELECT step, group_id, advantage, coalesce(mask, 1) AS mask, truncated, num_tokens, kl,
                   list_sum(list_transform(map_values(coalesce(policy, weights)),
                       lambda p: CASE WHEN p <> 0 THEN -abs(p) * ln(abs(p)) ELSE 0 END))
                   / nullif(ln(cardinality(weights)), 0) AS entropy
            FROM rollouts WHERE run_id = $run AND split = 'train' AND step > $since),
        groups AS (SELECT step, group_id, max(abs(advantage)) AS push, max(mask) AS kept
                   FROM rows GROUP BY ALL),
        flat AS (SELECT step, avg((push < 1e-6 AND kept > 0)::DOUBLE) AS flat_groups
                 FROM groups GROUP BY step)
        SELECT step, flat_groups, avg(truncated::DOUBLE) AS truncated, avg(num_tokens) AS tokens,
               avg(kl) AS kl, avg(entropy) AS entropy
        FROM rows JOIN flat USING (step) GROUP BY step, flat_groups ORDER BY step""",
        {"run": run_id, "since": since},
    )


def matrix(maps: Sequence[Mapping[str, float] | None], names: Sequence[str]) -> Floats:
    """N maps as an (N, K) array; what is missing is NaN."""
    return np.array(
        [[float((m or {}).get(name, np.nan)) for name in names] for m in maps], dtype=float
    ).reshape(len(maps), len(names))
