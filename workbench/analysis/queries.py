"""What pages, notebooks and commands ask about runs: SQL in here, tidy DataFrames out.

Everything takes the ``Store`` and ids of runs, one or several; rows of several runs stand under
each other, told apart by ``run_id``. Names of objectives and whatever a person typed travel as
parameters, never inside the SQL. NaN and NULL take no part in means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workbench.core import diagnostics
from workbench.runs.rundir import read_config
from workbench.store.reader import Store
from workbench.types import Floats

if TYPE_CHECKING:
    from workbench.config import RunConfig

Runs = str | Sequence[str]
SPLITS = ("train", "probe")
JUDGE = "judge (probe prompts)"
WEIGHTS_BY = ("step", "kind", "prompt_id", "group_id")
HEALTH = ["step", "flat_groups", "truncated", "tokens", "kl", "entropy"]
STEPS_AT_ONCE = 2000
"""Steps whose rows are in memory at a time."""
BELIEVED = "coalesce(policy, weights)"
"""What a Conductor believes, where there is one; the weights used add the drawn emphasis."""


def plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a query; a number taken out of a DataFrame becomes one of Python's."""
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in params.items()}


def of_runs(runs: Runs) -> tuple[str, dict[str, Any]]:
    """A condition on ``run_id`` and its parameters."""
    ids = [runs] if isinstance(runs, str) else list(runs)
    params = {f"run{i}": str(run_id) for i, run_id in enumerate(ids)}
    return f"run_id IN ({', '.join(f'${key}' for key in params)})", params


def select(
    store: Store,
    view: str,
    runs: Runs,
    where: Mapping[str, Any],
    order: str,
    limit: int | None = None,
    columns: str = "*",
) -> pd.DataFrame:
    """Rows of a view; conditions that are None do not count."""
    given = plain({k: v for k, v in where.items() if v is not None})
    filters = "".join(f" AND {name} = ${name}" for name in given)
    mine, params = of_runs(runs)
    cut = "" if limit is None else f" LIMIT {int(limit)}"
    frame = store.sql(
        f"SELECT {columns} FROM {view} WHERE {mine}{filters} ORDER BY {order}{cut}", params | given
    )
    if frame.empty:
        known(store, runs, kind=where.get("kind"), split=where.get("split"))
        if where.get("step") is not None:
            _known_step(store, view, runs, where["step"])
    return frame


def _known_step(store: Store, view: str, runs: Runs, step: int) -> None:
    """Refuse a step that the runs do not have; called where nothing was found."""
    mine, params = of_runs(runs)
    found = store.sql(
        f"SELECT min(step) AS first, max(step) AS last, bool_or(step = $step) AS there "
        f"FROM {view} WHERE {mine}",
        params | plain({"step": step}),
    ).iloc[0]
    if not pd.isna(found["first"]) and not found["there"]:
        raise ValueError(
            f"step {step} unknown; steps with rows lie from {found['first']} to {found['last']}"
        )


def known(store: Store, runs: Runs, kind: str | None = None, split: str | None = None) -> None:
    """Refuse a kind or split that the runs do not have; called where nothing was found.

    Raises:
        ValueError: with what there is.
    """
    if not kind and not split:
        return
    mine, params = of_runs(runs)
    found = store.sql(f"SELECT DISTINCT split, kind FROM rollouts WHERE {mine}", params)
    splits = sorted({*SPLITS, *found["split"].dropna()})
    kinds = sorted(found["kind"].dropna().unique())
    if split and split not in splits:
        raise ValueError(f"split {split!r} unknown; there are {', '.join(splits)}")
    if kind and len(found) and kind not in kinds:
        raise ValueError(f"kind {kind!r} unknown; there are {', '.join(kinds) or 'none'}")


def objectives(store: Store, run_id: str) -> list[str]:
    """The objectives of a run in their order: as configured, else every one in its rows."""
    found = store.sql(
        "SELECT unnest(objectives) AS name FROM runs WHERE run_id = $run", {"run": run_id}
    )
    if len(found):
        return [str(name) for name in found["name"]]
    keys = store.sql(
        "SELECT name FROM (SELECT unnest(map_keys(rewards)) AS name, step FROM rollouts "
        "WHERE run_id = $run) GROUP BY name ORDER BY min(step), name",
        {"run": run_id},
    )
    return keys["name"].tolist()


def facets(store: Store, run_id: str) -> pd.DataFrame:
    """The splits, kinds and steps of a run that have rows: columns split, kind, first, last, n."""
    return store.sql(
        "SELECT split, kind, min(step) AS first, max(step) AS last, count(*) AS n "
        "FROM rollouts WHERE run_id = $run GROUP BY ALL ORDER BY ALL",
        {"run": run_id},
    )


def rollouts(
    store: Store,
    runs: Runs,
    *,
    split: str | None = None,
    kind: str | None = None,
    step: int | None = None,
    prompt_id: str | None = None,
    group_id: str | None = None,
    limit: int | None = None,
    tokens: bool = True,
) -> pd.DataFrame:
    """Logged completions, one row each, in the order they were sampled.

    Args:
        store: where to ask.
        runs: whose.
        split: ``"train"`` or ``"probe"``.
        kind: kind of prompt.
        step: policy step.
        prompt_id: one prompt.
        group_id: one group.
        limit: at most so many rows.
        tokens: False leaves out ids and entropies of tokens, which are most of what is read.

    Raises:
        ValueError: the split or kind is unknown.
    """
    where = {
        "split": split, "kind": kind, "step": step, "prompt_id": prompt_id, "group_id": group_id,
    }  # fmt: skip
    columns = "*" if tokens else "* EXCLUDE (token_ids, prompt_token_ids, token_entropies)"
    order = "run_id, step, split, group_id, sample"
    return select(store, "rollouts", runs, where, order, limit, columns)


def group(store: Store, run_id: str, prompt_id: str, *, step: int | None = None) -> pd.DataFrame:
    """The completions of one prompt at one step, the newest one where none is given.

    Raises:
        ValueError: the prompt was not sampled there.
    """
    rows = pd.DataFrame()
    if prompt_id is not None:
        rows = rollouts(store, run_id, prompt_id=prompt_id, step=step)
    if rows.empty:
        at = "" if step is None else f" at step {step}"
        raise ValueError(f"no completions of prompt {prompt_id!r}{at}")
    return rows[rows["group_id"] == rows["group_id"].iloc[-1]].reset_index(drop=True)


def steps_of_prompt(store: Store, run_id: str, prompt_id: str) -> pd.DataFrame:
    """When a prompt was sampled: columns split, step, in order."""
    return store.sql(
        "SELECT DISTINCT split, step FROM rollouts WHERE run_id = $run AND prompt_id = $prompt "
        "ORDER BY split, step",
        {"run": run_id, "prompt": prompt_id},
    )


def weights(
    store: Store,
    runs: Runs,
    *,
    by: Sequence[str] = ("step", "kind"),
    split: str | None = "train",
    prompt_id: str | None = None,
) -> pd.DataFrame:
    """Mean weight, Conductor's probability and reward per objective.

    Args:
        store: where to ask.
        runs: whose rows.
        by: what to average within: any of step, kind, prompt_id, group_id.
        split: ``"train"`` or ``"probe"``; None: both.
        prompt_id: only this prompt.

    Returns:
        Columns run_id, those of ``by``, objective, weight, probability, reward, rows.

    Raises:
        ValueError: ``by`` or ``split`` is unknown.
    """
    wrong = [name for name in by if name not in WEIGHTS_BY]
    if wrong:
        raise ValueError(f"by: {wrong} not allowed; allowed are {', '.join(WEIGHTS_BY)}")
    keys = ", ".join(["run_id", *by, "objective"])
    mine, params = of_runs(runs)
    for column, value in (("split", split), ("prompt_id", prompt_id)):
        if value is not None:
            mine, params[column] = f"{mine} AND {column} = ${column}", value
    means = ", ".join(
        f"avg(nullif({name}, 'NaN')) AS {name}" for name in ("weight", "probability", "reward")
    )
    frame = store.sql(
        f"SELECT {keys}, {means}, count(*) AS rows FROM rollout_objectives WHERE {mine} "
        f"GROUP BY {keys} ORDER BY {keys}",
        params,
    )
    if frame.empty:
        known(store, runs, split=split)
    return frame


def weights_over_steps(
    store: Store, run_id: str, column: str, value: str, since: int = -1
) -> pd.DataFrame:
    """Mean weights (``BELIEVED``) per step: columns step, kind, objective, weight.

    Args:
        store: where to ask.
        run_id: whose rows.
        column: ``prompt_id``, ``kind`` or ``split``: what ``value`` selects by.
        value: the prompt, kind or split.
        since: only steps after this one.
    """
    if column not in ("prompt_id", "kind", "split"):
        raise ValueError(f"column {column!r}; allowed are prompt_id, kind, split")
    return store.sql(
        f"""SELECT step, kind, entry.key AS objective, avg(nullif(entry.value, 'NaN')) AS weight
        FROM (SELECT step, kind, unnest(map_entries({BELIEVED})) AS entry
              FROM rollouts WHERE run_id = $run AND {column} = $value AND step > $since)
        GROUP BY ALL ORDER BY step, kind""",
        {"run": run_id, "value": value, "since": since},
    )


def weight_map(
    store: Store, run_id: str, split: str = "train", limit: int | None = None
) -> pd.DataFrame:
    """Mean weights (``BELIEVED``) of each prompt where it was seen last, newest first.

    Columns prompt_id, step, kind, prompt and one per objective.
    """
    names = objectives(store, run_id)
    params = {"run": run_id, "split": split} | {f"name{i}": n for i, n in enumerate(names)}
    means = "".join(
        f", avg(nullif({BELIEVED}[$name{i}], 'NaN')) AS w{i}" for i in range(len(names))
    )
    frame = store.sql(
        f"""SELECT prompt_id, step, any_value(kind) AS kind, any_value(prompt) AS prompt{means}
        FROM rollouts WHERE run_id = $run AND split = $split GROUP BY prompt_id, step
        QUALIFY row_number() OVER (PARTITION BY prompt_id ORDER BY step DESC) = 1
        ORDER BY step DESC, prompt_id {"" if limit is None else f"LIMIT {int(limit)}"}""",
        params,
    )
    return frame.rename(columns={f"w{i}": name for i, name in enumerate(names)})


def last_weights(store: Store, run_id: str, *, split: str = "train") -> pd.DataFrame:
    """Every prompt where it was seen last, one column of mean weight per objective.

    A Conductor's own distribution where there is one, else the weights used. Columns prompt_id,
    step, kind, prompt and the objectives.

    Raises:
        ValueError: the run has no such completions.
    """
    frame = weight_map(store, run_id, split)
    if frame.empty:
        known(store, run_id, split=split)
        raise ValueError(f"there are no {split} completions yet")
    return frame


def curves(
    store: Store, runs: Runs, names: Runs | None = None, *, split: str | None = None
) -> pd.DataFrame:
    """Everything measured over training: run_id, step, split, name, value.

    Raises:
        ValueError: the runs have metrics, and none of that name.
    """
    frame = select(store, "metrics", runs, {"split": split}, "run_id, split, name, step")
    frame = frame[["run_id", "step", "split", "name", "value"]]
    if names is None:
        return frame
    wanted = [names] if isinstance(names, str) else list(names)
    there = sorted(frame["name"].unique())
    unknown = [name for name in wanted if name not in there]
    if unknown and there:
        raise ValueError(f"curves {unknown} unknown; there are {', '.join(there)}")
    return frame[frame["name"].isin(wanted)].reset_index(drop=True)


def prompts(
    store: Store, runs: Runs, *, split: str | None = None, kind: str | None = None
) -> pd.DataFrame:
    """Each prompt once, with how often and when it was sampled."""
    where = {"split": split, "kind": kind}
    return select(store, "prompts", runs, where, "run_id, split, prompt_id")


def conductor_updates(store: Store, runs: Runs) -> pd.DataFrame:
    """One row an update of the Conductor."""
    return select(store, "conductor_updates", runs, {}, "run_id, step")


def evaluations(store: Store, runs: Runs, *, phase: str | None = None) -> pd.DataFrame:
    """Held-out completions, one row each; ``phase`` is before, after or a later one's name."""
    order = "run_id, step, phase, kind, prompt_id, sample"
    return select(store, "evaluations", runs, {"phase": phase}, order)


def checkpoints(store: Store, runs: Runs) -> pd.DataFrame:
    """Checkpoints that were saved; ``removed`` where retention has deleted them."""
    return select(store, "checkpoints", runs, {}, "run_id, step")


def warnings(store: Store, runs: Runs) -> pd.DataFrame:
    """What the diagnostics had to say, with what to try."""
    return select(store, "warnings", runs, {}, "run_id, step")


def annotations(store: Store, runs: Runs) -> pd.DataFrame:
    """Votes, ratings, tags and notes of people."""
    return select(store, "annotations", runs, {}, "run_id, time")


def reward_curves(store: Store, run_id: str, since: int = -1, split: str = "train") -> pd.DataFrame:
    """Mean raw reward per objective and step: columns step, name, value."""
    return store.sql(
        """SELECT step, entry.key AS name, avg(entry.value) AS value
        FROM (SELECT step, unnest(map_entries(rewards)) AS entry FROM rollouts
              WHERE run_id = $run AND split = $split AND step > $since)
        WHERE NOT isnan(entry.value) GROUP BY ALL ORDER BY step""",
        {"run": run_id, "since": since, "split": split},
    )


def judge_curve(store: Store, run_id: str, since: int = -1) -> pd.DataFrame:
    """Mean judge of the probe prompts where it was asked: columns step, name, value."""
    return store.sql(
        "SELECT step, $name AS name, avg(judge) AS value FROM rollouts WHERE run_id = $run "
        "AND split = 'probe' AND NOT isnan(judge) AND step > $since GROUP BY step ORDER BY step",
        {"run": run_id, "since": since, "name": JUDGE},
    )


def step_health(store: Store, run_id: str, since: int = -1) -> pd.DataFrame:
    """Per training step: share of flat groups, truncated share, tokens, KL, emphasis entropy.

    ``flat_groups`` and ``entropy`` are those of ``core.diagnostics``.
    """
    names = objectives(store, run_id)
    config = config_of(store, run_id)
    aggregation = "sum_then_normalize" if config is None else config.aggregation
    found = store.sql(
        "SELECT max(step) AS last FROM rollouts WHERE run_id = $run AND split = 'train'",
        {"run": run_id},
    )
    last = -1 if found["last"].isna().all() else int(found["last"].iloc[0])
    parts = [
        _health(store, run_id, names, aggregation, first, min(first + STEPS_AT_ONCE, last))
        for first in range(since, last, STEPS_AT_ONCE)
    ]
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=HEALTH)


def _health(
    store: Store, run_id: str, names: Sequence[str], aggregation: str, after: int, until: int
) -> pd.DataFrame:
    """The health of the steps behind ``after``, up to ``until``."""
    params = {"run": run_id, "after": after, "until": until}
    params |= {f"name{i}": name for i, name in enumerate(names)}
    columns = {"r": "coalesce(scaled, rewards)", "w": "weights", "b": BELIEVED}
    values = "".join(
        f", {sql}[$name{i}] AS {prefix}{i}"
        for prefix, sql in columns.items()
        for i in range(len(names))
    )
    frame = store.sql(
        "SELECT step, group_id, truncated::DOUBLE AS truncated, num_tokens AS tokens, "
        f"nullif(kl, 'NaN') AS kl{values} FROM rollouts WHERE run_id = $run AND split = 'train' "
        "AND step > $after AND step <= $until ORDER BY step",
        params,
    )
    if frame.empty:
        return frame
    rewards, used, believed = (
        frame[[f"{prefix}{i}" for i in range(len(names))]].to_numpy(dtype=float, na_value=np.nan)
        for prefix in columns
    )
    index, groups = pd.factorize(pd.MultiIndex.from_frame(frame[["step", "group_id"]]))
    codes = diagnostics.degenerate_groups(rewards, used, index, aggregation)
    frame["entropy"] = diagnostics.emphasis_entropy(believed)
    means = frame.groupby("step")[["truncated", "tokens", "kl", "entropy"]].mean()
    flat = pd.Series(codes > 0, dtype=float).groupby(groups.get_level_values(0)).mean()
    return means.assign(flat_groups=flat).reset_index()[HEALTH]


def config_of(store: Store, run_id: str) -> RunConfig | None:
    """A run's configuration; None where it has no directory here."""
    path = store.runs_dir / run_id
    return read_config(path) if (path / "config.yaml").exists() else None


def matrix(maps: Sequence[Mapping[str, float] | None], names: Sequence[str]) -> Floats:
    """N maps as an (N, K) array; what is missing is NaN."""
    rows = [dict(m) if isinstance(m, Mapping) else {} for m in maps]
    return np.array(
        [[row.get(name, np.nan) for name in names] for row in rows], dtype=float
    ).reshape(len(rows), len(names))
