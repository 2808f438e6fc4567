"""Bring runs into a store, each with segments like any other.

Files of rows that other trainers wrote become tables in ``runs.imports``.
"""

from __future__ import annotations

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

from workbench.config.io import ConfigError
from workbench.store.catalog import STORE_FILE
from workbench.store.encode import table_of
from workbench.store.errors import StoreError, StoreWarning
from workbench.store.export import EXPORTED
from workbench.store.inferred_config import (
    assumed_config,
    found_names,
    is_readable,
)
from workbench.store.leftovers import import_folder
from workbench.store.manifest import run_names
from workbench.store.schema import SCHEMA_VERSION, TABLES
from workbench.store.segments import write_segment
from workbench.store.session import foreign_session, session_for
from workbench.store.state import write_atomically, write_state

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
FIRST_SEGMENT = "s0001-000000-import.parquet"


def import_store(root: Path, path: Path) -> list[str]:
    """Import every run of another runs directory, or of a DuckDB file that one exported.

    Raises:
        StoreError: it is none, or a run of it is here already.
    """
    if path.is_dir() or path.name == STORE_FILE:
        with foreign_session(path if path.is_dir() else path.parent) as source:
            tables = {v: source.arrow(f"FROM {v}") for v in EXPORTED if v != "contexts"}
            runs_there = tables["runs"]["run_id"].to_pylist()
            contexts = [source.context_table(run_id) for run_id in runs_there]
            if contexts:
                tables["contexts"] = pa.concat_tables(contexts)
            configs = {r: source.root / r / "config.yaml" for r in runs_there}
            texts: dict[str, str | None] = {
                r: p.read_text("utf-8", "replace")
                for r, p in configs.items()
                if _is_own(p, source.root)
            }
    else:
        tables = _exported_tables(path)
        runs = tables["runs"]
        texts = dict(zip(runs["run_id"].to_pylist(), runs["config"].to_pylist(), strict=True))
    return add_runs(root, tables, texts)


def add_runs(
    root: Path, tables: Mapping[str, pa.Table], configs: Mapping[str, str | None]
) -> list[str]:
    """Import the runs of whole tables; returns their ids.

    Args:
        root: the runs directory to import into.
        tables: by view; each has ``run_id``.
        configs: each run's configuration as YAML, where one is known.
    """
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
        imported.append(add_run(root, run_id, run, parts, configs.get(run_id)))
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
            views = [v for v in EXPORTED if v != "contexts" or (v,) in names]  # older: without
            missing = [v for v in views if (v,) not in names]
            if missing:
                raise StoreError(f"{path} is not an export of a workbench: no table {missing[0]}")
            return {v: con.sql(f"FROM {v}").to_arrow_table() for v in views}
    except duckdb.Error as error:
        raise StoreError(f"{path} is not an export of a workbench: {error}") from error


def _is_own(path: Path, root: Path) -> bool:
    """Whether a file of another runs directory lies in it, and is no link out of it."""
    return path.is_file() and path.resolve().is_relative_to(root)


def add_run(
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
        done, steps = int(done), int(run.get("steps") or done)
        state = {k: run.get(k) for k in ("phase", "message", "headline")}
        state["attempt"] = run.get("attempt") or 1  # rows of elsewhere know of no starts
        status = run.get("status", "finished")
        status = status if status in ("finished", "failed") else "stopped"
        write_state(made, status=status, step=done, steps=steps, **state)
        os.replace(made, root / run_id)
    return run_id
