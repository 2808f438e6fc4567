"""A trained Conductor as a judge of what others logged: its weights for rows of any run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from workbench.core.emphasis import weights_from_state
from workbench.runs import rundir
from workbench.runs.checkpoints import CONDUCTOR, UnknownCheckpointError, find
from workbench.types import Floats

ROW = ["split", "step", "group_id", "sample"]
Contexts = Callable[[str, str], pd.DataFrame]
"""The store's ``contexts``: run id and split in; ``step``, ``group_id``, ``sample``, ``context``
out."""


@dataclass(frozen=True)
class Guide:
    """A saved Conductor. ``objectives`` are those of its run, in its order."""

    name: str
    objectives: tuple[str, ...]
    state: Mapping[str, np.ndarray]
    contexts: Contexts

    def weights(self, rows: pd.DataFrame, run_id: str, names: Sequence[str]) -> Floats:
        """(N, K) weights for logged rows; NaN where a row's context was not logged.

        Args:
            rows: Columns split, step, group_id, sample; all of one run.
            run_id: That run.
            names: Its K objectives; they must be the Conductor's.

        Raises:
            ValueError: When objectives or hidden size differ, or no context is there at all.
        """
        if tuple(names) != self.objectives:
            raise ValueError(
                f"offline.reward.conductor: that of {self.name!r} weighs {list(self.objectives)}, "
                f"but the rows of {run_id} have {list(names)}"
            )
        splits = rows["split"].unique()
        known = pd.concat([self.contexts(run_id, s).assign(split=s) for s in splits])
        hidden = rows[ROW].merge(known[[*ROW, "context"]], on=ROW, how="left")["context"]
        there = hidden.notna().to_numpy()
        if not there.any():
            raise ValueError(
                f"offline.reward.conductor: {run_id} logged no contexts for these rows "
                "(logging.contexts), and a Conductor reads them; weighting 'logged', 'static' and "
                "'by_kind' do without"
            )
        weights = np.full((len(rows), len(names)), np.nan)
        groups = rows["group_id"].to_numpy()[there]
        weights[there] = weights_from_state(self.state, np.stack(hidden[there].to_list()), groups)
        return weights


def load_guide(runs_dir: Path, handle: str, contexts: Contexts) -> Guide:
    """The Conductor of a run's newest checkpoint, or of ``RUN@STEP``.

    Raises:
        UnknownRunError: When the run is not there.
        ValueError: When it has no such checkpoint, or its scalarizer is no Conductor.
    """
    name, _, at = handle.partition("@")
    path = rundir.resolve(runs_dir, name)
    try:
        chosen = find(path, at or "last")
    except UnknownCheckpointError as error:
        raise ValueError(f"offline.reward.conductor: {error}") from error
    if chosen is None:
        raise ValueError(f"offline.reward.conductor: {handle!r} is the policy before training")
    state = load_file(chosen / CONDUCTOR)
    if "log_temperature" not in state:
        raise ValueError(f"offline.reward.conductor: run {name!r} was not trained with a Conductor")
    config = rundir.read_config(path)
    return Guide(name, config.objective_names, state, contexts)
