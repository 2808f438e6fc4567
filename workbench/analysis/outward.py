"""Rollouts in the forms that other tools read: a ``datasets`` folder, DPO pairs, lm-eval samples.

::

    datasets   data/rollouts.parquet, structs in the place of maps, and a card: load_dataset(folder)
    dpo        pairs.jsonl: prompt, chosen, rejected (TRL's DPOTrainer), best and worst of a group
    lm-eval    samples.jsonl: a row a prompt, as ``lm_eval --log_samples`` writes them

These forms leave things out (hidden states, curves, updates): ``export`` says so, and its own
formats bring a run back whole.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.analysis.queries import rollouts
from workbench.formatting import listed, plain
from workbench.store.errors import StoreError
from workbench.store.reader import Store
from workbench.store.schema import PER_OBJECTIVE, TABLES

FORMATS = ("datasets", "dpo", "lm-eval")
BY = ("advantage", "scalar", "judge", "votes")
"""What tells the best and the worst completion of a group; ``reward:NAME`` does too."""


def write_outward(
    store: Store, run_ids: Sequence[str], target: Path, form: str, by: str = "advantage"
) -> list[Path]:
    """Write the rollouts of runs to a new folder.

    Args:
        store: whose runs.
        run_ids: which.
        target: the folder; must not exist, and appears whole or not at all.
        form: one of ``FORMATS``.
        by: for ``dpo``, what tells better from worse.

    Returns:
        The files written.

    Raises:
        StoreError: the form or ``by`` is unknown, ``target`` exists, or there is nothing to write.
        OSError: ``target`` cannot be written.
    """
    target = target.absolute()
    if target.exists():
        raise StoreError(f"{target} exists; choose another place or remove it")
    rows = rollouts(store, run_ids)
    if rows.empty:
        raise StoreError(f"no rollouts in {listed(run_ids)}")
    made = target.with_name(f".{target.name}.{secrets.token_hex(3)}.tmp")
    try:
        made.mkdir(parents=True)
        if form == "datasets":
            _datasets(rows, made, run_ids)
        elif form == "dpo":
            _write_lines(made / "pairs.jsonl", preference_pairs(store, rows, by))
        else:
            _write_lines(made / "samples.jsonl", lm_eval_samples(rows))
        os.replace(made, target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return sorted(p for p in target.rglob("*") if p.is_file())


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        raise StoreError("there is nothing to write: no group has a better and a worse completion")
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows)


# -- datasets --------------------------------------------------------------------------------------


def _datasets(rows: pd.DataFrame, folder: Path, run_ids: Sequence[str]) -> None:
    (folder / "data").mkdir()
    table = struct_table(rows)
    pq.write_table(table, folder / "data" / "rollouts.parquet", compression="zstd")
    (folder / "README.md").write_text(dataset_card(rows, table, run_ids), "utf-8")


def struct_table(rows: pd.DataFrame) -> pa.Table:
    """Rollouts with a struct in the place of each map: ``datasets`` reads no maps.

    An objective that a row does not have is null; NaN stays NaN.
    """
    arrays: dict[str, pa.Array] = {}
    for column in TABLES["rollouts"].columns:
        values = rows[column.name].tolist()
        if column.type == PER_OBJECTIVE:
            maps = [dict(v) if isinstance(v, dict) else None for v in values]
            names = list(dict.fromkeys(str(k) for m in maps if m for k in m))
            if not names:
                continue  # no row has any: a struct without fields cannot be written
            kind = pa.struct([(name, pa.float64()) for name in names])
            arrays[column.name] = pa.array(maps, kind)
        elif pa.types.is_list(column.type):
            known = [None if _is_nothing(v) else list(v) for v in values]
            arrays[column.name] = pa.array(known, column.type)
        else:
            arrays[column.name] = pa.array(
                [None if v is pd.NA else v for v in values],
                column.type,
                from_pandas=column.type != pa.float64(),
            )
    return pa.table(arrays)


def _is_nothing(value: Any) -> bool:
    return value is None or value is pd.NA or isinstance(value, float)


def dataset_card(rows: pd.DataFrame, table: pa.Table, run_ids: Sequence[str]) -> str:
    """A card with what the hub and ``datasets`` read in front, and the columns below."""
    size = len(rows)
    step = next((s for s, n in _SIZES if size < n), "n>1M")
    head = (
        "---\nlicense: other\nlicense_name: unknown\ntags:\n- grpo\n- rollouts\n"
        f"size_categories:\n- {step}\nconfigs:\n- config_name: default\n  data_files:\n"
        "  - split: train\n    path: data/rollouts.parquet\n---\n"
    )
    columns = "\n".join(
        f"| `{c.name}` | {c.comment} |"
        for c in TABLES["rollouts"].columns
        if c.name in table.column_names
    )
    return (
        f"{head}\n# Rollouts\n\n{size:,} completions of {rows['prompt_id'].nunique():,} prompts, "
        f"logged by MAESTRO workbench in {len(run_ids)} run{'s' if len(run_ids) > 1 else ''}: "
        f"{', '.join(f'`{r}`' for r in run_ids)}.\n\n"
        "The texts were written by a language model in training and are not curated. Say under "
        "which licence the prompts are before you share this.\n\n"
        '```python\nfrom datasets import load_dataset\n\nrows = load_dataset(".", split="train")\n'
        f"```\n\n| column | meaning |\n|---|---|\n{columns}\n"
    )


_SIZES = (("n<1K", 1000), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6))


# -- preference pairs ------------------------------------------------------------------------------


def preference_pairs(
    store: Store, rows: pd.DataFrame, by: str = "advantage"
) -> list[dict[str, Any]]:
    """The best and the worst completion of every group as TRL's DPO rows.

    Groups in which all are alike, or all texts the same, give no pair. Truncated completions can be
    the worse one only.

    Args:
        store: where votes are asked for.
        rows: rollouts.
        by: ``advantage``, ``scalar``, ``judge``, ``reward:NAME``, or ``votes``: the completion that
            people picked most often is the best, and the one they picked least the worst.

    Raises:
        StoreError: ``by`` is unknown.
    """
    scores = _scores(store, rows, by)
    known = rows.assign(score=scores)
    known = known[known["score"].notna()]
    pairs = []
    for _, group in known.groupby(["run_id", "split", "step", "group_id"], sort=False):
        whole = group[~group["truncated"].fillna(False).astype(bool)]
        if len(group) < 2 or whole.empty:
            continue
        best, worst = whole.loc[whole["score"].idxmax()], group.loc[group["score"].idxmin()]
        if best["score"] <= worst["score"] or best["completion"] == worst["completion"]:
            continue
        pairs.append(
            {
                "prompt": best["prompt"],
                "chosen": best["completion"],
                "rejected": worst["completion"],
                "score_chosen": float(best["score"]),
                "score_rejected": float(worst["score"]),
            }
        )
    return pairs


def _scores(store: Store, rows: pd.DataFrame, by: str) -> pd.Series:
    if by.startswith("reward:"):
        name = by.removeprefix("reward:")
        there = sorted({key for rewards in rows["rewards"] for key in rewards})
        if name not in there:
            raise StoreError(f"by: no reward {name!r}; there are {listed(there)}")
        return rows["rewards"].map(lambda rewards: rewards.get(name, float("nan"))).astype(float)
    if by not in BY:
        raise StoreError(f"by: {by!r} unknown; allowed are {', '.join(BY)} and reward:NAME")
    if by != "votes":
        return rows[by].astype(float)
    votes = store.sql(
        "SELECT run_id, split, step, group_id, sample, count(*) AS votes FROM annotations "
        "WHERE type = 'vote' AND sample IS NOT NULL GROUP BY ALL"
    )
    keys = ["run_id", "split", "step", "group_id"]
    found = rows[[*keys, "sample"]].merge(votes, on=[*keys, "sample"], how="left")["votes"]
    counted = found.fillna(0.0).astype(float).set_axis(rows.index)
    asked = rows[keys].merge(votes[keys].drop_duplicates().assign(asked=True), on=keys, how="left")
    return counted.where(asked["asked"].notna().set_axis(rows.index))


# -- lm-eval ---------------------------------------------------------------------------------------


def lm_eval_samples(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a group, with the keys of lm-eval's logged samples; rewards are its metrics."""
    samples = []
    for i, (_, group) in enumerate(
        rows.groupby(["run_id", "split", "step", "group_id"], sort=False)
    ):
        first = group.iloc[0]
        names = list(dict.fromkeys(k for rewards in group["rewards"] for k in rewards))
        means = {
            name: group["rewards"].map(lambda r, n=name: r.get(n, float("nan"))).mean()
            for name in names
        }
        texts = group["completion"].tolist()
        samples.append(
            {
                "doc_id": i,
                "doc": {
                    name: first[name]
                    for name in ("run_id", "split", "step", "kind", "prompt_id", "prompt")
                },
                "target": "",
                "arguments": [[first["prompt"], {}]],
                "resps": [texts],
                "filtered_resps": texts,
                "filter": "none",
                "metrics": names,
                **means,
            }
        )
    return samples
