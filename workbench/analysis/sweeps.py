"""Sweeps in Python: start one, read what it found, draw it.

Usage::

    run = wb.start_sweep("quick", ["scalarizer.emphasis=0.1,0.3"], name="rho", seeds=[0, 1])
    found = wb.sweep("rho")
    found.best                              # mean over seeds, best first
    found.figure("parallel").show()         # every trial as a line over its settings
    found.figure("pareto", x="length", y="preference").show()

Light: no scheduler is imported to look at a sweep.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.runs.sweep_plan import FOLDER, SweepPlan, read_trials

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.runs.launcher import Launcher
    from workbench.store.reader import Store

SEEDLESS = ("trial", "run_id", "name", "seed", "status", "step")


@dataclass(frozen=True)
class SweepResult:
    """What a sweep has found so far."""

    store: Store
    plan: SweepPlan

    @property
    def keys(self) -> list[str]:
        """The keys that vary."""
        return [axis.key for axis in self.plan.axes]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial.

        Columns: trial, run_id, name, seed, status (running, finished, pruned, failed, stopped),
        one for each key that varies, value (of the sweep's metric), judge (held-out mean after
        training) and ``reward/NAME`` for each objective (the same).
        """
        rows = [
            {
                "trial": trial["number"],
                "run_id": trial["run_id"],
                "name": self.plan.run_name(trial["number"]),
                "seed": trial["seed"],
                "status": trial["status"],
                **trial["values"],
                "value": trial["value"],
            }
            for trial in read_trials(self.store.runs_dir / FOLDER / self.plan.name)
        ]
        columns = ["trial", "run_id", "name", "seed", "status", *self.keys, "value"]
        frame = pd.DataFrame(rows, columns=columns)
        frame["value"] = pd.to_numeric(frame["value"])
        return frame.merge(self._after(list(frame["run_id"])), on="run_id", how="left")

    def _after(self, run_ids: Sequence[str]) -> pd.DataFrame:
        """Held-out means after training, one row a run."""
        if not run_ids:
            return pd.DataFrame({"run_id": []}, dtype=str)
        rows = self.store.sql(
            "SELECT run_id, avg(nullif(judge, 'NaN')) AS judge, objective, "
            "avg(nullif(reward, 'NaN')) AS reward FROM ("
            "SELECT run_id, judge, unnest(map_keys(rewards)) AS objective, "
            "unnest(map_values(rewards)) AS reward FROM evaluations "
            "WHERE phase = 'after' AND list_contains($runs, run_id)) GROUP BY run_id, objective",
            {"runs": list(run_ids)},
        )
        judge = rows.groupby("run_id")["judge"].mean()
        wide = rows.pivot(index="run_id", columns="objective", values="reward")
        wide = wide.add_prefix("reward/").rename_axis(columns=None)
        return wide.assign(judge=judge).reset_index()

    @property
    def best(self) -> pd.DataFrame:
        """One row a configuration, best first: means over its finished seeds, and how many."""
        ended = self.trials[self.trials["status"] == "finished"]
        numbers = [c for c in ended.columns if c not in (*SEEDLESS, *self.keys)]
        if not self.keys:
            return pd.DataFrame([{**ended[numbers].mean().to_dict(), "seeds": len(ended)}])
        groups = ended.groupby(self.keys, sort=False)
        means = groups[numbers].mean().assign(seeds=groups.size()).reset_index()
        order = means.sort_values("value", ascending=self.plan.minimize, kind="stable")
        return order.reset_index(drop=True)

    def figure(self, name: str = "parallel", x: str = "", y: str = "") -> go.Figure:
        """A picture of the sweep.

        Args:
            name: ``parallel``: each trial as a line over its settings, the metric and what it did
                for each objective; ``pareto``: each configuration over two objectives.
            x: ``pareto`` only: the objective on the horizontal axis; default: the first.
            y: the one on the vertical axis; default: the second.

        Raises:
            ValueError: The picture or an objective is unknown, or no trial has finished.
        """
        from workbench.plots.figures import figure

        if name == "parallel":
            shown = [*self.keys, "seed", *self._measured(), "value"]
            return figure("parallel", self.trials, columns=shown, minimize=self.plan.minimize)
        if name != "pareto":
            raise ValueError(f"no picture {name!r} of a sweep; there are parallel, pareto")
        known = [c.removeprefix("reward/") for c in self._measured() if c.startswith("reward/")]
        if len(known) < 2:
            raise ValueError("a Pareto view needs two objectives and trials that were evaluated")
        x, y = x or known[0], y or next(k for k in known if k != (x or known[0]))
        for axis in (x, y):
            if axis not in known:
                raise ValueError(f"objective {axis!r} unknown; there are {', '.join(known)}")
        frame = self.best.rename(columns={f"reward/{x}": x, f"reward/{y}": y})
        frame = frame.dropna(subset=[x, y])
        sides = [", ".join(f"{k.split('.')[-1]} {row[k]}" for k in self.keys) or "all"
                 for _, row in frame.iterrows()]  # fmt: skip
        return figure("pareto", frame.assign(side=sides), x=x, y=y)

    def _measured(self) -> list[str]:
        rewards = [c for c in self.trials.columns if str(c).startswith("reward/")]
        judged = "judge" in self.trials and self.trials["judge"].notna().any()
        return [*(["judge"] if judged else []), *rewards]


def sweep(store: Store, name: str) -> SweepResult:
    """What a sweep has found so far. Raises SweepError when there is none of that name."""
    return SweepResult(store, SweepPlan.read(store.runs_dir, name))


def start_sweep(
    launcher: Launcher,
    config: Any,
    sets: Sequence[str],
    name: str,
    seeds: Sequence[int] = (0,),
    **more: Any,
) -> None:
    """Start a sweep in a process of its own and return at once; see ``Workbench.start_sweep``."""
    from workbench.runs.validation import with_absolute_paths

    plan = SweepPlan.make(name, config, sets, seeds, **more)
    for value in plan.each_value():
        launcher.check(with_absolute_paths(value))
    folder = plan.save(launcher.runs_dir)
    command = [sys.executable, "-m", "workbench", "sweep", "--continue", name]
    with (folder / "log.txt").open("ab") as log:
        subprocess.Popen(
            [*command, "--runs-dir", str(launcher.runs_dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(os.environ),
            start_new_session=True,
        )
