"""Bring rows of elsewhere into a store, each as a run of its own with segments like any other.

``PATH`` is one of: a runs directory of another workbench or a DuckDB file that one exported; TRL's
``completions_*.parquet`` (one file, or the folder that holds them); JSON lines with ``prompt``,
``completion`` and ``rewards`` (a mapping, or one number), further columns of ``rollouts`` welcome.
Rows that say nothing of weights get equal ones, as TRL gives its rewards, and count as whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workbench.config.io import ConfigError
from workbench.store.catalog import STORE_FILE
from workbench.store.encode import table_of
from workbench.store.errors import StoreError, StoreWarning
from workbench.store.export import EXPORTED
from workbench.store.inferred_config import (
    assumed_config,
    found_names,
    is_readable,
    objective_names,
)
from workbench.store.leftovers import import_folder
from workbench.store.manifest import run_names
from workbench.store.schema import PER_OBJECTIVE, SCHEMA_VERSION, TABLES
from workbench.store.segments import write_segment
from workbench.store.session import foreign_session, session_for
from workbench.store.state import write_atomically, write_state

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
FIRST_SEGMENT = "s0001-000000-import.parquet"


def import_path(runs_dir: Path | str, path: Path | str, name: str | None = None) -> list[str]:
    """Import whatever ``path`` is; returns the ids of the new runs.

    Args:
        runs_dir: the runs directory to import into.
        path: see the head of this file.
        name: name of the new run where the source has none; made from the file name otherwise.

    Raises:
        StoreError: nothing there can be imported, a row is malformed (file and line are named), or
            a run with the same id or name is here already.
        OSError: something cannot be read or written.
    """
    root, path = Path(runs_dir).resolve(), Path(path).absolute()
    if not path.exists():
        raise StoreError(f"{path} does not exist")
    is_runs_dir = (path / STORE_FILE).exists() or any(path.glob("*/run.json"))
    if is_runs_dir or path.suffix == ".duckdb":
        return _import_store(root, path)
    files = sorted(path.glob("completions_*.parquet")) if path.is_dir() else [path]
    if files and files[0].suffix == ".parquet":
        rows = pa.concat_tables([_trl_rollouts(f) for f in files])
    elif files and files[0].suffix in (".jsonl", ".ndjson"):
        try:
            rows = _jsonl_rollouts(path)
        except (ValueError, TypeError) as error:  # a column of another type than it should have
            raise StoreError(f"{path}: {error}") from error
    else:
        raise StoreError(
            f"{path} is none of: a runs directory, a .duckdb export, completions_*.parquet of TRL, "
            "a .jsonl with prompt, completion and rewards"
        )
    run_id = time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{secrets.token_hex(2)}"
    identity = {"name": name or path.stem, "kind": "imported", "created": time.time()}
    return [_add_run(root, run_id, identity, {"rollouts": rows}, None)]


def _import_store(root: Path, path: Path) -> list[str]:
    if path.is_dir() or path.name == STORE_FILE:
        with foreign_session(path if path.is_dir() else path.parent) as source:
            tables = {v: source.arrow(f"FROM {v}") for v in EXPORTED}
            configs = {
                r: (source.root / r / "config.yaml") for r in tables["runs"]["run_id"].to_pylist()
            }
            texts = {
                r: p.read_text("utf-8", "replace")
                for r, p in configs.items()
                if _is_own(p, source.root)
            }
    else:
        tables = _exported_tables(path)
        runs = tables["runs"]
        texts = dict(zip(runs["run_id"].to_pylist(), runs["config"].to_pylist(), strict=True))
    here = set(run_names(root)) | set(session_for(root).frame("SELECT run_id FROM runs").run_id)
    found = tables["runs"].to_pylist()
    new = [run for run in found if run["run_id"] not in here] or found
    for run in found if len(new) < len(found) else ():
        if run["run_id"] in here:
            warnings.warn(f"run {run['run_id']} is here already", StoreWarning, stacklevel=3)
    imported = []
    for run in new:
        run_id = run["run_id"]
        parts = {
            view: rows.filter(pc.equal(rows["run_id"], run_id))
            for view, rows in tables.items()
            if view != "runs"
        }
        imported.append(_add_run(root, run_id, run, parts, texts.get(run_id)))
    return imported


def _exported_tables(path: Path) -> dict[str, pa.Table]:
    """The tables of an exported DuckDB file; a view in it would be code of its maker, and is not.

    Raises:
        StoreError: it is no such file.
    """
    try:
        with duckdb.connect(
            str(path),
            read_only=True,
            config={"enable_external_access": "false", "lock_configuration": "true"},
        ) as con:
            names = con.execute(
                "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'"
            ).fetchall()
            missing = [v for v in EXPORTED if (v,) not in names]
            if missing:
                raise StoreError(f"{path} is not an export of a workbench: no table {missing[0]}")
            return {v: con.sql(f"FROM {v}").to_arrow_table() for v in EXPORTED}
    except duckdb.Error as error:
        raise StoreError(f"{path} is not an export of a workbench: {error}") from error


def _is_own(path: Path, root: Path) -> bool:
    """Whether a file of another runs directory lies in it, and is no link out of it."""
    return path.is_file() and path.resolve().is_relative_to(root)


def _add_run(
    root: Path,
    run_id: str,
    run: Mapping[str, Any],
    parts: Mapping[str, pa.Table],
    config: str | None,
) -> str:
    """Make the directory of an imported run, whole or not at all; returns its id.

    Id and name come from a file that another may have made. The id of a run that was deleted here
    would stay hidden, so that such a run gets a new one.
    """
    if not RUN_ID.match(run_id) or run_id.startswith("."):
        raise StoreError(f"{run_id!r} cannot be the id of a run")
    if not isinstance(run["name"], str) or not run["name"].strip() or len(run["name"]) > 200:
        raise StoreError(f"run {run_id}: {str(run['name'])[:60]!r} cannot be the name of a run")
    given = is_readable(config)
    if not given and "rollouts" in parts and len(parts["rollouts"]):
        try:
            config = assumed_config(parts["rollouts"])
        except ConfigError as error:
            raise StoreError(f"run {run_id}: {error}") from error
    deleted = set(session_for(root).frame("FROM deleted_runs").run_id)
    while run_id in deleted:
        run_id = f"{run_id}-{secrets.token_hex(2)}"
    here = session_for(root).frame("SELECT run_id, name FROM runs")
    if (root / run_id).exists() or run_id in set(here.run_id):
        raise StoreError(f"run {run_id} is here already")
    if run["name"] in set(here.name):
        raise StoreError(f"a run named {run['name']!r} is here already; choose another name")
    with import_folder(root) as made:
        for table, rows in parts.items():
            if len(rows):
                columns = {
                    c: rows[c].combine_chunks()
                    for c in rows.column_names
                    if c in TABLES[table].names
                }
                columns["run_id"] = run_id
                whole = table_of(table, len(rows), columns)
                write_segment(whole, made / "segments" / table / FIRST_SEGMENT)
        summary = {k: run.get(k) for k in ("task", "policy", "scalarizer", "objectives")}
        if summary["objectives"] is None and "rollouts" in parts:
            summary["objectives"] = found_names(parts["rollouts"])
        identity = {
            "run_id": run_id,
            "name": run["name"],
            "kind": run["kind"],
            "created": run["created"],
            "parent": run.get("parent"),
            "seed": run.get("seed"),
            "schema": SCHEMA_VERSION,
            "versions": json.loads(run.get("versions") or "null"),
            "git": json.loads(run.get("git") or "null"),
            "imported": time.time(),
            "config_assumed": not given,
            "summary": summary,
        }
        write_atomically(made / "run.json", json.dumps(identity, indent=1).encode())
        if config is not None:
            write_atomically(made / "config.yaml", config.encode())
        last = parts["rollouts"]["step"].to_pylist() if "rollouts" in parts else []
        done = run.get("step") or max((s for s in last if s is not None), default=0)
        said = {k: run.get(k) for k in ("attempt", "phase", "message", "headline")}
        state = {k: v for k, v in said.items() if v is not None}
        status = run.get("status", "finished")
        status = status if status in ("finished", "failed") else "stopped"
        write_state(made, status=status, step=done, steps=run.get("steps") or done, **state)
        os.replace(made, root / run_id)
    return run_id


def _trl_rollouts(path: Path) -> pa.Table:
    """One of TRL's per-step tables: step, prompt, completion, one column a reward, advantage."""
    table = pq.read_table(path)
    missing = {"step", "prompt", "completion"} - set(table.column_names)
    if missing:
        raise StoreError(f"{path} has no column {sorted(missing)}; it has {table.column_names}")
    rewards = [
        f.name
        for f in table.schema
        if pa.types.is_floating(f.type) and f.name not in ("step", "advantage")
    ]
    rows = table.to_pylist()
    for row in rows:
        row["rewards"] = {r: float("nan") if row[r] is None else row[r] for r in rewards}
    return _rollouts(rows)


def _jsonl_rollouts(path: Path) -> pa.Table:
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                rows.append(_jsonl_row(f"{path}, line {number}", line))
    if not rows:
        raise StoreError(f"{path} has no rows")
    return _rollouts(rows)


def _jsonl_row(where: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        missing = {"prompt", "completion", "rewards"} - set(row)
        if missing:
            raise StoreError(f"{where}: no {', '.join(sorted(missing))}; each row needs all three")
        if not isinstance(row["rewards"], Mapping):
            row["rewards"] = {"reward": row["rewards"]}
        for name, column in ((c.name, c) for c in TABLES["rollouts"].columns):
            if column.type == PER_OBJECTIVE and row.get(name) is not None:
                row[name] = {k: _number(v) for k, v in row[name].items()}
            elif column.type == pa.float64() and row.get(name) is not None:
                row[name] = _number(row[name])
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"{where}: {error}") from error
    return dict(row)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _rollouts(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a table of ``rollouts``; a group is a stretch of rows with one step and prompt."""
    names = {c.name: c for c in TABLES["rollouts"].columns}
    _rename(rows)
    for row, group, sample in zip(rows, *_groups(rows), strict=True):
        row["prompt"], row["completion"] = _text(row["prompt"]), _text(row["completion"])
        if row.get("weights") is None and row["rewards"]:
            row["weights"] = dict.fromkeys(row["rewards"], 1 / len(row["rewards"]))
        row.setdefault("truncated", False)
        row.setdefault("step", 0)
        row.setdefault("split", "train")
        row.setdefault("kind", "default")
        row.setdefault("attempt", 1)
        row.setdefault("prompt_id", hashlib.sha256(row["prompt"].encode()).hexdigest()[:16])
        row.setdefault("group_id", f"{row['split']}-{row['step']:06d}-{group:03d}")
        row.setdefault("sample", sample)
    columns = {
        name: [row.get(name) for row in rows]
        for name in names
        if any(row.get(name) is not None for row in rows)
    }
    keys = [list(row["rewards"]) for row in rows]
    for name in columns:
        if names[name].type == PER_OBJECTIVE:
            # every map of a row has the keys of its rewards, in their order
            maps = zip(columns[name], keys, strict=True)
            aligned = [None if m is None else [(k, m.get(k)) for k in ks] for m, ks in maps]
            columns[name] = pa.array(aligned, PER_OBJECTIVE)
    return table_of("rollouts", len(rows), columns)


def _rename(rows: list[dict[str, Any]]) -> None:
    """Give rewards names that objectives can have, wherever a row speaks of them."""
    names = objective_names(dict.fromkeys(str(n) for row in rows for n in row["rewards"]))
    if all(new == old for old, new in names.items()):
        return
    maps = [c.name for c in TABLES["rollouts"].columns if c.type == PER_OBJECTIVE]
    for row in rows:
        for column in maps:
            if row.get(column) is not None:
                row[column] = {names.get(str(k), str(k)): v for k, v in row[column].items()}
        if isinstance(row.get("action"), str):
            row["action"] = names.get(row["action"], row["action"])


def _groups(rows: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """Number of each row's group within its step, and of the row within its group."""
    groups: list[int] = []
    samples: list[int] = []
    for i, row in enumerate(rows):
        before = rows[i - 1] if i else None
        if before is None or before.get("step") != row.get("step"):
            group, sample = 0, 0
        elif before["prompt"] != row["prompt"]:
            group, sample = groups[-1] + 1, 0
        else:
            group, sample = groups[-1], samples[-1] + 1
        groups.append(group)
        samples.append(sample)
    return groups, samples


def _text(value: Any) -> str:
    """Chat messages as ``role: content`` lines, anything else as it is."""
    if isinstance(value, list):
        return "\n".join(f"{m.get('role')}: {m.get('content')}" for m in value)
    return str(value)
