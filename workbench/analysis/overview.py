"""What lists and charts over many runs ask: scores, metrics, evaluations, tags, drift."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from workbench.analysis.queries import BELIEVED, JUDGE
from workbench.store.reader import Store

ENDS = 0.2
"""Share of a run's steps at its beginning and at its end that drift compares."""


def held_out(store: Store) -> pd.DataFrame:
    """The judge on held-out prompts, before and after training (``held``): indexed by run_id."""
    return store.sql(
        "SELECT run_id, avg(judge) FILTER (phase = 'before') AS before, "
        "avg(judge) FILTER (phase = 'after') AS held FROM evaluations "
        "WHERE split = 'report' AND NOT isnan(judge) GROUP BY run_id"
    ).set_index("run_id")


def held_out_prompts(store: Store, run_id: str) -> pd.DataFrame:
    """Held-out prompts of a run that were judged before and after: kind, prompt_id, the means."""
    return store.sql(
        """SELECT kind, prompt_id, avg(judge) FILTER (phase = 'before') AS before,
                  avg(judge) FILTER (phase = 'after') AS after
        FROM evaluations WHERE run_id = $run AND split = 'report' AND NOT isnan(judge)
        GROUP BY kind, prompt_id""",
        {"run": run_id},
    ).dropna()


def late_weights(store: Store, run_id: str) -> pd.DataFrame:
    """Mean weights (``BELIEVED``) of the last fifth of the training: kind, objective, weight."""
    return store.sql(
        f"""SELECT kind, entry.key AS objective, avg(nullif(entry.value, 'NaN')) AS weight
        FROM (SELECT kind, unnest(map_entries({BELIEVED})) AS entry FROM rollouts
              WHERE run_id = $run AND split = 'train' AND step >
                    (SELECT (1 - $share) * max(step) FROM rollouts WHERE run_id = $run))
        GROUP BY ALL ORDER BY kind""",
        {"run": run_id, "share": ENDS},
    )


def metric_names(store: Store) -> list[str]:
    """Every metric that some run has logged."""
    return store.sql("SELECT DISTINCT name FROM metrics ORDER BY name")["name"].tolist()


def last_values(store: Store, name: str) -> dict[str, float]:
    """The last value of a metric, by run_id."""
    found = store.sql(
        "SELECT run_id, max_by(value, step) AS value FROM metrics WHERE name = $name "
        "GROUP BY run_id",
        {"name": name},
    )
    return dict(zip(found["run_id"], found["value"], strict=True))


def lines(store: Store, runs: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Metrics of several runs, ``JUDGE`` among them: run_id, metric, step, time, value."""
    return store.sql(
        """SELECT run_id, name AS metric, step, avg(value) AS value, min(time) AS time FROM metrics
        WHERE list_contains($runs, run_id) AND list_contains($names, name) AND isfinite(value)
        GROUP BY ALL
        UNION ALL
        SELECT run_id, $judge, step, avg(judge), min(time) FROM rollouts
        WHERE list_contains($runs, run_id) AND list_contains($names, $judge)
              AND split = 'probe' AND NOT isnan(judge) GROUP BY ALL""",
        {"runs": list(runs), "names": list(metrics), "judge": JUDGE},
    )


def tokens_until(store: Store, runs: Sequence[str]) -> pd.DataFrame:
    """Tokens that were sampled for training until a step: run_id, step, tokens."""
    return store.sql(
        "SELECT run_id, step, sum(sum(num_tokens)) OVER (PARTITION BY run_id ORDER BY step) "
        "AS tokens FROM rollouts WHERE list_contains($runs, run_id) AND split = 'train' "
        "GROUP BY run_id, step",
        {"runs": list(runs)},
    )


def drift(store: Store, run_id: str) -> pd.DataFrame:
    """Length, truncation and KL per kind in the first fifth of the training and in the last.

    Columns kind, steps, tokens0, tokens1, cut0, cut1, kl0, kl1.
    """
    values = {"tokens": "num_tokens", "cut": "truncated::DOUBLE", "kl": "nullif(kl, 'NaN')"}
    means = ", ".join(
        f"avg({sql}) FILTER (step <= first + width) AS {name}0, "
        f"avg({sql}) FILTER (step >= last - width) AS {name}1"
        for name, sql in values.items()
    )
    return store.sql(
        f"""WITH ends AS (
            SELECT min(step) AS first, max(step) AS last,
                   ceil((max(step) - min(step)) * $share) AS width
            FROM rollouts WHERE run_id = $run AND split = 'train')
        SELECT kind, count(DISTINCT step) AS steps, {means}
        FROM rollouts, ends WHERE run_id = $run AND split = 'train' GROUP BY kind ORDER BY kind""",
        {"run": run_id, "share": ENDS},
    )


def lengths(store: Store, run_id: str, limit: int = 2000) -> pd.DataFrame:
    """The newest training completions' num_tokens and truncated."""
    return store.sql(
        "SELECT num_tokens, coalesce(truncated, false) AS truncated FROM rollouts "
        "WHERE run_id = $run AND split = 'train' AND num_tokens IS NOT NULL "
        "ORDER BY step DESC LIMIT $limit",
        {"run": run_id, "limit": limit},
    )


def tags(store: Store) -> dict[str, list[tuple[str, str]]]:
    """Tags of every run: run_id to (annotation_id, text)."""
    frame = store.sql(
        "SELECT run_id, annotation_id, text FROM annotations WHERE type = 'tag' ORDER BY time"
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for row in frame.itertuples():
        found.setdefault(str(row.run_id), []).append((str(row.annotation_id), str(row.text)))
    return found


def evaluated(store: Store) -> pd.DataFrame:
    """Every evaluation, newest run first; prompts that a person typed are none.

    Columns run_id, name, phase, split, step, prompts, completions, judge, time.
    """
    return store.sql(
        """SELECT e.run_id, r.name, e.phase, e.split, e.step, count(DISTINCT prompt_id) AS prompts,
               count(*) AS completions, avg(nullif(judge, 'NaN')) AS judge, max(e.time) AS time
        FROM evaluations e JOIN runs r USING (run_id) WHERE e.split <> 'own'
        GROUP BY ALL ORDER BY max(r.created) DESC, e.run_id, e.step, e.phase"""
    )


def stored_phase(store: Store, run_id: str, split: str, step: int | None) -> str | None:
    """The name of the newest evaluation of a step on a split; None where there is none."""
    found = store.sql(
        "SELECT phase FROM evaluations WHERE run_id = $run AND split = $split AND step = $step "
        "ORDER BY time DESC LIMIT 1",
        {"run": run_id, "split": split, "step": step},
    )
    return None if found.empty else str(found["phase"].iloc[0])


def evaluated_objectives(store: Store, runs: Sequence[str]) -> dict[str, list[str]]:
    """The objectives that each run's evaluations have, by run_id."""
    frame = store.sql(
        "SELECT run_id, any_value(map_keys(rewards)) AS names FROM evaluations "
        "WHERE list_contains($runs, run_id) GROUP BY run_id",
        {"runs": list(runs)},
    )
    return {str(row.run_id): list(row.names) for row in frame.itertuples()}


def answers(store: Store, prompt_id: str) -> pd.DataFrame:
    """What checkpoints answered to a prompt that a person typed: name and all of evaluations."""
    return store.sql(
        "SELECT r.name, e.* FROM evaluations e JOIN runs r USING (run_id) "
        "WHERE e.split = 'own' AND e.prompt_id = $prompt ORDER BY r.name, e.step, e.sample",
        {"prompt": prompt_id},
    )
