"""What the pages show beyond a SELECT, each one call: tidy DataFrames for notebooks and commands.

The functions behind them are those of the pages and of the pure core; nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from workbench.analysis.display import Prose
from workbench.config import RunConfig

if TYPE_CHECKING:
    from workbench.analysis.queries import Runs
    from workbench.api.workbench import Workbench
    from workbench.bench.stored import Benchmark
    from workbench.store.reader import Store

By = Literal["kind", "step", "prompt_id"]
KEYS = ("kind", "step", "prompt_id")


class Insights:
    """The half of ``Workbench`` that explains what the rows say."""

    store: Store
    resolve: Callable[[str], str]
    config: Callable[[str], RunConfig]
    weights: Callable[..., pd.DataFrame]
    group: Callable[..., pd.DataFrame]
    annotations: Callable[[Runs], pd.DataFrame]
    prompts: Callable[..., pd.DataFrame]
    runs_dir: Any

    def settings(self, find: str = "") -> Prose:
        """Every key that a run's configuration has: key, allowed, default, meaning.

        Args:
            find: only keys whose name or meaning contains this text.
        """
        from workbench.config.doc import describe_fields

        rows = [
            {
                "key": field.path,
                "scalarizer": field.variant,
                "allowed": field.allowed,
                "default": field.default,
                "meaning": field.help,
            }
            for field in describe_fields()
            if find.lower() in f"{field.path} {field.help}".lower()
        ]
        columns = ["key", "scalarizer", "allowed", "default", "meaning"]
        return Prose(rows, columns=columns)

    def figures(self) -> Prose:
        """Every picture that ``wb.figure`` draws: name, of (``run`` or ``data``), meaning."""
        from workbench.analysis.figures import catalogue

        return Prose(catalogue())

    def groups(
        self,
        run: str,
        *,
        split: str | None = "train",
        kind: str | None = None,
        text: str | None = None,
        sort: str = "step",
        descending: bool = True,
        limit: int = 20,
        offset: int = 0,
    ) -> pd.DataFrame:
        """The list of Inspect: one row a group (a prompt at a step), filtered and sorted in SQL.

        Args:
            run: id or name.
            split: ``"train"``, ``"probe"``; None: both.
            kind: kind of prompt.
            text: only groups whose prompt or completions contain it.
            sort: ``step``, ``kind``, ``prompt``, ``scalar``, ``judge``, ``advantage``,
                ``weight_spread``, ``disagreement`` (advantage against judge), ``reward:NAME``.
            descending: largest first.
            limit: so many groups.
            offset: after so many.

        Raises:
            ValueError: the sort is unknown.
        """
        from workbench.analysis.group_list import GroupFilter

        where = GroupFilter(kind=kind, split=split, text=text)
        page = self.store.page(
            self.resolve(run), where, sort=sort, descending=descending, offset=offset, limit=limit
        )
        return page.rows

    def weight_map(self, run: str, *, split: str = "train") -> pd.DataFrame:
        """Every prompt where it was seen last, one column of mean weight per objective.

        A Conductor's own distribution where there is one, else the weights used. Columns
        prompt_id, step, kind, prompt and the objectives.
        """
        keys = ["prompt_id", "step", "kind"]
        frame = self.weights(run, by=keys, split=split)
        if frame.empty:
            raise ValueError(f"run {run!r} has no {split} completions yet")
        believed = frame.assign(weight=frame["probability"].fillna(frame["weight"]))
        names = self.store.objectives(self.resolve(run))
        wide = believed.pivot(index=keys, columns="objective", values="weight")[names]
        last = wide.reset_index().sort_values("step").drop_duplicates("prompt_id", keep="last")
        texts = self.prompts(run, split=split).drop_duplicates("prompt_id")
        placed = last.merge(texts[["prompt_id", "prompt"]], on="prompt_id")
        placed.columns.name = None
        return placed[[*keys, "prompt", *names]].reset_index(drop=True)

    def self_favouring(
        self, run: str, *, by: By | None = "kind", split: str = "train"
    ) -> pd.DataFrame:
        """How far weights sit where rewards already are high: columns of ``by``, value, rows.

        The correlation over rows of each weight with its reward, averaged over objectives, in
        [-1, 1]: 0 where all rows share their weights, near 1 where every response is judged by
        what it is good at anyway.

        Args:
            run: id or name.
            by: ``"kind"``, ``"step"``, ``"prompt_id"``; None: over all rows.
            split: ``"train"`` or ``"probe"``.

        Raises:
            ValueError: ``by`` is unknown, or there are no rows yet.
        """
        from workbench.analysis.logged_rows import rows_from_frame
        from workbench.core.diagnostics import self_favouring

        if by is not None and by not in KEYS:
            raise ValueError(f"by: {by!r} not allowed; allowed are {', '.join(KEYS)} and None")
        run_id = self.resolve(run)
        frame = self.store.rollouts(run_id, split=split)
        if frame.empty:
            raise ValueError(f"run {run!r} has no {split} completions yet")
        rows = rows_from_frame(frame, self.config(run_id).objective_names)
        keys = np.zeros(len(frame)) if by is None else frame[by].to_numpy()
        found = []
        for key in dict.fromkeys(keys):
            mine = keys == key
            value = self_favouring(rows.weights[mine], rows.rewards[mine])
            named = {} if by is None else {by: key}
            found.append(named | {"self_favouring": value, "rows": int(mine.sum())})
        return pd.DataFrame(found)

    def findings(self, run: str, prompt_id: str, *, step: int | None = None) -> Prose:
        """What is worth saying about a group, worst first: level, title, text, advice."""
        from workbench.analysis.diagnosis import findings
        from workbench.pages.group_view import group_of

        rows = self.group(run, prompt_id, step=step)
        found = findings(group_of(rows, list(dict(rows["rewards"].iloc[0]))))
        columns = ["level", "title", "text", "advice"]
        return Prose([{c: vars(f)[c] for c in columns} for f in found], columns=columns)

    def agreement(self, run: str) -> pd.DataFrame:
        """Who judges alike on Rate: columns what, who, same, correlation, n.

        ``same`` is the share of n groups with the same pick, ``correlation`` Spearman's over n
        graded completions.
        """
        from workbench.analysis.agreement import (
            between_raters,
            graded_alike,
            grades,
            picks,
            with_scores,
        )

        run_id = self.resolve(run)
        marks = self.annotations(run_id)
        votes = picks(marks)
        rollouts = self.store.rollouts(run_id)
        parts: Mapping[str, pd.DataFrame] = {
            "raters with each other": between_raters(votes),
            "picks the judge likes best": with_scores(votes, rollouts, "judge"),
            "picks with the largest advantage": with_scores(votes, rollouts, "advantage"),
            "grades": graded_alike(grades(marks), rollouts),
        }
        rows = [{"what": w} | r for w, frame in parts.items() for r in frame.to_dict("records")]
        return pd.DataFrame(rows, columns=["what", "who", "same", "correlation", "n"])

    def to_rate(self, run: str, limit: int = 60) -> pd.DataFrame:
        """Groups where a vote teaches most, first things first: group_id, step, size, conflict."""
        from workbench.analysis.votes import candidates

        return candidates(cast("Workbench", self), self.resolve(run), limit)

    def vote(
        self, run: str, group_id: str, sample: int | None, rater: str, score: float | None = None
    ) -> str:
        """Store a vote for the best completion of a group (None: none is good); returns its id.

        With ``score`` it is a grade in [0, 1] of that completion instead, which replaces an earlier
        one. Raises ValueError where there is no such completion.
        """
        from workbench.analysis.votes import vote

        return vote(cast("Workbench", self), self.resolve(run), group_id, sample, rater, score)

    def benchmark(self, steps: int | None = None) -> Benchmark:
        """What ``workbench bench`` has measured in this runs directory so far, from stored rows.

        Args:
            steps: of the cells to read; None: the longest that are there.

        Raises:
            ValueError: no cell of a benchmark has finished here.
        """
        from workbench.bench.stored import read

        return read(self.runs_dir, steps)
