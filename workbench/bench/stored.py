"""The benchmark as it stands in a store: tables and frames from rows that are there already.

Cells are found by their runs' names, so tables can be read while a grid is still running, and
from a store that was made elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.bench import collect, experiments, report
from workbench.bench.methods import METHODS
from workbench.bench.runner import finished
from workbench.bench.sensitivity import SETTINGS
from workbench.runs.rundir import read_config

NAME = re.compile(r"bench-(?P<arm>.+)-s(?P<seed>\d+)-[0-9a-f]{8}\Z")


@dataclass(frozen=True)
class StoredCell:
    """One finished cell: a method, or one value of a setting, on one seed."""

    name: str
    arm: str
    seed: int
    path: Path = field(repr=False)


@dataclass(frozen=True)
class Benchmark:
    """What a store knows of a benchmark.

    Attributes:
        runs_dir: the runs directory.
        steps: policy updates of the cells that were read.
        cells: the cells of methods.
        varied: the cells of sensitivity.
    """

    runs_dir: Path
    steps: int
    cells: tuple[StoredCell, ...]
    varied: tuple[StoredCell, ...]

    def __repr__(self) -> str:
        arms = list(dict.fromkeys(cell.arm for cell in self.cells))
        return f"Benchmark({', '.join(arms)}; {len(self.cells)} cells of {self.steps} steps)"

    def _asked(self, question: Any, cells: tuple[StoredCell, ...]) -> pd.DataFrame:
        done = {cell.name: cell.path for cell in cells}
        frame: pd.DataFrame = question(self.runs_dir, done, list(cells))
        return frame.reset_index(drop=True)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Held-out judge per method, seed and kind: arm, seed, kind, judge, length."""
        return self._asked(collect.report_scores, self.cells)

    @cached_property
    def objectives(self) -> pd.DataFrame:
        """Mean raw reward per method, seed and objective on the report prompts."""
        return self._asked(collect.objective_means, self.cells)

    @cached_property
    def spent(self) -> pd.DataFrame:
        """Tokens, seconds and judge calls of each cell's training."""
        return self._asked(collect.spent, self.cells)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a method; see ``report.summary``."""
        return report.summary(self.scores, self.objectives, self.spent)

    def against(self, method: str) -> pd.DataFrame:
        """One method against every other: paired differences with intervals.

        Raises:
            ValueError: the method was not measured.
        """
        known = list(dict.fromkeys(self.scores["arm"]))
        if method not in known:
            raise ValueError(f"method: {method!r} unknown; measured are {', '.join(known)}")
        return report.comparisons(self.scores, method)

    def sensitivity(self, setting: str) -> pd.DataFrame:
        """Sensitivity to one setting, one row a seed: method, value, seed, judge.

        Raises:
            ValueError: there is no such setting, or none of its cells has finished.
        """
        if setting not in SETTINGS:
            raise ValueError(f"setting: {setting!r} unknown; there are {', '.join(SETTINGS)}")
        cells = tuple(c for c in self.varied if c.arm.rpartition("-")[0] == setting)
        if not cells:
            raise ValueError(
                f"setting: no cell of {setting!r} has finished; run "
                f"`workbench bench --sensitivity {setting}` first"
            )
        rows = []
        for cell in cells:
            judged = self._asked(collect.report_scores, (cell,))["judge"].mean()
            value = float(cell.arm.rpartition("-")[2])
            row = {"method": _method(cell), "value": value, "seed": cell.seed, "judge": judged}
            rows.append(row)
        return pd.DataFrame(rows).sort_values(["method", "value", "seed"], ignore_index=True)

    @cached_property
    def worlds(self) -> pd.DataFrame:
        """The bandit tier, one row a method, planted world and seed; empty when it was not run."""
        files = sorted((self.runs_dir / "bench" / "bandit").glob("*.json"))
        rows = [row for path in files for row in json.loads(path.read_bytes())]
        columns = ["world", "seed", "method", "utility", "weight_error", "judged", "regret"]
        return pd.DataFrame(rows, columns=None if rows else columns)

    @property
    def standings(self) -> pd.DataFrame:
        """One row a method of the bandit tier, least regret first; see ``tournaments``."""
        return experiments.standings(self.worlds.astype({"weight_error": float}))


def read(runs_dir: Path, steps: int | None = None) -> Benchmark:
    """What a runs directory holds; see ``Workbench.benchmark``.

    Raises:
        ValueError: no cell has finished there, or none with so many steps.
    """
    by_steps: dict[int, dict[tuple[str, str, int], StoredCell]] = {}
    for name, path in finished(runs_dir).items():  # oldest first: the newest of equals stays
        match = NAME.match(name)
        if match is None:
            continue
        cell = StoredCell(name, match["arm"], int(match["seed"]), path)
        config = read_config(path)
        method = cell.arm if cell.arm in METHODS else f"{cell.arm} {_method(cell)}"
        by_steps.setdefault(config.steps, {})[(cell.arm, method, cell.seed)] = cell
    if not by_steps:
        raise ValueError(f"no cell of a benchmark has finished in {runs_dir}; `workbench bench`")
    chosen = max(by_steps) if steps is None else steps
    if chosen not in by_steps:
        raise ValueError(f"steps: no cells of {steps} steps; there are {sorted(by_steps)}")
    cells = by_steps[chosen].values()
    return Benchmark(
        runs_dir,
        chosen,
        tuple(c for c in cells if c.arm in METHODS),
        tuple(c for c in cells if c.arm.rpartition("-")[0] in SETTINGS and c.arm not in METHODS),
    )


def _method(cell: StoredCell) -> str:
    """Which of a setting's methods a cell belongs to: several share the name of their arm."""
    scalarizer: Mapping[str, Any] = vars(read_config(cell.path).scalarizer)
    if scalarizer["name"] == "static":
        return "equal"
    return "anchored" if scalarizer.get("meta_reward") == "anchor" else "MAESTRO"
