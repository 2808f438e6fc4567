"""Bring rows of elsewhere into a store, each as a run of its own with segments like any other.

``PATH`` is one of: a runs directory of another workbench, or what one exported (a DuckDB file, or a
folder of Parquet, CSV or JSON lines); TRL's ``completions_*.parquet`` (one file, or the folder that
holds them); rows in any form of ``foreign_rows``, in any file that the file task reads, or a folder
of such files (verl's ``1.jsonl``, ``2.jsonl``; prime-rl's ``step_1/``, ``step_2/``). Rows that say
nothing of weights get equal ones, as TRL gives its rewards, and count as whole.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from workbench.formatting import clipped, from_cell, listed
from workbench.runs.exported import export_tables, unflattened
from workbench.runs.foreign_rows import FORMS, MAPS, is_trl, rollout, step_of_path, trl_rollout
from workbench.runs.reward_columns import reward_columns
from workbench.store.catalog import STORE_FILE
from workbench.store.encode import table_of
from workbench.store.errors import StoreError
from workbench.store.imports import add_run, add_runs, import_store
from workbench.store.inferred_config import objective_names
from workbench.store.schema import PER_OBJECTIVE, TABLES
from workbench.tasks.formats import ALLOWED, TEXTS, Row, clean, kind_of
from workbench.tasks.sources import read_rows

EVALUATED = re.compile(r"(.*[_-])?(eval|val)([_-].*)?$")
"""Names of files and folders whose rows are no training rows."""

Located = tuple[str, Path, Row]
"""Where a row stands, the file, and the row."""


def import_path(
    runs_dir: Path | str,
    path: Path | str,
    name: str | None = None,
    rewards: Sequence[str] | None = None,
) -> list[str]:
    """Import whatever ``path`` is; returns the ids of the new runs.

    Args:
        runs_dir: the runs directory to import into.
        path: see the head of this file.
        name: name of the new run where the source has none; made from the file name otherwise.
        rewards: which columns of TRL's tables are rewards; None: told by the advantages.

    Raises:
        StoreError: nothing there can be imported, a row is malformed (file and row are named), or
            a run with the same id or name is here already.
        OSError: something cannot be read or written.
    """
    root, path = Path(runs_dir).resolve(), Path(path).expanduser().absolute()
    if not path.exists():
        raise StoreError(f"{path} does not exist")
    is_runs_dir = (path / STORE_FILE).exists() or any(path.glob("*/run.json"))
    if is_runs_dir or path.suffix == ".duckdb":
        return import_store(root, path)
    if path.is_dir() and all(any(path.glob(f"{view}.*")) for view in ("runs", "rollouts")):
        return add_runs(root, *export_tables(path))
    taken = name or path.name.partition(".")[0]
    made = []
    for number, (table, said) in enumerate(rollout_tables(path, rewards), 1):
        run_id = time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{secrets.token_hex(2)}"
        identity = {
            "name": taken if number == 1 else f"{taken}-{number}",
            "kind": "imported",
            "created": time.time(),
            "message": said,
        }
        add_run(root, run_id, identity, {"rollouts": table}, None)
        made.append(run_id)
    return made


def rollout_tables(
    path: Path, rewards: Sequence[str] | None = None
) -> list[tuple[pa.Table, str | None]]:
    """The rows of files as tables of ``rollouts``, one a run, and what to say of each.

    Raises:
        StoreError: there are none, or a row is malformed; see ``import_path``.
    """
    files = row_files(path)
    if not files:
        raise StoreError(
            f"{path} is none of: a runs directory, an export, completions_*.parquet of TRL, rows "
            f"in {ALLOWED}, or a folder of these"
        )
    runs: dict[Any, list[Located]] = {}
    for row in (row for file in files for row in _read(file)):
        runs.setdefault(row[2].get("run_id") if "rewards" in row[2] else None, []).append(row)
    if not runs:
        raise StoreError(f"{path} has no rows")
    return [_table(rows, path, rewards) for rows in runs.values()]


def row_files(path: Path) -> list[Path]:
    """The files of rows that a path stands for, in the order of the numbers in their names."""
    if path.is_file():
        return [path] if kind_of(path) else []
    for pattern in ("completions_*.parquet", "completions/completions_*.parquet"):
        if tables := sorted(path.glob(pattern)):
            return tables
    deep = [*path.glob("*"), *path.glob("step_*/*"), *path.glob("rollouts/step_*/*")]
    deep += [*path.glob("train/*"), *path.glob("eval/*")]
    files = [f for f in deep if f.is_file() and kind_of(f) and not f.name.startswith(".")]
    return sorted(files, key=lambda f: [_natural(part) for part in f.relative_to(path).parts])


def _natural(text: str) -> list[tuple[int, str]]:
    """A key by which ``2.jsonl`` stands before ``10.jsonl``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def _read(file: Path) -> list[Located]:
    try:
        rows = [(where, clean(row)) for where, row in read_rows(file)]
    except ValueError as error:
        raise StoreError(str(error)) from error
    if rows and kind_of(file) in TEXTS and {"run_id", "group_id", "attempt"} <= set(rows[0][1]):
        rows = [(w, {name: from_cell(v) for name, v in row.items()}) for w, row in rows]
    return [(where, file, unflattened(row)) for where, row in rows]


def _table(
    found: Sequence[Located], path: Path, rewards: Sequence[str] | None
) -> tuple[pa.Table, str | None]:
    """Rows of ``rollouts``, and what to say of columns that were left out."""
    rows, said = [], None
    first = found[0][2]
    if is_trl(first):
        chosen, said = _trl_rewards(found, path, rewards)
        rows = [_trl(row, chosen, where) for where, _, row in found]
    elif rewards is not None:
        raise StoreError(
            f"{path}: rewards are chosen for TRL's tables only; these rows have {FORMS}"
        )
    else:
        rows = [rollout(row, where) for where, _, row in found]
    for row, (_, file, _raw) in zip(rows, found, strict=True):
        folder = file.parent.name
        if "step" not in row:
            known = step_of_path(file.stem)
            known = step_of_path(folder) if known is None and folder.startswith("step") else known
            row["step"] = known or 0
        if "split" not in row:
            told = [file.stem, *([folder] if file != path else [])]
            row["split"] = (
                "eval"
                if any(re.match(r"(.*[_-])?(eval|val)([_-].*)?$", t) for t in told)
                else "train"
            )
    return _rollouts(rows, [file for _, file, _ in found]), said


def _trl(row: Row, rewards: Sequence[str], where: str) -> Row:
    if not is_trl(row):
        raise StoreError(f"{where}: no step, prompt, completion; there are {listed(row)}")
    return trl_rollout(row, rewards, where)


def _trl_rewards(
    found: Sequence[Located], path: Path, rewards: Sequence[str] | None
) -> tuple[list[str], str | None]:
    rows = [row for _, _, row in found]
    there = [n for n in dict.fromkeys(k for row in rows for k in row) if n not in _TRL_FIXED]
    if rewards is not None:
        unknown = [name for name in rewards if name not in there]
        if unknown or not rewards:
            raise StoreError(
                f"{path}: rewards {listed(unknown)} unknown; there are {listed(there)}"
            )
        chosen = list(rewards)
    else:
        groups = [(file, str(row.get("step")), str(row.get("prompt"))) for _, file, row in found]
        chosen = reward_columns(rows, groups, path)
    if not chosen:
        raise StoreError(f"{path}: no column is a reward; there are {listed(there)}")
    left = [name for name in there if name not in chosen]
    if not left:
        return chosen, None
    return chosen, f"rewards are {', '.join(chosen)}; not taken: {clipped(', '.join(left), 200)}"


_TRL_FIXED = ("step", "prompt", "completion", "advantage", "run_id")


def _rollouts(rows: list[Row], files: Sequence[Path]) -> pa.Table:
    """Checked rows as a table of ``rollouts``, with groups where they have none."""
    _rename(rows)
    groups, samples = _groups(rows, files)
    for row, group, sample in zip(rows, groups, samples, strict=True):
        if "weights" not in row:
            row["weights"] = dict.fromkeys(row["rewards"], 1 / len(row["rewards"]))
        row.setdefault("truncated", False)
        row.setdefault("kind", "default")
        row.setdefault("attempt", 1)
        row.setdefault("prompt_id", hashlib.sha256(row["prompt"].encode()).hexdigest()[:16])
        row.setdefault("group_id", f"{row['split']}-{row['step']:06d}-{group:03d}")
        row.setdefault("sample", sample)
    names = {c.name: c for c in TABLES["rollouts"].columns}
    columns: dict[str, Any] = {
        name: [row.get(name) for row in rows]
        for name in names
        if any(row.get(name) is not None for row in rows)
    }
    for name in columns:
        if names[name].type == PER_OBJECTIVE:
            maps = [None if m is None else list(m.items()) for m in columns[name]]
            columns[name] = pa.array(maps, PER_OBJECTIVE)
    return table_of("rollouts", len(rows), columns)


def _rename(rows: list[Row]) -> None:
    """Give rewards names that objectives can have, wherever a row speaks of them."""
    names = objective_names(dict.fromkeys(str(n) for row in rows for n in row["rewards"]))
    if all(new == old for old, new in names.items()):
        return
    for row in rows:
        for column in MAPS:
            if row.get(column) is not None:
                row[column] = {names.get(str(k), str(k)): v for k, v in row[column].items()}
        if isinstance(row.get("action"), str):
            row["action"] = names.get(row["action"], row["action"])


def _groups(rows: Sequence[Row], files: Sequence[Path]) -> tuple[list[int], list[int]]:
    """Number of each row's group within its split and step, and of the row within its group.

    Rows of one file, split, step and prompt are a group, wherever they stand. Where every prompt
    stands in stretches of one length, each stretch is a group: a prompt may be drawn twice.
    """
    stretches: list[list[int]] = []
    keys: list[tuple[Any, ...]] = []
    for i, row in enumerate(rows):
        key = (files[i], row["split"], row["step"], row["prompt"])
        if keys and keys[-1] == key:
            stretches[-1].append(i)
        else:
            stretches.append([i])
        keys.append(key)
    size = min(map(len, stretches))
    whole = size > 1 and all(len(s) % size == 0 for s in stretches)
    numbers: dict[tuple[str, int], int] = {}
    known: dict[tuple[Any, ...], tuple[int, int]] = {}
    groups, samples = [0] * len(rows), [0] * len(rows)
    for stretch in stretches:
        key = keys[stretch[0]]
        place = (key[1], key[2])
        for at, i in enumerate(stretch):
            new = at % size == 0 if whole else key not in known
            if new:
                known[key] = (numbers.get(place, 0), 0)
                numbers[place] = numbers.get(place, 0) + 1
            group, sample = known[key]
            groups[i], samples[i] = group, sample
            known[key] = (group, sample + 1)
    return groups, samples
