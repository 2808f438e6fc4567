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

import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from workbench.analysis import (
    agreement,
    counterfactual,
    figures,
    group_report,
    groups,
    queries,
    summary,
    sweeps,
    votes,
)
from workbench.analysis.display import Prose, RunTable
from workbench.analysis.queries import Runs
from workbench.api.asking import of_run, of_runs
from workbench.api.handle import Run
from workbench.api.model_export import export_model
from workbench.config import RunConfig
from workbench.config.io import load, to_dict, validate
from workbench.runs import archiving, provenance, rundir, sweep_plan
from workbench.runs.evaluations import Evaluation
from workbench.runs.launcher import Launcher
from workbench.runs.spawn import MAX_ACTIVE
from workbench.runs.validation import check_runnable
from workbench.store.reader import MAX_ROWS, Answer, Store

Outward = Literal["datasets", "dpo", "lm-eval"]

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.store.annotations import AnnotationType
    from workbench.store.doctor import Health
    from workbench.store.export import Format


RUN_TYPES: Mapping[str, tuple[str, ...]] = {
    "float64": ("created", "heartbeat", "eta_seconds", "steps_per_second", "weights_entropy"),
    "int64": ("step", "steps", "attempt"),
    "Int64": ("pid", "seed"),
}
"""Types of columns of ``runs()``, the same whatever runs there are."""


class Workbench:
    """One runs directory: its runs, its store, its figures.

    Args:
        runs_dir: where runs live; made when first needed.
        limit: how many runs may be active at once before new ones queue; None: no limit.
        command: beginning of the child's command line, for tests; see ``Launcher``.
        allowed_functions: which ``package.module:function`` a configuration may name; None: any.
        allowed_paths: folders whose files and models a configuration may name, beside
            ``runs_dir``; None: any.
    """

    def __init__(
        self,
        runs_dir: str | Path = "runs",
        *,
        limit: int | None = MAX_ACTIVE,
        command: Sequence[str] | None = None,
        allowed_functions: Sequence[str] | None = None,
        allowed_paths: Sequence[str | Path] | None = None,
    ) -> None:
        self._how = {
            "limit": limit, "command": command, "allowed_functions": allowed_functions,
            "allowed_paths": allowed_paths,
        }  # fmt: skip
        self.launcher = Launcher(Path(runs_dir).expanduser(), **self._how)
        self.runs_dir = self.launcher.runs_dir
        self._housekeeper = archiving.Housekeeper(self.runs_dir)

    @cached_property
    def store(self) -> Store:
        """The DuckDB store of the runs directory; made when it is missing."""
        return Store(self.runs_dir)

    def __getstate__(self) -> tuple[Path, dict[str, Any]]:
        """What makes the same one in another process; files and locks are opened anew there."""
        return self.runs_dir, self._how

    def __setstate__(self, state: tuple[Path, dict[str, Any]]) -> None:
        """Open the same runs directory."""
        Workbench.__init__(self, state[0], **state[1])

    def __repr__(self) -> str:
        return f"Workbench({str(self.runs_dir)!r})"

    # -- runs -----------------------------------------------------------------------------------

    def start(
        self,
        config: str | Path | Mapping[str, Any] | RunConfig,
        *,
        sets: Sequence[str] = (),
        token: str | None = None,
        parent: str | None = None,
        **launch: Any,
    ) -> Run:
        """Start a run in a process of its own and return its handle at once.

        Args:
            config: a preset (``"quick"``), a YAML file, a mapping or a ``RunConfig``.
            sets: overrides ``key=value``, e.g. ``"name=first"``, ``"steps=20"``.
            token: a second start with the same token returns the first one's run.
            parent: the run that this one was made from.
            launch: ``processes=N`` trains on N processes of this machine,
                ``accelerate_config=FILE`` as a file of ``accelerate config`` says.

        Raises:
            ConfigError: a key or value is not allowed; the text names it.
            LauncherError: the name is taken.
        """
        config = load(config, sets) if sets else config
        run_id = self.launcher.start(config, token=token, parent=parent, launch=launch)
        return Run(run_id, self.launcher)

    def offline_config(
        self,
        source: str | Sequence[str],
        method: str = "dro",
        *,
        sets: Sequence[str] = (),
        name: str | None = None,
    ) -> RunConfig:
        """The configuration of a run that learns from logged rows, to be changed and started.

        Args:
            source: runs by id or name, a file of (prompt, response, reward) rows, or
                ``"annotations"`` for everything people voted on.
            method: ``"rpo"``, ``"dro"``, ``"kto"``, ``"sft"`` or ``"dpo"``.
            sets: overrides ``key=value``, e.g. ``"rpo.tau=2"``, ``"steps=50"``.
            name: name of the new run.
        """
        from workbench.runs.offline_config import offline_run

        def annotated() -> list[str]:
            query = "SELECT DISTINCT run_id FROM annotations WHERE type IN ('rating', 'vote')"
            return sorted(self.sql(query)["run_id"])

        return offline_run(source, method, self.runs_dir, sets=sets, name=name, annotated=annotated)

    def offline(self, source: str | Sequence[str], method: str = "dro", **options: Any) -> Run:
        """Learn from logged rows in a process of its own; see ``offline_config``."""
        return self.start(self.offline_config(source, method, **options))

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

    def _ids(self, runs: Runs) -> list[str]:
        return [self.resolve(handle) for handle in ([runs] if isinstance(runs, str) else runs)]

    def run(self, handle: str) -> Run:
        """A run by id or name. Raises UnknownRunError."""
        return Run(self.resolve(handle), self.launcher)

    def runs(self) -> RunTable:
        """One row a run, newest first, live status included. Queued runs start where they can.

        Rows of runs that this process has started are archived, by a process of their own, when
        they are found to have ended, or when this process holds many that are not archived yet.
        """
        columns = [*rundir.RunInfo("", "", "").as_dict(), *rundir.SUMMARY]
        rows = [{c: known.get(c) for c in columns} for known in self._known_runs()]
        waiting = self.store.waiting if "store" in self.__dict__ else 0  # only if it was opened
        self._housekeeper.look(self.launcher.take_ended(), waiting)
        table = pd.DataFrame(rows, columns=columns)
        for types, names in RUN_TYPES.items():
            table = table.astype(dict.fromkeys(names, types))
        return RunTable(table)

    def _known_runs(self) -> list[dict[str, Any]]:
        return [info.as_dict() for info in self.launcher.list()]

    def state(self, handle: str) -> dict[str, Any]:
        """What there is to say of one run now: status, step, steps, ETA, message and so on."""
        return self.launcher.get(handle).as_dict()

    def config(self, handle: str) -> RunConfig:
        """The configuration of a run."""
        return rundir.read_config(self.launcher.path(handle))

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
        return Run(self.launcher.resume(handle), self.launcher)

    def duplicate(self, handle: str, name: str | None = None) -> RunConfig:
        """The configuration of a run under another name (or none), to be changed and started."""
        return validate(to_dict(self.config(handle)) | {"name": name})

    def rename(self, handle: str, name: str) -> str:
        """Give a run another name; returns its id."""
        return self.launcher.rename(handle, name)

    def delete(self, handle: str) -> str:
        """Delete a run, its rows and its checkpoints for good; returns its id."""
        return self.launcher.delete(handle)

    def archive(self, run: str | None = None) -> str:
        """Move rows that are still in segments into native tables, in a process of its own."""
        return archiving.archive(self.runs_dir, None if run is None else self.resolve(run))

    def annotate(self, run: str, type: AnnotationType, **values: Any) -> str:
        """Store a rating, vote, tag or note about a run or one of its completions; returns its id.

        Takes ``rater``, ``score`` in [0, 1], ``text``, and where it belongs: ``split``, ``step``,
        ``prompt_id``, ``group_id``, ``sample``; ``annotation_id`` replaces an earlier one.
        """
        from workbench.store.annotations import annotate

        return annotate(self.runs_dir, self.resolve(run), type, **values)

    def retract(self, run: str, annotation_id: str) -> None:
        """Take an annotation back."""
        from workbench.store.annotations import retract

        retract(self.runs_dir, self.resolve(run), annotation_id)

    def evaluate(
        self,
        run: str,
        checkpoint: str | int = "last",
        *,
        split: str = "report",
        prompts: int | None = None,
        num_generations: int | None = None,
        temperature: float | None = None,
        phase: str | None = None,
        prompt: str | None = None,
    ) -> Evaluation:
        """Evaluate a checkpoint in a process of its own; ``.wait()`` gives the means.

        Args:
            run: id or name.
            checkpoint: ``base`` (before training), ``last``, ``best``, a step or a path.
            split: ``report`` (held out), ``calibration`` or ``train``.
            prompts: how many; None: as the run was configured.
            num_generations: completions per prompt.
            temperature: 0 is greedy.
            phase: the name under which ``evaluations`` keeps it.
            prompt: one prompt of one's own instead of a split.

        Raises:
            LauncherError: the run was imported, so that it has no checkpoints here.
            ConfigError: it names code that is not allowed.
        """
        options = {
            "checkpoint": checkpoint,
            "split": split,
            "prompts": prompts,
            "num_generations": num_generations,
            "temperature": temperature,
            "phase": phase,
            "prompt": prompt,
        }
        path = self.launcher.path(run)
        check_runnable(path, self.launcher.allowed_functions)
        return Evaluation(path, options)

    def export_model(self, run: str, checkpoint: str | int = "best") -> Path:
        """A checkpoint as a model folder with a card, in ``<runs>/exports``; returns the folder.

        Args:
            run: id or name.
            checkpoint: ``best``, ``last`` or a step.
        """
        run_dir = self.launcher.path(run)
        return export_model(run_dir, self.config(run), self.outcome(run), checkpoint)

    def reproduce(self, run: str) -> dict[str, Any]:
        """What it takes to make a run again: the command, versions, code and data."""
        path = self.launcher.path(run)
        return provenance.recipe(rundir.read_identity(path), self.config(run))

    # -- what would have been, what is better ---------------------------------------------------

    def whatif(
        self,
        run: str,
        scalarizer: str | Mapping[str, Any] | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        conductor: str | None = None,
        split: str = "train",
        aggregation: str | None = None,
    ) -> counterfactual.LoggedWhatIf:
        """Advantages of logged rows under another weighting; nothing is trained.

        Args:
            run: whose rows.
            scalarizer: name or settings of a scalarizer, e.g. ``"saw"``.
            weights: fixed weights per objective instead.
            conductor: the run whose latest Conductor is asked instead (contexts must be logged).
            split: ``"train"`` or ``"probe"``.
            aggregation: None: the run's own.

        Raises:
            ValueError: not exactly one weighting is given, or it does not fit the rows.
        """
        state = None
        if conductor is not None:
            state = counterfactual.latest_conductor(self.launcher.path(conductor))
        return counterfactual.whatif_run(
            self.store, self.resolve(run), self.config(run), scalarizer, weights, state, split,
            aggregation,
        )  # fmt: skip

    def compare(
        self,
        runs: Sequence[str],
        *,
        phase: str | None = None,
        reference: Mapping[str, float] | str | None = None,
    ) -> counterfactual.Comparison:
        """Two or more runs or checkpoints on the same held-out prompts.

        Args:
            runs: ids or names; ``RUN@STEP`` is the evaluation of one checkpoint, ``RUN@before``
                that of the start.
            phase: which evaluation of those without ``@``; None: the newest.
            reference: reference point of the hypervolume, per objective after its sign; or
                ``"bounds"`` (the lower bounds that the objectives declare), ``"worst"`` (just below
                the worst mean among the sides), or one of ``runs`` (its means). None: the bounds
                where there are any, else the worst.
        """
        return counterfactual.compare_runs(self.store, self._sides(runs), phase, reference)

    def _sides(self, runs: Runs) -> dict[str, str]:
        """Runs and checkpoints (``RUN@STEP``) as asked for, with the ids of their runs."""
        handles = [runs] if isinstance(runs, str) else runs
        return {str(handle): self.resolve(handle.partition("@")[0]) for handle in handles}

    def figure(self, name: str, run: Runs | None = None, **options: Any) -> go.Figure:
        """A picture by name, of a run (``wb.figure("weights", "my-run")``) or of ``data=``.

        ``wb.figures()`` lists all. Raises ValueError when there is no such picture, or when it
        shows one run and several are given.
        """
        theirs = None if "data" in options else figures.of_others().get(name)
        if theirs is not None and run is not None:
            return figures.framed(theirs(self, run, **options))
        sides = None if run is None else self._sides(run)
        return figures.draw(self.store, name, sides, **options)

    def figures(self) -> Prose:
        """Every picture that ``figure`` draws: name, of (``run`` or ``data``), meaning."""
        return Prose(figures.catalogue())

    # -- questions ------------------------------------------------------------------------------

    def sql(
        self, query: str, params: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> pd.DataFrame:
        """Any SELECT over the store's views: ``runs``, ``rollouts``, ``metrics`` and so on.

        Args:
            query: the SELECT; ``$name`` or ``?`` stands for a parameter.
            params: their values; a number taken out of a DataFrame will do.
        """
        if params is not None and not isinstance(params, Mapping):
            given: Any = [v.item() if isinstance(v, np.generic) else v for v in params]
        else:
            given = queries.plain(params or {})
        return self.store.sql(query, given or None)

    def query(self, query: str, limit: int = MAX_ROWS) -> Answer:
        """The same for a stranger's text: at most ``limit`` rows, and a notice when cut."""
        return self.store.query(query, limit)

    def schema(self) -> pd.DataFrame:
        """Every view and column with its type and meaning: view, column, type, comment."""
        from workbench.store.describe import schema_frame

        return schema_frame()

    def settings(self, find: str = "") -> Prose:
        """Every key that a run's configuration has: key, scalarizer, allowed, default, meaning.

        Args:
            find: only keys whose name or meaning contains this text.
        """
        from workbench.config.doc import describe_fields

        rows = [
            (field.path, field.variant, field.allowed, field.default, field.help)
            for field in describe_fields()
            if find.lower() in f"{field.path} {field.help}".lower()
        ]
        return Prose(rows, columns=["key", "scalarizer", "allowed", "default", "meaning"])

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

    def export(
        self,
        runs: Runs,
        target: str | Path,
        format: Format | Outward = "parquet",
        *,
        by: str = "advantage",
    ) -> list[Path]:
        """Write runs to a new folder with one file a view, or to one DuckDB file.

        ``parquet``, ``csv``, ``jsonl`` and ``duckdb`` come back whole (``import_``); ``datasets``
        (with a card), ``dpo`` (preference pairs) and ``lm-eval`` (samples) are for other tools.

        Args:
            runs: ids or names.
            target: a new folder, or file.
            format: one of these.
            by: for ``dpo``, what tells the best of a group: advantage, scalar, judge, votes or
                ``reward:NAME``.

        Raises:
            StoreError: the target exists, or the format is unknown.
        """
        from workbench.analysis.outward import FORMATS, write_outward
        from workbench.store.export import export

        ids, target = self._ids(runs), Path(target).expanduser()
        if format in FORMATS:
            return write_outward(self.store, ids, target, format, by)
        return export(self.runs_dir, ids, target, cast("Format", format))

    def import_(
        self, path: str | Path, name: str | None = None, rewards: Sequence[str] | None = None
    ) -> list[str]:
        """Bring in runs: a store, an export, rows that TRL or others wrote; returns their ids.

        Args:
            path: see ``workbench.runs.imports``.
            name: name of the new run where the source has none.
            rewards: which columns of TRL's tables are rewards; None: told by the advantages.

        Raises:
            StoreError: nothing there can be imported; file and row are named.
        """
        from workbench.runs.imports import import_path

        return import_path(self.runs_dir, path, name, rewards)

    def push(
        self,
        run: str | Sequence[str],
        repo: str,
        *,
        checkpoint: str | int | None = None,
        private: bool = True,
    ) -> str:
        """Upload rollouts as a data set with a card, or a checkpoint as a model; the address.

        Args:
            run: id or name; for rollouts several will do.
            repo: ``OWNER/NAME`` on the hub, made where it is missing.
            checkpoint: ``best``, ``last`` or a step: that model instead of rollouts.
            private: whether a repository that is made now is private.

        Raises:
            ValueError: ``repo`` is no such name, or there is no such checkpoint.
            PushError: the hub cannot be reached, or refuses.
        """
        from workbench.api.sharing import check_name, push_folder

        check_name(repo)
        if checkpoint is not None:
            if not isinstance(run, str):
                raise ValueError("a checkpoint is of one run")
            return push_folder(self.export_model(run, checkpoint), repo, "model", private)
        with tempfile.TemporaryDirectory() as folder:
            self.export(run, Path(folder) / "rows", "datasets")
            return push_folder(Path(folder) / "rows", repo, "dataset", private)

    rollouts = of_runs(queries.rollouts)
    weights = of_runs(queries.weights)
    prompts = of_runs(queries.prompts)
    curves = of_runs(queries.curves)
    conductor = of_runs(queries.conductor_updates)
    evaluations = of_runs(queries.evaluations)
    checkpoints = of_runs(queries.checkpoints)
    warnings = of_runs(queries.warnings)
    annotations = of_runs(queries.annotations)
    groups = of_run(groups.listed)
    weight_map = of_run(queries.last_weights)
    group = of_run(group_report.shown)
    findings = of_run(group_report.explained)
    self_favouring = of_run(group_report.favouring)
    agreement = of_run(agreement.agreement)
    to_rate = of_run(votes.candidates)
    vote = of_run(votes.vote)

    def outcome(self, run: str) -> dict[str, Any]:
        """What came of a run: held-out judge before and after, mean weights, each per family."""
        run_id = self.resolve(run)
        live = self.state(run_id) if (self.runs_dir / run_id).is_dir() else None
        return summary.outcome(self.store, run_id, live)

    # -- sweeps ---------------------------------------------------------------------------------

    def sweeps(self) -> list[str]:
        """Names of the sweeps of this runs directory."""
        return sweep_plan.names(self.runs_dir)

    def sweep(self, name: str) -> sweeps.SweepResult:
        """What a sweep has found so far. Raises SweepError when there is none of that name."""
        return sweeps.sweep(self.store, name)

    def start_sweep(
        self,
        config: Any,
        sets: Sequence[str],
        *,
        name: str,
        seeds: Sequence[int] = (0,),
        **more: Any,
    ) -> sweeps.SweepResult:
        """Start a sweep in a process of its own and return at once.

        Args:
            config: A preset, a YAML file or a mapping.
            sets: ``key=a,b,c``, ``key=low..high[:log]`` or ``key=value``.
            name: Of the sweep.
            seeds: Each configuration runs once for each.
            **more: ``random``, ``sampler``, ``pruner``, ``jobs``, ``metric``, ``minimize``,
                ``processes``; see ``SweepPlan``.

        Raises:
            SweepError: The sweep cannot be made, or its name is taken.
            ConfigError: A value is not allowed.
        """
        sweeps.start_sweep(self.launcher, config, sets, name, seeds, **more)
        return self.sweep(name)
