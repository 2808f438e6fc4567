"""What Inspect reads: the numbers of a step, and of its texts as much as is shown at first.

A completion may be 32,000 tokens long, and a group has sixteen: its whole text is read when a
person opens it.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from workbench.store.reader import Store

THOUGHT_END = "</think>"
"""What closes a model's thoughts before its answer."""
HEAD = 1500
"""Characters of a completion that are sent at first."""
BEFORE = 200
"""Characters shown before the first hit of a search that lies further behind."""


def step_numbers(store: Store, run_id: str, split: str, step: int) -> pd.DataFrame:
    """Every completion of a step without its texts, in the trainer's order: groups, samples."""
    return store.sql(
        "SELECT * EXCLUDE (prompt, completion, token_ids, token_entropies) FROM rollouts "
        "WHERE run_id = $run AND split = $split AND step = $step ORDER BY group_id, sample",
        {"run": run_id, "split": split, "step": step},
    )


def texts(store: Store, run_id: str, rows: pd.DataFrame, found: str = "") -> pd.DataFrame:
    """The beginnings of a group's completions.

    Args:
        store: where to ask.
        run_id: whose group.
        rows: its rows.
        found: text that was searched for: a beginning starts shortly before its first hit.

    Returns:
        A row a completion in the order of samples: ``prompt``, ``head`` (at most ``HEAD``
        characters of what was answered), ``start`` (characters of it before the head), ``chars``
        of the whole, ``thought`` (characters up to the end of what was thought; 0: none),
        ``digest`` of the whole, and ``token_ids`` and ``token_entropies`` where the head is all.
    """
    return store.sql(
        """WITH whole AS (
            SELECT sample, prompt, completion, length(completion) AS chars,
                   md5(completion) AS digest,
                   CASE WHEN contains(completion, $end)
                        THEN strpos(completion, $end) + length($end) - 1
                        WHEN starts_with(ltrim(completion, $blank), '<think>')
                        THEN length(completion)
                        ELSE 0 END AS thought, token_ids, token_entropies
            FROM rollouts WHERE run_id = $run AND split = $split AND step = $step
                 AND group_id = $group),
        answers AS (
            SELECT *, ltrim(substr(completion, thought + 1), $blank) AS answer FROM whole),
        placed AS (
            SELECT *, CASE WHEN $found <> '' AND strpos(lower(answer), $found) > $head - $before
                           THEN strpos(lower(answer), $found) - $before ELSE 0 END AS start
            FROM answers)
        SELECT sample, prompt, substr(answer, start + 1, $head) AS head, start, chars, thought,
               digest, CASE WHEN chars <= $head THEN token_ids END AS token_ids,
               CASE WHEN chars <= $head THEN token_entropies END AS token_entropies
        FROM placed ORDER BY sample""",
        _where(run_id, rows)
        | {
            "found": found.lower(),
            "head": HEAD,
            "before": BEFORE,
            "end": THOUGHT_END,
            "blank": " \n\r\t",
        },
    )


def whole_text(store: Store, run_id: str, rows: pd.DataFrame, sample: int) -> pd.Series:
    """One completion of a group: ``completion``, ``token_ids``, ``token_entropies``.

    Raises:
        LookupError: the group has no such completion.
    """
    found = store.sql(
        "SELECT completion, token_ids, token_entropies FROM rollouts WHERE run_id = $run "
        "AND split = $split AND step = $step AND group_id = $group AND sample = $sample",
        _where(run_id, rows) | {"sample": sample},
    )
    if not len(found):
        raise LookupError(f"this group has no completion {sample}")
    return found.iloc[0]


def _where(run_id: str, rows: pd.DataFrame) -> dict[str, Any]:
    first = rows.iloc[0]
    return {
        "run": run_id,
        "split": str(first["split"]),
        "step": int(first["step"]),
        "group": str(first["group_id"]),
    }
