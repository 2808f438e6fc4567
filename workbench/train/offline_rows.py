"""Rows to learn from: logged rollouts, votes or a file, each with one scalar reward.

Nothing here holds a model. A frame has one row per response and these columns:

    prompt          text as the policy saw it, or chat messages (files only)
    prompt_id       identity of the prompt within its task
    kind            kind of prompt
    response        text
    reward          the one number that is learned from; NaN where there is none
    origin          run id, or name of the file
    step            policy updates before it was sampled; -1 in a file
    truncated       it hit the length limit, so that no end token follows
    prompt_token_ids    as sampled from, None where they were not logged
    token_ids       as generated, None in a file
    behaviour_logp  log-probability when sampled, summed, nats; NaN where unknown
    reference_logp  the same under the run's frozen reference
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from workbench.config import RunConfig
from workbench.config.offline import OfflineConfig, RewardConfig, SourceConfig
from workbench.tasks.offline_file import file_rows
from workbench.train.saved_conductor import Guide
from workbench.train.votes import Sql, people_scores
from workbench.types import Floats

COLUMNS = (
    "prompt",
    "prompt_id",
    "kind",
    "response",
    "reward",
    "origin",
    "step",
    "truncated",
    "prompt_token_ids",
    "token_ids",
    "behaviour_logp",
    "reference_logp",
)


class RowsError(ValueError):
    """The rows cannot be learned from; the text says which and what is allowed."""


def load_rows(
    config: OfflineConfig, runs: Mapping[str, RunConfig], sql: Sql, guide: Guide | None = None
) -> pd.DataFrame:
    """Every row that the configuration asks for, with its reward, before any rule.

    Args:
        config: The offline run.
        runs: Configuration of each source run by run id; for votes without runs, of all runs.
        sql: Reads the store; unused for a file.
        guide: The Conductor of ``offline.reward.conductor``, when that is set.

    Raises:
        RowsError: When no row is left or the reward cannot be computed.
    """
    if config.source.path is not None:
        frame = file_rows(config.source.path, config.source.columns)
    elif config.signal == "votes":
        frame = _run_rows(config, runs, sql, _votes(config, runs, sql))
    else:
        frame = _run_rows(config, runs, sql, None, guide)
    if config.source.kinds:
        known = sorted(frame["kind"].unique())
        unknown = sorted(set(config.source.kinds) - set(known))
        if unknown:
            raise RowsError(f"offline.source.kinds: {unknown} unknown; these rows have {known}")
        frame = frame[frame["kind"].isin(config.source.kinds)]
    if frame.empty:
        raise RowsError(_nothing(config))
    return frame.reset_index(drop=True)[list(COLUMNS)]


def draw(frame: pd.DataFrame, source: SourceConfig, seed: int) -> pd.DataFrame:
    """At most ``rows_per_prompt`` rows of each prompt and ``limit`` in all, by the run's seed."""
    rng = np.random.default_rng([seed, 1])
    if source.rows_per_prompt is not None:
        shuffled = frame.iloc[rng.permutation(len(frame))]
        place = shuffled.groupby(prompt_keys(shuffled)).cumcount()
        frame = shuffled[place.to_numpy() < source.rows_per_prompt].sort_index()
    if source.limit is not None and source.limit < len(frame):
        frame = frame.iloc[np.sort(rng.permutation(len(frame))[: source.limit])]
    return frame.reset_index(drop=True)


def prompt_keys(frame: pd.DataFrame) -> np.ndarray:
    """(N,) what makes two rows share a prompt: its text, or its messages."""
    return np.array([p if isinstance(p, str) else repr(p) for p in frame["prompt"]], dtype=object)


def standardized(values: Floats) -> Floats:
    """Mean 0, deviation 1 (population) over the finite values; constant values become 0."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return values
    deviation = float(finite.std())
    if deviation <= 1e-12 * max(1.0, float(np.abs(finite).max())):  # float noise is no signal
        return np.where(np.isfinite(values), 0.0, values)
    return np.asarray((values - finite.mean()) / deviation)


def weighted(
    rewards: Floats, names: Sequence[str], kinds: Sequence[str], config: RewardConfig
) -> Floats:
    """(N,) fixed weighting of (N, K) objectives, NaN left out of the sum as everywhere.

    Args:
        rewards: Raw rewards with their signs applied.
        names: K names.
        kinds: N kinds, for ``by_kind``.
        config: Weights, and whether objectives are standardised over the rows first.

    Raises:
        RowsError: When a weight names no logged objective, or all weights are 0.
    """
    tables = [config.weights, *config.by_kind.values()]
    unknown = sorted({name for table in tables for name in table} - set(names))
    if unknown:
        raise RowsError(f"offline.reward.weights: {unknown} unknown; these rows have {list(names)}")
    if config.standardize_objectives:
        columns = [standardized(rewards[:, k]) for k in range(len(names))]
        rewards = np.stack(columns, axis=1)
    default = _weights(config.weights, names)
    by_kind = {k: _weights(w, names) for k, w in config.by_kind.items()}
    if config.weighting == "static":
        by_kind = {}
    weights = np.array([by_kind.get(kind, default) for kind in kinds]).reshape(-1, len(names))
    return weighted_sum(weights, rewards)


def weighted_sum(weights: Floats, rewards: Floats) -> Floats:
    """(N,) sum over objectives of weight times reward; NaN only where no objective applies."""
    sums: Floats = np.nansum(weights * rewards, axis=1)
    sums[np.isnan(rewards).all(axis=1)] = np.nan
    return sums


def _weights(table: Mapping[str, float], names: Sequence[str]) -> list[float]:
    if not table:
        return [1.0 / len(names)] * len(names)
    row = [float(table.get(name, 0.0)) for name in names]
    if not any(row):
        raise RowsError(
            f"offline.reward.weights: {dict(table)} are all 0; nothing would be learned"
        )
    return row


def _run_rows(
    config: OfflineConfig,
    runs: Mapping[str, RunConfig],
    sql: Sql,
    votes: pd.DataFrame | None,
    guide: Guide | None = None,
) -> pd.DataFrame:
    """Rollouts of the source runs; with ``votes``, those alone that people said something of."""
    frames = []
    for run_id, run in runs.items():
        names = run.objective_names
        rows = sql(_rollout_query(names, config), {"run": run_id, **_bounds(config)})
        if votes is not None:
            rows = rows.drop(columns=["reward"], errors="ignore").merge(
                votes[votes["run_id"] == run_id].drop(columns=["run_id"]),
                on=["split", "step", "group_id", "sample"],
            )
        elif config.signal == "judge":
            rows["reward"] = rows["judge"].astype(float)
        else:
            given = None if guide is None else guide.weights(rows, run_id, names)
            rows["reward"] = _objective_reward(rows, run, config.reward, given)
        rows["origin"] = run_id
        frames.append(rows.drop(columns=[c for c in rows if c[:2] in ("r:", "s:", "w:", "p:")]))
    frame = pd.concat(frames, ignore_index=True).rename(columns={"completion": "response"})
    frame["truncated"] = frame["truncated"].fillna(False).astype(bool)
    for column in ("behaviour_logp", "reference_logp"):
        frame[column] = frame[column].astype(float)
    return frame


def _rollout_query(names: Sequence[str], config: OfflineConfig) -> str:
    maps = {"r": "rewards", "s": "scaled", "w": "weights", "p": "policy"}
    cells = [f"""{maps[c]}['{name}'] AS "{c}:{name}" """ for c in maps for name in names]
    splits = ", ".join(f"'{s}'" for s in config.source.splits)
    return (
        "SELECT split, step, group_id, sample, kind, prompt_id, prompt, completion, truncated, "
        f"prompt_token_ids, token_ids, behaviour_logp, reference_logp, judge, {', '.join(cells)} "
        f"FROM rollouts WHERE run_id = $run AND split IN ({splits}) "
        "AND step BETWEEN $first AND $last "
        "ORDER BY split, step, group_id, sample"
    )


def _bounds(config: OfflineConfig) -> dict[str, int]:
    first, last = config.source.first_step, config.source.last_step
    return {"first": first or 0, "last": 2**31 - 1 if last is None else last}


def _matrix(rows: pd.DataFrame, letter: str, names: Sequence[str]) -> Floats:
    return rows[[f"{letter}:{name}" for name in names]].to_numpy(dtype=np.float64)


def _objective_reward(
    rows: pd.DataFrame, run: RunConfig, config: RewardConfig, given: Floats | None
) -> Floats:
    """(N,) the weighting of one run's logged objectives that the configuration asks for.

    ``given`` (N, K) are the weights of another Conductor; NaN where they are not known.
    """
    names = run.objective_names
    signs = np.array([o.sign for o in run.objectives], dtype=np.float64)
    raw = _matrix(rows, "r", names) * signs
    if config.weighting in ("static", "by_kind"):
        return weighted(raw, names, rows["kind"], config)
    logged = _matrix(rows, "s", names)
    rewards = np.where(np.isnan(logged).all(axis=1)[:, None], raw, logged)
    if config.weighting == "logged":
        return weighted_sum(_matrix(rows, "w", names), rewards)
    if given is not None:
        return np.where(np.isnan(given).any(axis=1), np.nan, weighted_sum(given, rewards))
    policy = rows[["group_id"]].join(pd.DataFrame(_matrix(rows, "p", names), index=rows.index))
    if policy[0].isna().all():
        raise RowsError(
            f"offline.reward.weighting: 'conductor', but run {run.name!r} logged no Conductor's "
            "distribution; 'logged', 'static' and 'by_kind' work for any run"
        )
    weights = policy.groupby("group_id").transform("mean").to_numpy(dtype=np.float64)
    return weighted_sum(weights, rewards)


def _votes(config: OfflineConfig, runs: Mapping[str, RunConfig], sql: Sql) -> pd.DataFrame:
    """Reward in [0, 1] of every row that people said something of; see ``people_scores``."""
    votes = people_scores(sql, list(runs), config.source.raters)
    if votes.empty:
        raise RowsError(
            "offline.reward.signal: 'votes', but there is no rating or vote on these runs"
            + (f" among raters {list(config.source.raters)}" if config.source.raters else "")
            + "; the Rate page collects votes"
        )
    return votes.rename(columns={"score": "reward"})


def _nothing(config: OfflineConfig) -> str:
    source = config.source
    if source.path is not None:
        return f"offline.source.path: {source.path!r} has no rows"
    asked = f"runs {list(source.runs)}, splits {list(source.splits)}"
    if source.first_step is not None or source.last_step is not None:
        asked += f", steps {source.first_step or 0} to {source.last_step or 'the last'}"
    return f"offline.source: no rows in {asked}"
