"""Workbench: everything that a button, a command or a notebook cell can do.

Usage::

    from workbench import Workbench

    wb = Workbench("runs")
    run = wb.start("quick")
    run.wait()
    wb.weights(run)

Runs are named by id or by name. Questions answer with DataFrames, pictures are plotly figures.
Nothing here imports torch: training and evaluation are child processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench import rundir
from workbench.config import RunConfig
from workbench.launcher import Launcher
from workbench.runhandle import Run

if TYPE_CHECKING:
    from workbench.store.reader import Store

MAX_ACTIVE = 4
"""Runs that are active at once before further ones queue, unless told otherwise."""


class Workbench:
    """One runs directory: its runs, its store, its pictures.

    Args:
        runs_dir: where runs live; made when first needed.
        limit: how many runs may be active at once before new ones queue; None: no limit.
        command: beginning of the child's command line, for tests; see ``Launcher``.
        allowed_functions: which ``package.module:function`` a configuration may name; None: any.
    """

    def __init__(
        self,
        runs_dir: str | Path = "runs",
        *,
        limit: int | None = MAX_ACTIVE,
        command: Sequence[str] | None = None,
        allowed_functions: Sequence[str] | None = None,
    ) -> None:
        self.launcher = Launcher(
            runs_dir, limit=limit, command=command, allowed_functions=allowed_functions
        )
        self.runs_dir = self.launcher.runs_dir

    def __repr__(self) -> str:
        return f"Workbench({str(self.runs_dir)!r})"

    @cached_property
    def store(self) -> Store:
        """The DuckDB store of the runs directory; made when it is missing."""
        from workbench.store.reader import Store

        return Store(self.runs_dir)

    # -- runs -----------------------------------------------------------------------------------

    def start(
        self,
        config: str | Path | Mapping[str, Any] | RunConfig,
        *,
        token: str | None = None,
        parent: str | None = None,
    ) -> Run:
        """Start a run in a process of its own and return its handle at once.

        Args:
            config: a preset (``"quick"``), a YAML file, a mapping or a ``RunConfig``.
            token: a second start with the same token returns the first one's run.
            parent: the run that this one was made from.

        Raises:
            ConfigError: a key or value is not allowed; the text names it.
            LauncherError: the name is taken.
        """
        return self.run(self.launcher.start(config, token=token, parent=parent))

    def run(self, handle: str) -> Run:
        """A run by id or name. Raises UnknownRunError."""
        return Run(self.resolve(handle), self)

    def runs(self) -> pd.DataFrame:
        """One row a run, newest first, live status included. Queued runs start where they can."""
        columns = list(rundir.RunInfo("", "", "").as_dict())
        rows = [info.as_dict() for info in self.launcher.list()]
        return pd.DataFrame(rows, columns=None if rows else columns)

    def state(self, handle: str) -> dict[str, Any]:
        """What there is to say of one run now: status, step, steps, ETA, message and so on."""
        return self.launcher.get(handle).as_dict()

    def config(self, handle: str) -> RunConfig:
        """The configuration of a run."""
        return rundir.read_config(self.launcher.path(handle))

    def resolve(self, handle: str) -> str:
        """The id of a run given by id or name. Raises UnknownRunError with near names."""
        return self.launcher.path(handle).name

    def stop(self, handle: str, *, wait: bool = False, now: bool = False) -> str:
        """Ask a run to stop after its current step; returns its id.

        With ``wait`` return only when its whole process group is gone: one that does not hear is
        terminated, then killed. ``now`` kills at once.
        """
        if wait or now:
            return self.launcher.stop(handle, now=now).run_id
        return self.launcher.request_stop(handle)

    def resume(self, handle: str) -> Run:
        """Continue a run that ended before its last step. Raises LauncherError."""
        return Run(self.launcher.resume(handle), self)

    def duplicate(self, handle: str, name: str | None = None) -> RunConfig:
        """The configuration of a run under another name (or none), to be changed and started."""
        from workbench.configio import to_dict, validate

        return validate(to_dict(self.config(handle)) | {"name": name})

    def rename(self, handle: str, name: str) -> str:
        """Give a run another name; returns its id."""
        return self.launcher.rename(handle, name)

    def delete(self, handle: str) -> str:
        """Delete a run, its rows and its checkpoints for good; returns its id."""
        return self.launcher.delete(handle)

    # -- questions ------------------------------------------------------------------------------

    def sql(self, query: str, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Any SELECT over the store's views: ``runs``, ``rollouts``, ``metrics`` and so on."""
        return self.store.sql(query, params)
