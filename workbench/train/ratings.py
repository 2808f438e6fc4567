"""Groups that people rated or voted on, as the anchored Conductor's trusted scores.

People answer when they like, so nothing is asked of them: whatever the store holds at the start of
a run, of this run or of earlier ones, goes into the anchor's replay, and votes that arrive while it
trains join it. A group counts when the Conductor of this run could have read it: training rows of a
prompt that this run trains on (never one that it is evaluated on), from the same policy, with all
of this run's objectives, the same number of completions, and contexts in the log.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.config import RunConfig
from workbench.runs import rundir
from workbench.store.errors import StoreError
from workbench.store.reader import Store
from workbench.train.votes import people_scores
from workbench.types import Floats

POLL_SECONDS = 2.0
"""Between looks for new votes."""
GROUP = ["run_id", "step", "group_id"]


@dataclass(frozen=True)
class Rated:
    """M groups that people said something of.

    ``keys`` name them; ``contexts`` (M, D) are their mean terminal hidden states, ``rewards``
    (M, G, K) what the objectives returned, ``scores`` (M, G) what people said, NaN where nothing.
    """

    keys: tuple[str, ...]
    contexts: Floats
    rewards: Floats
    scores: Floats


class Ratings:
    """Reads rated groups from a store, again whenever something new was said.

    Args:
        runs_dir: the store.
        config: this run.
        prompts: ids of the prompts that this run trains on.
        limit: how many groups are kept, of the newest runs and steps.
    """

    def __init__(
        self, runs_dir: Path, config: RunConfig, prompts: Collection[str], limit: int
    ) -> None:
        self.runs_dir = runs_dir
        self.config = config
        self.prompts = frozenset(prompts)
        self.limit = limit
        self.passed_over: Counter[str] = Counter()
        self._seen: frozenset[Path] | None = None
        self._looked = -POLL_SECONDS

    def news(self) -> Rated | None:
        """Every rated group when votes have changed since the last call; None otherwise."""
        if time.monotonic() - self._looked < POLL_SECONDS:
            return None
        self._looked = time.monotonic()
        files = frozenset(self.runs_dir.glob("*/segments/annotations/*.parquet"))
        if files == self._seen:
            return None
        try:
            rated = self.read()
        except StoreError as error:  # an archive runs at this moment: the next look finds it
            print(f"ratings cannot be read now, they are tried again: {error}", flush=True)
            return None
        self._seen = files
        return rated

    def read(self) -> Rated:
        """Every rated group that this run can learn from, oldest run first.

        Raises:
            StoreError: the store cannot be read.
        """
        self.passed_over = Counter()
        store = Store(self.runs_dir)
        names = [path.name for path in rundir.run_dirs(self.runs_dir)]
        scores = people_scores(store.sql, names)
        scores = scores[scores["split"] == "train"]
        found: list[tuple[str, Floats, Floats, Floats]] = []
        for run_id, marks in scores.groupby("run_id", sort=True):
            found += self._of_run(store, str(run_id), marks)
        found = found[-self.limit :]
        if not found:
            size, k = self.config.grpo.num_generations, len(self.config.objectives)
            return Rated((), np.zeros((0, 0)), np.zeros((0, size, k)), np.zeros((0, size)))
        keys, contexts, rewards, said = zip(*found, strict=True)
        return Rated(tuple(keys), np.stack(contexts), np.stack(rewards), np.stack(said))

    def describe(self) -> str:
        """One line for the log: what there is to learn from, and what was passed over and why."""
        count = len(self.read().keys)
        text = f"ratings: {count} rated groups to learn weights from"
        if not count:
            text = "ratings: none yet, weights stay equal until people rate training groups"
        reasons = ", ".join(f"{n} {why}" for why, n in sorted(self.passed_over.items()))
        return f"{text} (passed over: {reasons})" if reasons else text

    def _of_run(
        self, store: Store, run_id: str, marks: pd.DataFrame
    ) -> list[tuple[str, Floats, Floats, Floats]]:
        groups = marks.drop_duplicates(GROUP)
        theirs = rundir.read_config(self.runs_dir / run_id)
        if theirs.policy.model != self.config.policy.model:
            self.passed_over["of another policy"] += len(groups)
            return []
        if not set(self.config.objective_names) <= set(theirs.objective_names):
            self.passed_over["without this run's objectives"] += len(groups)
            return []
        steps = (int(marks["step"].min()), int(marks["step"].max()))
        rows = store.sql(
            "SELECT step, group_id, sample, prompt_id, rewards FROM rollouts "
            "WHERE run_id = $run AND split = 'train' AND step BETWEEN $first AND $last",
            {"run": run_id, "first": steps[0], "last": steps[1]},
        )
        contexts = store.contexts(run_id, "train", steps)
        keys = ["step", "group_id", "sample"]
        rows = rows.merge(contexts, on=keys, how="left")
        rows = rows.merge(marks[[*keys, "score"]], on=keys, how="left")
        wanted = set(zip(groups["step"], groups["group_id"], strict=True))
        return [
            found
            for where, group in rows.groupby(["step", "group_id"], sort=True)
            if where in wanted and (found := self._group(run_id, where, group)) is not None
        ]

    def _group(
        self, run_id: str, where: tuple[Any, ...], group: pd.DataFrame
    ) -> tuple[str, Floats, Floats, Floats] | None:
        if group["prompt_id"].iloc[0] not in self.prompts:
            self.passed_over["of prompts that are not trained on here"] += 1
            return None
        if len(group) != self.config.grpo.num_generations:
            self.passed_over["of another size"] += 1
            return None
        if group["context"].isna().any():
            self.passed_over["without logged contexts"] += 1
            return None
        group = group.sort_values("sample")
        context = np.stack([np.asarray(c, dtype=np.float64) for c in group["context"]])
        rewards = np.array([self._rewards(r) for r in group["rewards"]])
        said = group["score"].to_numpy(dtype=np.float64)
        return f"{run_id}/{where[0]}/{where[1]}", context.mean(axis=0), rewards, said

    def _rewards(self, logged: Mapping[str, float] | list[tuple[str, float]]) -> list[float]:
        table = dict(logged)
        return [float(table.get(name, np.nan)) for name in self.config.objective_names]
