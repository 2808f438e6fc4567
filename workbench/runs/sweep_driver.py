"""The driver of a sweep: asks Optuna what to try next, and runs it as an ordinary run.

Optuna (Akiba et al. 2019, arXiv 1907.10902) draws from the ranges and says which trial falls
behind; a grid is handed to it point by point. Ray Tune would bring a cluster of its own beside
ours, and Ax a Bayesian model that a dozen trials cannot feed.

Each trial is started, stopped and stored by the launcher like any run; the driver only looks. What
was tried stands once, in ``trials.json``, before its run starts; Optuna's study is made anew from
it. When the driver dies, its trials go on, and ``workbench sweep --continue NAME`` takes them up
again, with the values that their runs were really started with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import chain
from typing import Any

import optuna
import pandas as pd
from optuna.trial import TrialState

from workbench.runs import rundir
from workbench.runs.launcher import Launcher
from workbench.runs.locks import held
from workbench.runs.queue import Queue
from workbench.runs.rundir import ENDED, LauncherError, RunInfo, UnknownRunError
from workbench.runs.sweep_plan import FOLDER, HEADLINE, SweepError, SweepPlan, read_trials
from workbench.store.reader import Store
from workbench.store.state import write_atomically

POLL_SECONDS = 0.5
STARTUP = 4  # trials that end before the pruner ends any
WARMUP = 0.25  # share of a run's steps in which nothing is pruned
HOPELESS = 3  # trials that fail before any has succeeded
LOCK = ".driver.lock"

PRUNERS: dict[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "none": lambda steps: optuna.pruners.NopPruner(),
    "median": lambda steps: optuna.pruners.MedianPruner(STARTUP, int(WARMUP * steps)),
    "halving": lambda steps: optuna.pruners.SuccessiveHalvingPruner(max(1, int(WARMUP * steps))),
    "hyperband": lambda steps: optuna.pruners.HyperbandPruner(max(1, int(WARMUP * steps)), steps),
}
SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "grid": lambda seed: optuna.samplers.RandomSampler(seed),  # never asked: points are handed over
    "random": lambda seed: optuna.samplers.RandomSampler(seed),
    "tpe": lambda seed: optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed),
}


@dataclass
class Trial:
    """One run of a sweep, as ``trials.json`` keeps it.

    ``status`` is running, finished, pruned, failed or stopped (before its end, by a person);
    ``run_id`` is empty until its run was started.
    """

    number: int
    values: dict[str, Any]
    seed: int
    run_id: str = ""
    status: str = "running"
    value: float | None = None


class Driver:
    """Runs one sweep to its end.

    Args:
        launcher: Where its runs go; without a limit of its own, the plan's ``jobs`` decide.
        plan: A saved plan.
        say: Prints a line.
        wants_stop: Whether to end now; trials that run are then stopped with a checkpoint.
    """

    def __init__(
        self,
        launcher: Launcher,
        plan: SweepPlan,
        say: Callable[[str], None] = print,
        wants_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.launcher = launcher
        self.plan = plan
        self.say = say
        self.wants_stop = wants_stop
        self.folder = launcher.runs_dir / FOLDER / plan.name
        self.trials = [Trial(**_known(t)) for t in read_trials(self.folder)]
        self.asked: dict[int, optuna.Trial] = {}
        self.seen: dict[int, int] = {}  # newest step that was looked at, by trial
        self.reported: dict[int, int] = {}  # newest step that the pruner knows
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        steps = plan.config({a.key: _example(a) for a in plan.axes}, 0, 0).steps
        self.study = optuna.create_study(
            # one that is continued must not draw again what it has drawn
            sampler=SAMPLERS[plan.sampler](len(self.trials)),
            pruner=PRUNERS[plan.pruner](steps),
            direction="minimize" if plan.minimize else "maximize",
        )

    @cached_property
    def _store(self) -> Store:
        return Store(self.launcher.runs_dir)

    def run(self) -> list[Trial]:
        """Start, follow and judge trials until all have ended.

        Raises:
            LockedError: Another process drives this sweep.
            SweepError: The first trials all failed: something is wrong with all of them.
        """
        with held(self.folder / LOCK, 0.0, f"sweep {self.plan.name!r}"):
            before = self._take_up()
            line = (_Work(self, trial) for trial in chain(before, self._next_trials()))
            Queue(partial(next, line, None), self.plan.jobs).run(POLL_SECONDS, self.wants_stop)
        return self.trials

    def _take_up(self) -> list[Trial]:
        """Tell Optuna what was tried, and return what has to go on."""
        for trial in self.trials:
            if trial.status in ("running", "stopped"):
                self._find_run(trial)
            self.asked[trial.number] = self._ask(trial.values)
            if self.plan.pruner != "none":
                self._report(trial)
            self._tell(trial)
        self._save()
        return [trial for trial in self.trials if trial.status == "running"]

    def _find_run(self, trial: Trial) -> None:
        """A trial of a driver that ended early, with the values that its run really has."""
        trial.run_id = trial.run_id or self.launcher.started_as(self._token(trial)) or ""
        trial.status = "running"
        if not trial.run_id:
            return  # noted, but never started
        try:
            config = rundir.read_config(self.launcher.path(trial.run_id))
        except UnknownRunError:
            trial.status = "failed"
            self.say(f"{self.plan.run_name(trial.number)} was deleted")
            return
        trial.values, trial.seed = self.plan.values_of(config), config.seed

    def _next_trials(self) -> Iterator[Trial]:
        """New trials, each noted before its run starts."""
        while len(self.trials) < self.plan.count:
            number = len(self.trials)
            asked = self._ask(self._point(number))
            values = {axis.key: _suggest(asked, axis) for axis in self.plan.axes}
            trial = Trial(number, values, self.plan.seeds[number // self.plan.points])
            self.asked[number] = asked
            self.trials.append(trial)
            self._save()
            yield trial

    def _point(self, number: int) -> dict[str, Any] | None:
        """The next point of the grid; later seeds of a search go through its points again."""
        point = number % self.plan.points
        if self.plan.random is None:
            return self.plan.grid()[point]
        return self.trials[point].values if number >= self.plan.points else None

    def _ask(self, values: dict[str, Any] | None) -> optuna.Trial:
        if values is not None:
            self.study.enqueue_trial(values)
        asked = self.study.ask()
        if values is not None:
            for axis in self.plan.axes:
                _suggest(asked, axis)
        return asked

    def start(self, trial: Trial) -> None:
        """Start the run of a trial, or go on with it."""
        plan, name = self.plan, self.plan.run_name(trial.number)
        if trial.run_id:
            if self.launcher.get(trial.run_id).status in ("stopped", "failed"):
                self.launcher.resume(trial.run_id)
                self.say(f"{name} resumed")
            return
        launch = {"processes": plan.processes} if plan.processes > 1 else {}
        config = plan.config(trial.values, trial.seed, trial.number)
        trial.run_id = self.launcher.start(config, token=self._token(trial), launch=launch)
        self._save()
        told = ", ".join(f"{key}={value}" for key, value in trial.values.items()) or "as it is"
        self.say(f"[{trial.number + 1}/{plan.count}] {name}: {told}, seed {trial.seed}")

    def _token(self, trial: Trial) -> str:
        return f"sweep {self.plan.name} {trial.number}"

    def look(self, trial: Trial) -> bool:
        """Report how far a trial is, prune it, or close it; whether it has ended."""
        try:
            info = self.launcher.get(trial.run_id)
        except UnknownRunError:
            info = RunInfo(trial.run_id, self.plan.run_name(trial.number), "failed",
                           message="it was deleted")  # fmt: skip
        if info.status not in ENDED:
            if self.plan.pruner != "none" and info.step > self.seen.get(trial.number, -1):
                self.seen[trial.number] = info.step
                self._prune(trial, info)
        elif info.status == "finished":
            trial.value = self._value(trial)
            shown = "no value" if trial.value is None else f"{trial.value:.4g}"
            self.say(f"{info.name} finished: {self.plan.metric} {shown}")
            self._close(trial, "finished")
        else:
            self.say(f"{info.name} {info.status}: {info.message}")
            self._close(trial, str(info.status))
            self._refuse_the_hopeless(info)
        return trial.status != "running"

    def _prune(self, trial: Trial, info: RunInfo) -> None:
        """Report what was measured since the last look; end the trial if it is not worth it."""
        self._report(trial)
        if trial.value is not None and self.asked[trial.number].should_prune():
            self.say(
                f"{info.name}: {self.plan.metric} {trial.value:.3g} at step {info.step} has fallen "
                f"behind the others ({self.plan.pruner}): stopped early"
            )
            self.launcher.stop(trial.run_id)
            self._close(trial, "pruned")

    def _report(self, trial: Trial) -> None:
        """Tell the pruner what was measured; the newest becomes the trial's value."""
        curve, known = self._curve(trial), self.reported.get(trial.number, -1)
        for point in curve[curve["step"] > known].itertuples():
            self.asked[trial.number].report(float(point.value), int(point.step))
            self.reported[trial.number] = int(point.step)
            if trial.status == "running":
                trial.value = float(point.value)

    def _close(self, trial: Trial, status: str) -> None:
        trial.status = status
        self._tell(trial)
        self._save()

    def _tell(self, trial: Trial) -> None:
        """Tell Optuna how a trial ended; one that was stopped by a person may yet be continued."""
        asked = self.asked[trial.number]
        if trial.status == "finished" and trial.value is not None:
            self.study.tell(asked, trial.value)
        elif trial.status == "pruned":
            self.study.tell(asked, state=TrialState.PRUNED)
        elif trial.status in ("finished", "failed"):
            self.study.tell(asked, state=TrialState.FAIL)

    def _refuse_the_hopeless(self, info: RunInfo) -> None:
        ended = [t for t in self.trials if t.status != "running"]
        if len(ended) >= HOPELESS and all(t.status == "failed" for t in ended):
            raise SweepError(
                f"the first {len(ended)} trials all failed, the last one: {info.message}"
            )

    def _curve(self, trial: Trial) -> pd.DataFrame:
        """The metric over training, as stored: columns step and value, by step."""
        split, _, name = self.plan.metric.partition("/")
        if self.plan.metric == HEADLINE:
            split, name = "probe", "judge"
        return self._store.sql(
            "SELECT step, value FROM metrics WHERE run_id = $run AND split = $split "
            "AND name = $name AND isfinite(value) ORDER BY step",
            {"run": trial.run_id, "split": split, "name": name},
        )

    def _value(self, trial: Trial) -> float | None:
        """What a finished trial is worth: held-out for the headline, else the last point."""
        if self.plan.metric == HEADLINE:
            query = "SELECT avg(judge) FROM evaluations WHERE phase = 'after' AND run_id = $run"
            judged = self._store.sql(query, {"run": trial.run_id}).iloc[0, 0]
            if pd.notna(judged):
                return float(judged)
        curve = self._curve(trial)
        return None if curve.empty else float(curve["value"].iloc[-1])

    def stop(self, trial: Trial) -> None:
        """Stop a trial, with a checkpoint, so that it can be continued."""
        try:
            self.launcher.stop(trial.run_id)
        except LauncherError as error:
            self.say(str(error))
        trial.status = "stopped"
        self._save()

    def _save(self) -> None:
        data = json.dumps([asdict(trial) for trial in self.trials], indent=1)
        write_atomically(self.folder / "trials.json", data.encode())


@dataclass
class _Work:
    """A trial, as the queue sees it."""

    driver: Driver
    trial: Trial

    def start(self) -> None:
        self.driver.start(self.trial)

    def ended(self) -> bool:
        return self.driver.look(self.trial)

    def cancel(self) -> None:
        if self.trial.status == "running":
            self.driver.stop(self.trial)


def _known(trial: dict[str, Any]) -> dict[str, Any]:
    """Without the keys that earlier versions kept as well."""
    return {k: v for k, v in trial.items() if k in Trial.__dataclass_fields__}


def _suggest(trial: optuna.Trial, axis: Any) -> Any:
    if not axis.is_range:
        return trial.suggest_categorical(axis.key, list(axis.values))
    if axis.integer:
        return trial.suggest_int(axis.key, int(axis.low), int(axis.high), log=axis.log)
    return trial.suggest_float(axis.key, axis.low, axis.high, log=axis.log)


def _example(axis: Any) -> Any:
    return axis.low if axis.is_range else axis.values[0]
