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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.analysis.display import RunTable
from workbench.analysis.insights import Insights
from workbench.analysis.queries import Questions, Runs
from workbench.analysis.sweeps import Sweeps
from workbench.api.handle import Run
from workbench.config import RunConfig
from workbench.runs import rundir
from workbench.runs.archiving import Housekeeper
from workbench.runs.launcher import Launcher
from workbench.runs.spawn import MAX_ACTIVE
from workbench.runs.validation import check_runnable

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.analysis.comparison import Comparison
    from workbench.analysis.counterfactual import LoggedWhatIf
    from workbench.runs.evaluations import Evaluation
    from workbench.store.annotations import AnnotationType


class Workbench(Questions, Insights, Sweeps):
    """One runs directory: its runs, its store, its pictures.

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
        self.launcher = Launcher(
            runs_dir,
            limit=limit,
            command=command,
            allowed_functions=allowed_functions,
            allowed_paths=allowed_paths,
        )
        self.runs_dir = self.launcher.runs_dir
        self._housekeeper = Housekeeper(self.runs_dir)

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
        from workbench.config.io import load

        config = load(config, sets) if sets else config
        return self.run(self.launcher.start(config, token=token, parent=parent, launch=launch))

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
            method: ``"rpo"``, ``"dro"``, ``"kto"`` or ``"sft"``.
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

    def run(self, handle: str) -> Run:
        """A run by id or name. Raises UnknownRunError."""
        return Run(self.resolve(handle), self)

    def runs(self) -> RunTable:
        """One row a run, newest first, live status included. Queued runs start where they can.

        Rows of runs that this process has started are archived, by a process of their own, when
        they are found to have ended, or when this process holds many that are not archived yet.
        """
        columns = list(rundir.RunInfo("", "", "").as_dict())
        rows = [info.as_dict() for info in self.launcher.list()]
        waiting = self.store.waiting if "store" in self.__dict__ else 0  # only if it was opened
        self._housekeeper.look(self.launcher.take_ended(), waiting)
        return RunTable(rows, columns=None if rows else columns)

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
        return Run(self.launcher.resume(handle), self)

    def duplicate(self, handle: str, name: str | None = None) -> RunConfig:
        """The configuration of a run under another name (or none), to be changed and started."""
        from workbench.config.io import to_dict, validate

        return validate(to_dict(self.config(handle)) | {"name": name})

    def rename(self, handle: str, name: str) -> str:
        """Give a run another name; returns its id."""
        return self.launcher.rename(handle, name)

    def delete(self, handle: str) -> str:
        """Delete a run, its rows and its checkpoints for good; returns its id."""
        return self.launcher.delete(handle)

    def archive(self, run: str | None = None) -> str:
        """Move rows that are still in segments into native tables, in a process of its own."""
        from workbench.runs.archiving import archive

        return archive(self.runs_dir, None if run is None else self.resolve(run))

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
        from workbench.runs.evaluations import Evaluation

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
        from workbench.api.model_export import export_model

        return export_model(self, run, checkpoint)

    def reproduce(self, run: str) -> dict[str, Any]:
        """What it takes to make a run again: the command, versions, code and data."""
        from workbench.runs.provenance import recipe

        path = self.launcher.path(run)
        return recipe(rundir.read_identity(path), self.config(run))

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
    ) -> LoggedWhatIf:
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
        from workbench.analysis.counterfactual import whatif_run

        return whatif_run(self, run, scalarizer, weights, conductor, split, aggregation)

    def compare(
        self,
        runs: Sequence[str],
        *,
        phase: str | None = None,
        reference: Mapping[str, float] | str | None = None,
    ) -> Comparison:
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
        from workbench.analysis.counterfactual import compare_runs

        return compare_runs(self, runs, phase, reference)

    def figure(self, name: str, run: Runs | None = None, **options: Any) -> go.Figure:
        """A picture by name, of a run (``wb.figure("weights", "my-run")``) or of ``data=``.

        ``wb.figures()`` lists all. Raises ValueError when there is no such picture.
        """
        from workbench.analysis.figures import draw

        return draw(self, name, run, **options)
