"""Whatever scores completions, called with checks: objectives, judges, anchors.

A reward that silently became 0 would poison training, so a function that raises, returns the wrong
number of values or something that is no finite number stops the run, and the error names it, the
row and its texts. None and NaN mean "does not apply to this row".
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Coroutine, Iterable, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from workbench.objectives import Objective
from workbench.objectives.http import EndpointError
from workbench.objectives.signature import RewardFunction, RewardRows, accepted, as_reward
from workbench.train.scoring import Scores
from workbench.types import Floats


class RewardError(RuntimeError):
    """An objective failed; the text names it, the row, its prompt and its completion."""


def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The coroutine's result; in a thread of its own, since a notebook's thread runs a loop."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


class ObjectiveReward:
    """One objective behind TRL's reward signature, with checks on what it returns.

    ``__name__`` is what TRL logs its rewards under.

    Args:
        objective: The function with its bounds and needs.
        what: How messages call it.
    """

    def __init__(self, objective: Objective, what: str | None = None) -> None:
        self.__name__ = self.name = objective.name
        self.what = what or f"objective {objective.name!r}"
        self.function = as_reward(objective.function, self.what)
        self.needs = objective.needs
        self.bounds = (objective.lower, objective.upper)

    @classmethod
    def trusted(cls, function: RewardFunction, what: str) -> ObjectiveReward:
        """A judge or an anchor: a function that no weight is chosen for."""
        return cls(Objective(what, function, None, None, frozenset(), ""), what)

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float]:
        """Rewards of N rows, NaN where the objective does not apply. Raises RewardError."""
        return self.of(RewardRows(prompts, completions, completion_ids, {}, columns))

    def of(self, rows: RewardRows) -> list[float]:
        """The same of rows in one piece. Raises RewardError."""
        try:
            values = self._call(rows.keywords)
        except EndpointError as error:  # it was asked long enough: the rows are not to blame
            raise RewardError(str(error)) from error
        except Exception as error:
            row = self._failing_row(rows)
            problem = f"raised {type(error).__name__}: {error}"
            raise self._error(problem, row, rows.prompts, rows.completions) from error
        return self._checked(values, rows.prompts, rows.completions)

    def _call(self, keywords: dict[str, Any]) -> Any:
        values = self.function(**accepted(self.function, keywords))
        return _awaited(values) if inspect.iscoroutine(values) else values

    def _checked(
        self, values: Any, prompts: Sequence[Any], completions: Sequence[Any]
    ) -> list[float]:
        counted = isinstance(values, Iterable) and isinstance(values, Sized)
        if not counted or isinstance(values, str | Mapping) or len(values) != len(prompts):
            found = f"{len(values)} values" if counted else f"a {type(values).__name__}"
            raise RewardError(
                f"{self.what} returned {found} for {len(prompts)} completions; "
                "it must return a list with one number (or None) per completion"
            )
        rewards = []
        for row, value in enumerate(values):
            try:
                number = math.nan if value is None else float(value)
            except (TypeError, ValueError):
                number = math.inf
            if math.isinf(number):
                problem = f"returned {value!r}, which is neither a finite number nor None"
                raise self._error(problem, row, prompts, completions)
            rewards.append(number)
        return rewards

    def _failing_row(self, rows: RewardRows) -> int | None:
        """The first row that fails by itself; None when only the whole batch does."""
        for row in range(len(rows)):
            try:
                self._call(_row_of(rows.keywords, row, len(rows)))
            except Exception:  # this is the search for the error that is being reported
                return row
        return None

    def _error(
        self, problem: str, row: int | None, prompts: Sequence[Any], completions: Sequence[Any]
    ) -> RewardError:
        text = f"{self.what} {problem}"
        if row is None:
            return RewardError(f"{text}\n  on the batch of {len(prompts)} rows, on no single one")
        return RewardError(
            f"{text}\n  row: {row} of {len(prompts)}\n  prompt: {prompts[row]!r}"
            f"\n  completion: {completions[row]!r}"
        )


def reward_matrix(rewards: Sequence[ObjectiveReward], rows: RewardRows) -> Floats:
    """(N, K) rewards, in training as in probes and evaluations. Raises RewardError.

    Rounded to float32 as TRL's are.
    """
    matrix = [reward.of(rows) for reward in rewards]
    return np.array(matrix, dtype=np.float32).T.astype(np.float64)


def all_needs(rewards: Sequence[ObjectiveReward]) -> frozenset[str]:
    """What any of the objectives asks of the scoring pass."""
    return frozenset().union(*(reward.needs for reward in rewards))


def _row_of(keywords: dict[str, Any], row: int, rows: int) -> dict[str, Any]:
    """Keywords of one row: columns cut to it, everything else as it is."""
    cut: dict[str, Any] = {}
    for name, value in keywords.items():
        if isinstance(value, Scores):
            cut[name] = row_scores(value, row)
        elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == rows:
            cut[name] = value[row : row + 1]
        else:
            cut[name] = value
    return cut


def row_scores(scores: Scores, row: int) -> Scores:
    """The scores of one row, as a batch of one."""
    here = slice(row, row + 1)
    answers, reference = scores.answer_logps, scores.reference_token_logps
    return replace(
        scores,
        hidden=scores.hidden[here],
        token_logps=scores.token_logps[here],
        token_entropies=scores.token_entropies[here],
        truncated=scores.truncated[here],
        answer_logps=None if answers is None else answers[here],
        reference_token_logps=None if reference is None else reference[here],
    )
