"""The driver of a sweep: asks Optuna what to try next, and runs it as an ordinary run.

Optuna (Akiba et al. 2019, arXiv 1907.10902) is the scheduler: it draws from the ranges (a grid is
handed to it point by point), its median pruner ends a trial that stands below the median of the
others at the same step, and its journal is one file that outlives the driver. Ray Tune would bring
a cluster of its own beside ours, and Ax a Bayesian model that a dozen trials cannot feed.

Each trial is started, stopped and stored by the launcher like any run; the driver only looks. When
it dies, its trials go on, and ``workbench sweep --continue NAME`` takes them up again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from workbench.runs.rundir import ENDED, LauncherError, RunInfo
from workbench.runs.sweep_plan import FOLDER, HEADLINE, SweepError, SweepPlan, read_trials
from workbench.store.state import write_atomically

if TYPE_CHECKING:
    from workbench.api.workbench import Workbench

POLL_SECONDS = 0.5
STARTUP = 4  # trials that end before the pruner ends any
WARMUP = 0.25  # share of a run's steps in which nothing is pruned
HOPELESS = 3  # trials that fail before any has succeeded


@dataclass
class Trial:
    """One run of a sweep, as ``trials.json`` keeps it.

    ``status`` is running, finished, pruned, failed or stopped (before its end, by a person).
    """

    number: int
    values: dict[str, Any]
    seed: int
    run_id: str
    status: str = "running"
    value: float | None = None
    seen: int = -1  # newest step that was looked at
    reported: int = -1  # newest step that the pruner knows


class Driver:
    """Runs one sweep to its end.

    Args:
        wb: Where its runs go; started without a limit of its own, the plan's ``jobs`` decide.
        plan: A saved plan.
        say: Prints a line.
        wants_stop: Whether to end now; trials that run are then stopped with a checkpoint.
    """

    def __init__(
        self,
        wb: Workbench,
        plan: SweepPlan,
        say: Callable[[str], None] = print,
        wants_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.wb = wb
        self.plan = plan
        self.say = say
        self.wants_stop = wants_stop
        self.folder = wb.runs_dir / FOLDER / plan.name
        self.trials = [Trial(**t) for t in read_trials(self.folder)]
        self.asked: dict[int, optuna.Trial] = {}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        steps = plan.config({a.key: _example(a) for a in plan.axes}, 0, 0).steps
        self.study = optuna.create_study(
            study_name=plan.name,
            storage=JournalStorage(JournalFileBackend(str(self.folder / "optuna.log"))),
            # one that is continued must not draw again what it has drawn
            sampler=optuna.samplers.RandomSampler(seed=len(self.trials)),
            pruner=optuna.pruners.MedianPruner(STARTUP, int(WARMUP * steps)),
            direction="minimize" if plan.minimize else "maximize",
            load_if_exists=True,
        )

    def run(self) -> list[Trial]:
        """Start, follow and judge trials until all have ended.

        Raises:
            SweepError: The first trials all failed: something is wrong with all of them.
        """
        self._take_up()
        while True:
            for trial in self._open():
                self._look(trial)
            if self.wants_stop():
                self._stop()
                return self.trials
            while len(self._open()) < self.plan.jobs and len(self.trials) < self.plan.count:
                self._start()
            if not self._open():
                return self.trials
            time.sleep(POLL_SECONDS)

    def _open(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.status == "running"]

    def _take_up(self) -> None:
        """Trials of a driver that ended early go on where they are."""
        for trial in self.trials:
            if trial.status not in ("running", "stopped"):
                continue
            trial.status = "running"
            if self.wb.launcher.get(trial.run_id).status in ("stopped", "failed"):
                self.wb.resume(trial.run_id)
                self.say(f"{self.plan.run_name(trial.number)} resumed")
        self._save()

    def _start(self) -> None:
        """Ask for the next configuration and start its run."""
        number, plan = len(self.trials), self.plan
        asked = self._ask(number)
        values = {axis.key: _suggest(asked, axis) for axis in plan.axes}
        seed = plan.seeds[number // plan.points]
        config = plan.config(values, seed, number)
        launch = {"processes": plan.processes} if plan.processes > 1 else {}
        run = self.wb.start(config, token=f"sweep {plan.name} {number}", **launch)
        asked.set_user_attr("run", str(run))
        self.asked[number] = asked
        self.trials.append(Trial(number, values, seed, str(run)))
        self._save()
        told = ", ".join(f"{key}={value}" for key, value in values.items())
        self.say(f"[{number + 1}/{plan.count}] {config.name}: {told or 'as it is'}, seed {seed}")

    def _ask(self, number: int) -> optuna.Trial:
        """The next point of the grid, or a draw; later seeds go through the same points again."""
        point = number % self.plan.points
        if self.plan.random is None:
            self.study.enqueue_trial(self.plan.grid()[point])
        elif number >= self.plan.points:
            self.study.enqueue_trial(self.trials[point].values)
        return self.study.ask()

    def _look(self, trial: Trial) -> None:
        """Report how far a trial is, prune it, or close it."""
        info = self.wb.launcher.get(trial.run_id)
        if info.status not in ENDED:
            if self.plan.early_stop and info.step > trial.seen:
                trial.seen = info.step
                self._prune(trial, info)
            return
        if info.status == "finished":
            trial.value = self._value(trial)
            shown = "no value" if trial.value is None else f"{trial.value:.4g}"
            self.say(f"{info.name} finished: {self.plan.metric} {shown}")
            state = TrialState.FAIL if trial.value is None else TrialState.COMPLETE
            self._close(trial, "finished", state)
            return
        self.say(f"{info.name} {info.status}: {info.message}")
        self._close(trial, str(info.status), TrialState.FAIL)
        self._refuse_the_hopeless()

    def _prune(self, trial: Trial, info: RunInfo) -> None:
        """Report what was measured since the last look; end the trial if it is not worth it."""
        asked = self._optuna_trial(trial)
        curve = self._curve(trial)
        for point in curve[curve["step"] > trial.reported].itertuples():
            trial.value, trial.reported = float(point.value), int(point.step)
            asked.report(trial.value, trial.reported)
        self._save()
        if trial.value is not None and asked.should_prune():
            self.say(
                f"{info.name}: {self.plan.metric} {trial.value:.3g} at step {info.step} is worse "
                "than the median of the others: stopped early"
            )
            self.wb.stop(trial.run_id, wait=True)
            self._close(trial, "pruned", TrialState.PRUNED)

    def _close(self, trial: Trial, status: str, state: TrialState) -> None:
        trial.status = status
        if status != "stopped":  # a stopped one may be continued
            value = trial.value if state == TrialState.COMPLETE else None
            self.study.tell(self._optuna_trial(trial), value, state=state)
        self._save()

    def _optuna_trial(self, trial: Trial) -> optuna.Trial:
        """Optuna's own trial behind ours; one of an earlier driver is found by its run."""
        if trial.number not in self.asked:
            found = [
                frozen._trial_id
                for frozen in self.study.get_trials(deepcopy=False)
                if frozen.user_attrs.get("run") == trial.run_id
            ]
            if not found:
                raise SweepError(f"{self.folder}: optuna.log has no trial of run {trial.run_id}")
            self.asked[trial.number] = optuna.Trial(self.study, found[0])
        return self.asked[trial.number]

    def _refuse_the_hopeless(self) -> None:
        ended = [t for t in self.trials if t.status != "running"]
        if len(ended) >= HOPELESS and all(t.status == "failed" for t in ended):
            self._stop()
            message = self.wb.launcher.get(ended[-1].run_id).message
            raise SweepError(f"the first {len(ended)} trials all failed, the last one: {message}")

    def _curve(self, trial: Trial) -> pd.DataFrame:
        """The metric over training, as stored: columns step and value, by step."""
        split, _, name = self.plan.metric.partition("/")
        if self.plan.metric == HEADLINE:
            split, name = "probe", "judge"
        return self.wb.curves(trial.run_id, [name], split=split).sort_values("step")

    def _value(self, trial: Trial) -> float | None:
        """What a finished trial is worth: held-out for the headline, else the last point."""
        if self.plan.metric == HEADLINE:
            query = "SELECT avg(judge) FROM evaluations WHERE phase = 'after' AND run_id = $run"
            judged = self.wb.sql(query, {"run": trial.run_id}).iloc[0, 0]
            if pd.notna(judged):
                return float(judged)
        curve = self._curve(trial)
        return None if curve.empty else float(curve["value"].iloc[-1])

    def _stop(self) -> None:
        """Stop what runs, with checkpoints, so that it can be continued."""
        for trial in self._open():
            try:
                self.wb.stop(trial.run_id, wait=True)
            except LauncherError as error:
                self.say(str(error))
            trial.status = "stopped"
        self._save()

    def _save(self) -> None:
        data = json.dumps([asdict(trial) for trial in self.trials], indent=1)
        write_atomically(self.folder / "trials.json", data.encode())


def _suggest(trial: optuna.Trial, axis: Any) -> Any:
    if not axis.is_range:
        return trial.suggest_categorical(axis.key, list(axis.values))
    if axis.integer:
        return trial.suggest_int(axis.key, int(axis.low), int(axis.high), log=axis.log)
    return trial.suggest_float(axis.key, axis.low, axis.high, log=axis.log)


def _example(axis: Any) -> Any:
    return axis.low if axis.is_range else axis.values[0]
