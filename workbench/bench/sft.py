"""Cells without rollouts: the policy as it starts, and SFT on the training prompts' references.

SFT is TRL's SFTTrainer: each update sees as many reference answers as a GRPO update sees
completions, in the order of the seed, at the same learning rate; nothing is generated in training.
Both are evaluated like every other cell.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from workbench.config import RunConfig
from workbench.runs.rundir import read_config
from workbench.store.writer import RunWriter
from workbench.tasks import load_task
from workbench.train.build import end_ids
from workbench.train.evaluate import evaluation_rows, summarise, table
from workbench.train.rollout import spread
from workbench.train.session import Session
from workbench.train.text import encode_answers


def token_rows(session: Session) -> list[tuple[list[int], list[int]]]:
    """Prompt and answer ids of every training prompt with a reference, the end token included.

    Raises:
        ValueError: When the task has no reference answers.
    """
    examples = [e for e in session.task.train if e.reference]
    if not examples:
        raise ValueError(f"task {session.task.name!r} has no reference answers to learn from")
    rendering = session.rendering
    prompts = rendering.encode([rendering.prompt(e) for e in examples])
    answers = encode_answers(session.tokenizer, [e.reference for e in examples])
    end = end_ids(session.model, session.tokenizer)[:1]
    return [(p, [*a, *end]) for p, a in zip(prompts, answers, strict=True) if a]


def ordered(rows: int, wanted: int, seed: int) -> list[int]:
    """``wanted`` indices, every row once before any comes again."""
    rng, order = Random(seed), []
    while len(order) < wanted:
        order += rng.sample(range(rows), rows)
    return order[:wanted]


def train(session: Session, scratch: Path) -> Any:
    """Train the session's policy on its references; the trained model."""
    config = session.config
    rows = token_rows(session)
    batch = config.grpo.prompts_per_step * config.grpo.num_generations
    order = ordered(len(rows), config.steps * batch, config.seed)
    arguments = SFTConfig(
        output_dir=str(scratch),
        max_steps=config.steps,
        seed=config.seed,
        per_device_train_batch_size=batch,
        learning_rate=config.grpo.learning_rate,
        lr_scheduler_type=config.grpo.lr_scheduler_type,
        max_grad_norm=config.grpo.max_grad_norm,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        bf16=False,
        gradient_checkpointing=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        train_sampling_strategy="sequential",
        dataloader_pin_memory=False,
    )
    trainer = SFTTrainer(
        model=session.model,
        args=arguments,
        train_dataset=Dataset.from_dict(
            {
                "input_ids": [rows[i][0] + rows[i][1] for i in order],
                "labels": [[-100] * len(rows[i][0]) + rows[i][1] for i in order],
            }
        ),
        processing_class=session.tokenizer,
    )
    trainer.train()
    return trainer.accelerator.unwrap_model(trainer.model)


Learn = Callable[[Session, Path, RunWriter], Any]
"""Trains a session's policy; (session, run directory, its writer) to the trained model."""


def run(run_dir: Path, writer: RunWriter, config: RunConfig, learn: Learn | None) -> None:
    """Train when there is something to learn, then evaluate; rows go to the run's directory."""
    task = load_task(config.task)
    session = Session.load(config, task).on_device()
    examples = spread(task.report, config.evaluation.prompts)
    writer.state(status="running", phase="training" if learn else "evaluating", step=0)
    model = learn(session, run_dir, writer) if learn else session.model
    step, phase = (config.steps, "after") if learn else (0, "before")
    reference = session.reference_for(None)
    batch = session.evaluate(model, reference, step, "report", examples)
    writer.evaluation(evaluation_rows(batch, examples, phase))
    writer.state(step=step)
    print(table(summarise(batch)))


def main(argv: Sequence[str] | None = None) -> int:
    """Child process of a cell that learns from references or not at all; returns the status."""
    parser = argparse.ArgumentParser(prog="python -m workbench.bench.sft", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="learn nothing, only evaluate")
    parser.add_argument("run_dir", type=Path)
    arguments = parser.parse_args(argv)
    if arguments.measure:
        return child(arguments.run_dir, None)
    return child(arguments.run_dir, lambda session, path, _: train(session, path / "trackers"))


def child(run_dir: Path, learn: Learn | None) -> int:
    """Body of a cell's child process, whatever it learns from; returns the exit status."""
    status, message = "finished", None
    with RunWriter(run_dir) as writer:
        try:
            run(run_dir, writer, read_config(run_dir), learn)
        except Exception as error:  # whatever it was, the state must say that the run ended
            traceback.print_exc(file=sys.stdout)
            status, message = "failed", f"{type(error).__name__}: {error}"
        writer.state(status=status, phase=None, message=message, pid=None)
        writer.flush()
    return 0 if status == "finished" else 1


if __name__ == "__main__":
    sys.exit(main())
