"""What one asks about runs, each one call: SQL in here, tidy DataFrames out.

``run`` is an id or a name, or several of them; rows of several runs stand under each other, told
apart by ``run_id``. Objectives are rows (``objective``), never columns, except where said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workbench.analysis.display import Group
from workbench.runs import rundir
from workbench.runs.launcher import Launcher

if TYPE_CHECKING:
    from workbench.store.doctor import Health
    from workbench.store.export import Format
    from workbench.store.reader import Answer, Store

Runs = str | Sequence[str]
MAX_ROWS = 10_000
"""Rows that ``query`` returns at most, unless told otherwise."""


class Questions:
    """The reading half of ``Workbench``."""

    launcher: Launcher
    runs_dir: Path

    @cached_property
    def store(self) -> Store:
        """The DuckDB store of the runs directory; made when it is missing."""
        from workbench.store.reader import Store

        return Store(self.runs_dir)

    def resolve(self, handle: str) -> str:
        """The id of a run given by id or name, runs without a directory of their own included.

        Raises:
            UnknownRunError: there is none; near names are listed.
        """
        try:
            return self.launcher.path(handle).name
        except rundir.UnknownRunError:
            if not (self.runs_dir / "workbench.duckdb").exists():
                raise
            known = self.store.sql(
                "SELECT run_id FROM runs WHERE run_id = $handle OR name = $handle "
                "ORDER BY run_id = $handle DESC LIMIT 1",
                {"handle": str(handle)},
            )
            if known.empty:
                raise
            return str(known["run_id"].iloc[0])

    def has(self, handle: str) -> bool:
        """Whether there is a run with this id or name."""
        try:
            self.resolve(handle)
        except rundir.UnknownRunError:
            return False
        return True

    def sql(self, query: str, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Any SELECT over the store's views: ``runs``, ``rollouts``, ``metrics`` and so on.

        Args:
            query: the SELECT; ``$name`` stands for a parameter.
            params: their values; a number taken out of a DataFrame will do.
        """
        given = {k: v.item() if isinstance(v, np.generic) else v for k, v in (params or {}).items()}
        return self.store.sql(query, given or None)

    def query(self, query: str, limit: int = MAX_ROWS) -> Answer:
        """The same for a stranger's text: at most ``limit`` rows, and a notice when cut."""
        return self.store.query(query, limit)

    def schema(self) -> pd.DataFrame:
        """Every view and column with its type and meaning: view, column, type, comment."""
        from workbench.store.describe import schema_frame

        return schema_frame()

    @property
    def notices(self) -> list[str]:
        """What is missing from answers and why, one line each; empty where nothing is."""
        return self.store.notices

    def doctor(self, mend: bool = False) -> Health:
        """The state of the store: what lies where, what is wrong, what to do about it.

        Args:
            mend: first clear what killed processes left, and put back segments that are whole.
        """
        from workbench.store.doctor import examine

        return examine(self.runs_dir, mend)

    def export(self, runs: Runs, target: str | Path, format: Format = "parquet") -> list[Path]:
        """Write runs to a new folder with one file a view, or to one DuckDB file.

        Raises:
            StoreError: the target exists, or the format is unknown.
        """
        from workbench.store.export import export

        handles = [runs] if isinstance(runs, str) else list(runs)
        return export(self.runs_dir, [self.resolve(h) for h in handles], target, format)

    def import_(self, path: str | Path, name: str | None = None) -> list[str]:
        """Bring in runs: a store, an export, TRL's completion tables, JSONL; returns their ids.

        Raises:
            StoreError: nothing there can be imported; file and line are named.
        """
        from workbench.store.imports import import_path

        return import_path(self.runs_dir, path, name)

    def rollouts(
        self,
        run: Runs,
        *,
        split: str | None = None,
        kind: str | None = None,
        step: int | None = None,
        prompt_id: str | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Logged completions, one row each, in the order they were sampled.

        Args:
            run: id or name, or several.
            split: ``"train"`` or ``"probe"``.
            kind: kind of prompt.
            step: policy step.
            prompt_id: one prompt.
            limit: at most so many rows.
        """
        where = {"split": split, "kind": kind, "step": step, "prompt_id": prompt_id}
        return self._rows("rollouts", run, where, "run_id, step, split, group_id, sample", limit)

    def weights(
        self,
        run: Runs,
        *,
        by: Sequence[str] = ("step", "kind"),
        split: str = "train",
        prompt_id: str | None = None,
    ) -> pd.DataFrame:
        """Mean weight, reward and Conductor's probability per objective.

        Args:
            run: id or name, or several.
            by: what to average within: any of step, kind, prompt_id, group_id.
            split: ``"train"`` or ``"probe"``.
            prompt_id: only this prompt.

        Returns:
            Columns run_id, those of ``by``, objective, weight, probability, reward, rows.
        """
        allowed = ("step", "kind", "prompt_id", "group_id")
        wrong = [name for name in by if name not in allowed]
        if wrong:
            raise ValueError(f"by: {wrong} not allowed; allowed are {', '.join(allowed)}")
        keys = ", ".join(["run_id", *by, "objective"])
        runs, params = self._of(run)
        if prompt_id is not None:
            runs, params = f"{runs} AND prompt_id = $prompt", params | {"prompt": prompt_id}
        return self.sql(
            f"SELECT {keys}, avg(weight) AS weight, avg(probability) AS probability, "
            "avg(reward) FILTER (NOT isnan(reward)) AS reward, count(*) AS rows "
            f"FROM rollout_objectives WHERE {runs} AND split = $split "
            f"GROUP BY {keys} ORDER BY {keys}",
            params | {"split": split},
        )

    def group(self, run: str, prompt_id: str, *, step: int | None = None) -> Group:
        """The completions of one prompt at one step, the newest one where none is given.

        In a notebook it shows weights, drawn emphasis, rewards and advantage beside each text.

        Raises:
            ValueError: the prompt was not sampled there.
        """
        rows = self.rollouts(run, prompt_id=prompt_id, step=step)
        if rows.empty:
            at = "" if step is None else f" at step {step}"
            raise ValueError(f"no completions of prompt {prompt_id!r}{at} in run {run!r}")
        last = rows["group_id"].iloc[-1]
        return Group(rows[rows["group_id"] == last].reset_index(drop=True))

    def prompts(
        self, run: Runs, *, split: str | None = None, kind: str | None = None
    ) -> pd.DataFrame:
        """Each prompt once, with how often and when it was sampled."""
        return self._rows(
            "prompts", run, {"split": split, "kind": kind}, "run_id, split, prompt_id"
        )

    def curves(
        self, run: Runs, names: Sequence[str] | None = None, *, split: str | None = None
    ) -> pd.DataFrame:
        """Everything measured over training: run_id, step, split, name, value."""
        frame = self._rows("metrics", run, {"split": split}, "run_id, split, name, step")
        wanted = frame if names is None else frame[frame["name"].isin(list(names))]
        return wanted[["run_id", "step", "split", "name", "value"]].reset_index(drop=True)

    def conductor(self, run: Runs) -> pd.DataFrame:
        """One row an update of the Conductor."""
        return self._rows("conductor_updates", run, {}, "run_id, step")

    def evaluations(self, run: Runs, *, phase: str | None = None) -> pd.DataFrame:
        """Held-out completions, one row each; ``phase`` is before, after or a later one's name."""
        return self._rows("evaluations", run, {"phase": phase}, "run_id, step, kind, prompt_id")

    def checkpoints(self, run: Runs) -> pd.DataFrame:
        """Checkpoints that were saved; ``removed`` where retention has deleted them."""
        return self._rows("checkpoints", run, {}, "run_id, step")

    def warnings(self, run: Runs) -> pd.DataFrame:
        """What the diagnostics had to say, with what to try."""
        return self._rows("warnings", run, {}, "run_id, step")

    def annotations(self, run: Runs) -> pd.DataFrame:
        """Votes, ratings, tags and notes of people."""
        return self._rows("annotations", run, {}, "run_id, time")

    def outcome(self, run: str) -> dict[str, Any]:
        """What came of a run: held-out judge before and after, mean weights, each per family."""
        from workbench.analysis.summary import outcome

        return outcome(self, run)

    def _rows(
        self,
        view: str,
        run: Runs,
        where: Mapping[str, Any],
        order: str,
        limit: int | None = None,
    ) -> pd.DataFrame:
        given = {k: v for k, v in where.items() if v is not None}
        filters = "".join(f" AND {name} = ${name}" for name in given)
        runs, params = self._of(run)
        cut = "" if limit is None else f" LIMIT {int(limit)}"
        return self.sql(
            f"SELECT * FROM {view} WHERE {runs}{filters} ORDER BY {order}{cut}", params | given
        )

    def _of(self, run: Runs) -> tuple[str, dict[str, Any]]:
        """A condition on ``run_id`` and its parameters."""
        handles = [run] if isinstance(run, str) else list(run)
        params = {f"run{i}": str(self.resolve(handle)) for i, handle in enumerate(handles)}
        return f"run_id IN ({', '.join(f'${key}' for key in params)})", params
