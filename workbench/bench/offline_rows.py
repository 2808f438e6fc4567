"""Rows for the benchmark of learning from logged rows: sampled once a seed, judged, then spoiled.

``main`` is the child process of a cell that samples: completions of training prompts from the
policy that a run starts from, with the judge's score of each, logged like any rollout. ``spoil``
turns them into the files that the methods learn from, one per condition.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.bench.offline_grid import Condition
from workbench.runs.rundir import read_config
from workbench.store.state import write_atomically
from workbench.store.writer import RunWriter
from workbench.tasks import load_task

ROWS = """
SELECT prompt_id, kind, prompt, completion AS response, truncated, behaviour_logp, judge AS reward
FROM rollouts WHERE run_id = $run AND split = 'train' ORDER BY step, group_id, sample
"""


def spoil(rows: pd.DataFrame, condition: Condition, seed: int) -> pd.DataFrame:
    """The rows under a condition; every draw follows from the seed.

    Args:
        rows: Columns of ``ROWS``, a prompt's rows one after the other.
        condition: How many rows a prompt keeps, what the reward becomes.
        seed: Of the cell.
    """
    rng = np.random.default_rng([seed, 20])
    place = rows.groupby("prompt_id").cumcount()
    if condition.rows_per_prompt is not None:
        rows = rows[place < condition.rows_per_prompt]
    if condition.votes:
        # each prompt's best row gets its vote; among equals one is drawn
        lots = pd.Series(rng.random(len(rows)), index=rows.index)
        order = rows.assign(lots=lots).sort_values(["reward", "lots"], ascending=False)
        best = order.groupby("prompt_id").head(1).index
        rows = rows.assign(reward=np.where(rows.index.isin(best), 1.0, 0.0))
    noise = rng.normal(0.0, condition.noise, len(rows))
    return rows.assign(reward=rows["reward"] + noise)


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write rows as JSONL, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) for row in rows.to_dict("records"))
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def sample(run_dir: Path, writer: RunWriter) -> None:
    """Sample the run's prompts from its policy: ``steps`` batches, each prompt once."""
    from workbench.train.build import end_ids
    from workbench.train.sampling import Sampling
    from workbench.train.scoring import prepare_scoring
    from workbench.train.session import Session

    config = read_config(run_dir)
    task = load_task(config.task)
    session = Session.load(config, task).on_device()
    prepare_scoring(session.model)
    order = np.random.default_rng([config.seed, 21]).permutation(len(task.train))
    roller = session.roller(session.model, None, end_ids(session.model, session.tokenizer))
    grpo = config.grpo
    for step in range(config.steps):
        chosen = order[step * grpo.prompts_per_step : (step + 1) * grpo.prompts_per_step]
        sampling = Sampling.of(
            config,
            temperature=1.0,
            top_p=1.0,
            seed=int(np.random.SeedSequence([config.seed, step, 22]).generate_state(1)[0]),
        )
        writer.rollouts(roller.roll_out([task.train[i] for i in chosen], sampling, step, "train"))
        writer.state(status="running", phase="sampling", step=step + 1, steps=config.steps)


def main(argv: Sequence[str] | None = None) -> int:
    """Child process of a cell that samples; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbench.bench.offline_rows")
    parser.add_argument("run_dir", type=Path)
    run_dir = parser.parse_args(argv).run_dir
    status, message = "finished", None
    with RunWriter(run_dir) as writer:
        try:
            sample(run_dir, writer)
        except Exception as error:  # whatever it was, the state must say that the run ended
            traceback.print_exc(file=sys.stdout)
            status, message = "failed", f"{type(error).__name__}: {error}"
        writer.state(status=status, phase=None, message=message, pid=None)
        writer.flush()
    return 0 if status == "finished" else 1


if __name__ == "__main__":
    sys.exit(main())
