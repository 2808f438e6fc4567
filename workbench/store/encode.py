"""From what a trainer hands over to Arrow tables with the columns of ``schema``. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workbench.store.schema import PER_OBJECTIVE, TABLES
from workbench.types import Floats, RolloutBatch


def objective_maps(values: Floats | None, names: Sequence[str], rows: int) -> pa.Array:
    """(N, K) numbers as N maps name -> number; NaN stays NaN. None becomes N nulls.

    Raises:
        ValueError: ``values`` is not (rows, len(names)), or a name occurs twice.
    """
    if len(set(names)) < len(names):  # a map that no reader could open
        raise ValueError(f"objectives {list(names)}: a name occurs twice")
    if values is None:
        return pa.nulls(rows, PER_OBJECTIVE)
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (rows, len(names)):
        raise ValueError(f"shape {array.shape}; expected {(rows, len(names))} for {list(names)}")
    offsets = np.arange(rows + 1, dtype=np.int32) * len(names)
    codes = np.tile(np.arange(len(names), dtype=np.int32), rows)
    keys = pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string())).cast(pa.string())
    return pa.MapArray.from_arrays(pa.array(offsets), keys, pa.array(array.ravel()))


def nan_as_null(values: Floats | None, rows: int) -> pa.Array:
    """(N,) numbers in which NaN means "not asked"; None becomes N nulls."""
    if values is None:
        return pa.nulls(rows, pa.float64())
    return pa.array(np.asarray(values, dtype=np.float64), from_pandas=True)


def clean_text(values: Sequence[str]) -> pa.Array:
    """Strings as UTF-8; a lone surrogate, which UTF-8 cannot hold, becomes a question mark."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array([v.encode("utf-8", "replace").decode() for v in values], pa.string())


def table_of(name: str, rows: int, columns: Mapping[str, Any]) -> pa.Table:
    """A table of ``schema``: given columns cast to their types, all others null.

    Raises:
        KeyError: a column that the table does not have.
    """
    schema = TABLES[name].arrow
    unknown = sorted(set(columns) - set(schema.names))
    if unknown:
        raise KeyError(f"{name} has no column {unknown}; it has {schema.names}")
    arrays: list[Any] = []
    for field in schema:
        value = columns.get(field.name)
        if value is None:
            arrays.append(pa.nulls(rows, field.type))
        elif isinstance(value, pa.Array | pa.ChunkedArray):
            arrays.append(value.cast(field.type))
        elif isinstance(value, str):
            arrays.append(pa.repeat(clean_text([value])[0], rows))
        elif not isinstance(value, Sequence | np.ndarray):
            arrays.append(pa.repeat(pa.scalar(value, field.type), rows))
        elif field.type == pa.string():
            arrays.append(clean_text(list(value)))
        else:
            arrays.append(pa.array(value, field.type, from_pandas=field.name == "judge"))
    return pa.Table.from_arrays(arrays, schema=schema)


def group_ids(batch: RolloutBatch, rows: int) -> list[str]:
    """(N,) names of the groups: unique within a run and sorted as sampled."""
    groups = -(-rows // batch.num_generations)
    names = [f"{batch.split}-{batch.step:06d}-{g:03d}" for g in range(groups)]
    return [names[i // batch.num_generations] for i in range(rows)]


def encode_rollouts(
    batch: RolloutBatch, run_id: str, attempt: int, time: float
) -> tuple[pa.Table, pa.Table | None]:
    """A batch of N completions as rows of ``rollouts`` and, where logged, of ``contexts``.

    Raises:
        ValueError: two fields of the batch disagree about N or K.
    """
    rows = len(batch.completions)
    names = batch.objectives
    where: dict[str, Any] = {
        "run_id": run_id,
        "attempt": attempt,
        "step": batch.step,
        "split": batch.split,
        "group_id": group_ids(batch, rows),
        "sample": np.arange(rows, dtype=np.int32) % batch.num_generations,
    }
    actions = None
    if batch.actions is not None:
        actions = [names[int(a)] if a >= 0 else None for a in batch.actions]
    columns: dict[str, Any] = where | {
        "kind": list(batch.kinds),
        "prompt_id": list(batch.prompt_ids),
        "prompt": list(batch.prompts),
        "completion": list(batch.completions),
        "num_tokens": np.asarray(batch.num_tokens),
        "truncated": np.asarray(batch.truncated, dtype=bool),
        "rewards": objective_maps(batch.rewards, names, rows),
        "scaled": objective_maps(batch.scaled, names, rows),
        "weights": objective_maps(batch.weights, names, rows),
        "policy": objective_maps(batch.policy, names, rows),
        "action": actions,
        "scalar": np.asarray(batch.scalars, dtype=np.float64),
        "mask": nan_as_null(batch.mask, rows),
        "judge_share": nan_as_null(batch.judge_share, rows),
        "advantage": np.asarray(batch.advantages, dtype=np.float64),
        "kl": nan_as_null(batch.kl, rows),
        "behaviour_logp": nan_as_null(batch.behaviour_logp, rows),
        "reference_logp": nan_as_null(batch.reference_logp, rows),
        "judge": nan_as_null(batch.judge, rows),
        "loss_tokens": None if batch.loss_tokens is None else np.asarray(batch.loss_tokens),
        "prompt_token_ids": _ragged(batch.prompt_token_ids, np.int32),
        "token_ids": _ragged(batch.token_ids, np.int32),
        "token_entropies": _ragged(batch.token_entropies, np.float32),
        "time": time,
    }
    table = table_of("rollouts", rows, columns)
    if batch.contexts is None:
        return table, None
    return table, table_of("contexts", rows, where | {"context": _halves(batch.contexts, rows)})


def _ragged(rows: Sequence[Sequence[Any]] | None, dtype: type) -> pa.Array | None:
    """N lists of different lengths, flattened once: several times faster than row by row."""
    if rows is None:
        return None
    arrays: list[NDArray[Any]] = [np.asarray(r, dtype=dtype) for r in rows]
    offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int32)
    flat = np.concatenate(arrays) if arrays else np.empty(0, dtype)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))


def _halves(contexts: NDArray[np.float16], rows: int) -> pa.Array:
    """(N, D) hidden states as N lists of half-precision numbers."""
    array = np.asarray(contexts, dtype=np.float16)
    if array.ndim != 2 or len(array) != rows:
        raise ValueError(f"contexts have shape {array.shape}; expected ({rows}, D)")
    offsets = np.arange(rows + 1, dtype=np.int32) * array.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(array.ravel()))


def split_values(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Named values as columns of a one-row table; what has no column goes to its map ``other``.

    Raises:
        TypeError: a value without a column of its own is not a number.
    """
    known = set(TABLES[name].names)
    columns: dict[str, Any] = {}
    other: dict[str, float] = {}
    for key, value in values.items():
        if key in known and key != "other":
            columns[key] = [list(value.items())] if isinstance(value, Mapping) else [value]
        elif isinstance(value, Mapping):
            other |= {f"{key}.{k}": float(v) for k, v in value.items()}
        elif value is not None:
            other[key] = float(value)
    return columns | {"other": [list(other.items())]}
