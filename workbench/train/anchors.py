"""Where the anchored Conductor's trusted scores come from, and who asks for them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate.utils import broadcast_object_list

from workbench.config import RunConfig
from workbench.config.scalarizers import Conductor
from workbench.objectives import imported
from workbench.objectives.signature import RewardRows
from workbench.train.ratings import Rated, Ratings
from workbench.train.rewards import ObjectiveReward
from workbench.types import Floats, Ints, Judge

KEY = "scalarizer.anchor.source"
Anchor = Callable[[RewardRows, Floats], Floats]
"""Trusted scores (n,) of n rows and their raw rewards (n, K)."""


def anchor_source(
    config: RunConfig,
    judge: Judge | None,
    runs_dir: Path | None = None,
    prompts: Collection[str] = (),
) -> Anchor | Ratings | None:
    """The trusted score that the Conductor's anchor names; None for a run without anchor.

    ``package.module:function`` has the signature of every reward function
    (``objectives.signature``).

    Args:
        config: The run.
        judge: The task's, where it has one.
        runs_dir: The store, whose ratings an anchor may name.
        prompts: Ids of the training prompts: ratings of others are not learned from.

    Raises:
        ValueError: When the source does not exist for this run.
    """
    scalarizer = config.scalarizer
    if not isinstance(scalarizer, Conductor) or scalarizer.meta_reward != "anchor":
        return None
    assert scalarizer.anchor is not None and scalarizer.anchor.source is not None
    source = scalarizer.anchor.source
    if source == "judge":
        if judge is None:
            raise ValueError(f"{KEY}: 'judge', but the task has no judge")
        return _scored_by(ObjectiveReward.trusted(judge, "task.judge"))
    if source == "ratings":
        if runs_dir is None:
            raise ValueError("scalarizer.anchor.source: 'ratings' are in a store; none was given")
        return Ratings(runs_dir, config, prompts, scalarizer.anchor.replay)
    module, _, name = source.partition(":")
    if module == "objective":
        column = config.objective_names.index(name)
        return lambda rows, rewards: rewards[:, column]
    return _scored_by(ObjectiveReward.trusted(imported(source, KEY), f"{KEY} {source!r}"))


def _scored_by(function: ObjectiveReward) -> Anchor:
    return lambda rows, rewards: np.array(function.of(rows), dtype=np.float64)


@dataclass(frozen=True)
class Anchors:
    """Asks the trusted source for whole groups of a batch, and for no other.

    Args:
        source: The trusted score, or what people said; None for a run without anchor.
        main: Whether this process asks. One does, so that no call is paid twice.
        num_processes: All of them learn from the same numbers.
    """

    source: Anchor | Ratings | None
    main: bool = True
    num_processes: int = 1

    def rated(self) -> Rated | None:
        """Groups that people rated, when there is something new; None otherwise."""
        if not isinstance(self.source, Ratings):
            return None
        found = [self.source.news() if self.main else None]
        if self.num_processes > 1:
            broadcast_object_list(found)
        return found[0]

    def ask(
        self,
        groups: Ints,
        num_generations: int,
        rows: RewardRows,
        rewards: Floats,
    ) -> dict[int, Floats]:
        """Scores (G,) of each wanted group; NaN is "cannot say".

        Args:
            groups: Indices of the groups that are wanted.
            num_generations: G.
            rows: The N rows of the batch.
            rewards: (N, K) raw rewards.

        Raises:
            ValueError: When there is no source, or it returns another number of scores or an
                infinite one.
        """
        if not len(groups):
            return {}
        found = [self._ask(groups, num_generations, rows, rewards)]
        if self.num_processes > 1:
            broadcast_object_list(found)
        return found[0]

    def _ask(
        self,
        groups: Ints,
        num_generations: int,
        rows: RewardRows,
        rewards: Floats,
    ) -> dict[int, Floats]:
        if not self.main:
            return {}
        if self.source is None or isinstance(self.source, Ratings):
            raise ValueError("scalarizer.anchor: scores are asked for, but there is no source")
        anchors: dict[int, Floats] = {}
        for group in (int(g) for g in groups):
            place = slice(group * num_generations, (group + 1) * num_generations)
            answer = self.source(rows.part(place), rewards[place])
            scores = np.asarray(answer, dtype=np.float64)
            if scores.shape != (num_generations,) or np.isinf(scores).any():
                raise ValueError(
                    f"scalarizer.anchor: the source gave {scores.tolist()} for one group; it must "
                    f"give {num_generations} finite scores (NaN: cannot say)"
                )
            anchors[group] = scores
        return anchors
