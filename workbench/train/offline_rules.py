"""Rows that cannot teach as they are: kept, dropped, cut or refused by rule, and always counted.

``clean`` looks at texts and rewards, ``fit`` at token lengths, ``group`` at the rows that share a
prompt. Each returns the rows that are left and its findings; the run prints them, publishes them as
warnings and logs their counts as metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.config.offline import Method, RulesConfig
from workbench.core.diagnostics import flat_groups
from workbench.core.findings import Finding
from workbench.train.offline_rows import RowsError, prompt_keys


@dataclass(frozen=True)
class RowsFinding(Finding):
    """What one rule found: how many rows (of how many prompts), and what was done with them."""

    rows: int = 0
    prompts: int = 0
    action: str = ""

    def __str__(self) -> str:
        return f"{self.message}: {self.action} ({self.rows} rows, {self.prompts} prompts)"


Cleaned = tuple[pd.DataFrame, list[RowsFinding]]


def clean(frame: pd.DataFrame, rules: RulesConfig) -> Cleaned:
    """Rows without a reward, a prompt or a response.

    Raises:
        RowsError: When a rule says ``refuse`` and a row breaks it.
    """
    findings: list[RowsFinding] = []
    frame = _apply(
        frame,
        ~np.isfinite(frame["reward"].to_numpy(dtype=np.float64)),
        "missing_reward",
        rules.missing_reward,
        "no finite reward",
        "check the reward column, or choose another reward.signal",
        findings,
    )
    frame = _apply(
        frame,
        np.array([not p or not str(p).strip() for p in frame["prompt"]], dtype=bool),
        "missing_prompt",
        "drop",
        "no prompt",
        "check the prompt column",
        findings,
    )
    frame = _apply(
        frame,
        (frame["response"].str.strip() == "").to_numpy(dtype=bool),
        "empty_response",
        rules.empty_response,
        "no response",
        "rules.empty_response=keep teaches when to say nothing",
        findings,
    )
    return frame, findings


def fit(frame: pd.DataFrame, rules: RulesConfig, context: int | None, joint: bool) -> Cleaned:
    """Rows longer than the model's context; ``truncate`` cuts the response (and its end token).

    Args:
        frame: Rows with ``prompt_ids`` and ``response_ids``.
        rules: What to do.
        context: Positions that the model has; None: no limit.
        joint: Prompt and response share the context (causal), or have one each.

    Raises:
        RowsError: When a rule says ``refuse`` and a row breaks it.
    """
    findings: list[RowsFinding] = []
    if context is None or frame.empty:
        return frame, findings
    prompts = frame["prompt_ids"].map(len).to_numpy()
    room = context - prompts if joint else np.where(prompts <= context, context, 0)
    frame = _apply(
        frame,
        room < 1,
        "prompt_too_long",
        "refuse" if rules.too_long == "refuse" else "drop",
        f"the prompt leaves no room in the context of {context} tokens",
        "use a model with a longer context",
        findings,
    )
    room = room[room >= 1]
    long = frame["response_ids"].map(len).to_numpy() > room
    cut = rules.too_long == "truncate"
    frame = _apply(
        frame,
        long,
        "too_long",
        rules.too_long,
        f"longer than the context of {context} tokens",
        "rules.too_long=truncate cuts them" if not cut else "use a model with a longer context",
        findings,
    )
    if cut and long.any():
        rows = zip(frame["response_ids"], room, strict=True)
        frame = frame.assign(response_ids=[list(ids)[:size] for ids, size in rows])
        frame["truncated"] = frame["truncated"].to_numpy() | long
    return frame, findings


def group(frame: pd.DataFrame, rules: RulesConfig, method: Method) -> Cleaned:
    """Prompts whose rows cannot be compared: a single one, or all with the same reward.

    Raises:
        RowsError: When no row is left, every reward is the same, or a rule says ``refuse``.
    """
    findings: list[RowsFinding] = []
    if frame.empty:
        raise RowsError("no row is left after the rules: see the counts above")
    everything = np.zeros(len(frame), dtype=np.int64)
    if flat_groups(frame["reward"].to_numpy(), everything)[0] and method != "sft":
        raise RowsError(
            f"all {len(frame)} rewards are {frame['reward'].iloc[0]:.6g}: nothing can be learned "
            "from them but by sft with sft.select=all"
        )
    keys = prompt_keys(frame)
    rewards = frame["reward"].groupby(keys)
    size = rewards.transform("size").to_numpy()
    frame = _apply(
        frame,
        size == 1,
        "single_row",
        rules.single_row,
        f"prompts with one row ({_ALONE.get(method, 'nothing to compare them with')})",
        "log more responses per prompt, or take dro or kto",
        findings,
    )
    if frame.empty:
        raise RowsError("no row is left: every prompt has a single row and rules.single_row=drop")
    keys = prompt_keys(frame)
    several = frame["reward"].groupby(keys).transform("size").to_numpy() > 1
    index = np.asarray(pd.factorize(np.asarray(keys))[0], dtype=np.int64)
    frame = _apply(
        frame,
        several & flat_groups(frame["reward"].to_numpy(), index)[index],
        "constant_rewards",
        rules.constant_rewards,
        "prompts whose rows all have the same reward",
        "rows that cannot be told apart pull to the reference: rules.constant_rewards=drop",
        findings,
    )
    if frame.empty:
        raise RowsError(
            "no row is left: the rows of every prompt have the same reward and "
            "rules.constant_rewards=drop"
        )
    texts = pd.DataFrame({"key": prompt_keys(frame), "response": frame["response"].to_numpy()})
    twice = texts.duplicated().to_numpy()
    if twice.any():
        advice = "they count as often as they stand there; the authors' partition counts them twice"
        message = "responses that stand more than once under their prompt"
        prompts = texts["key"][twice].nunique()
        findings.append(
            RowsFinding(
                "duplicates", message, advice, rows=int(twice.sum()), prompts=prompts, action="kept"
            )
        )
    return frame, findings


_ALONE = {
    "rpo": "their value is their own reward: a pure pull to the reference",
    "dro": "the value network alone says what to expect",
    "kto": "compared with the mean of all rows",
    "sft": "imitated whatever their reward",
    "dpo": "they make no pair and are not learned from",
}


def counts(findings: list[RowsFinding], total: int, kept: int) -> Mapping[str, float]:
    """Metrics of the rules: rows in, rows kept, and rows that each rule concerned."""
    found = {f"rows/{f.code}": float(f.rows) for f in findings}
    return {"rows/total": float(total), "rows/kept": float(kept)} | found


_ACTIONS = {"drop": "dropped", "keep": "kept", "truncate": "cut"}


def _apply(
    frame: pd.DataFrame,
    broken: np.ndarray,
    code: str,
    rule: str,
    message: str,
    advice: str,
    findings: list[RowsFinding],
) -> pd.DataFrame:
    """Count the rows that break a rule and do what it says."""
    if not broken.any():
        return frame
    rows = frame[broken]
    prompts = len(set(prompt_keys(rows)))
    if rule == "refuse":
        first = rows.iloc[0]
        raise RowsError(
            f"offline.rules.{code}: {len(rows)} rows of {prompts} prompts: {message}; the first "
            f"is prompt {first['prompt_id']!r} of {first['origin']}. Allowed instead of 'refuse': "
            "'drop'"
        )
    findings.append(
        RowsFinding(code, message, advice, rows=len(rows), prompts=prompts, action=_ACTIONS[rule])
    )
    return frame[~broken] if rule == "drop" else frame
