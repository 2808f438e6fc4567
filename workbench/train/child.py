"""The child process of a run: train, and publish everything into the run's directory.

Usage::

    python -m workbench.train.child RUN_DIR             # starts; the launcher calls it
    python -m workbench.train.child RUN_DIR --resume    # continues from the newest checkpoint

Ends with 0 when the run finished or was stopped, with 1 when it failed. A file ``stop`` in the run
directory, SIGTERM and SIGINT ask it to end after the current step, with a checkpoint.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.config.credentials import resolve
from workbench.objectives.http import StoppedWaiting
from workbench.runs import processes
from workbench.runs.environment import choose_threads, quiet_libraries
from workbench.runs.notify import post
from workbench.runs.rundir import read_config, read_identity
from workbench.store.catalog import ensure_store
from workbench.store.writer import RunWriter
from workbench.tasks import load_task
from workbench.train.writer_protocol import NullWriter
from workbench.types import RolloutBatch, Task

if TYPE_CHECKING:
    from workbench.config import RunConfig
    from workbench.core.findings import Finding


class StopRequest:
    """Whether somebody asked this process to stop: by file or by signal."""

    def __init__(self, run_dir: Path) -> None:
        self.file = run_dir / "stop"
        self.signal: str | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._received)

    def _received(self, number: int, frame: Any) -> None:
        self.signal = signal.Signals(number).name

    def __call__(self) -> str | None:
        """Why to stop, None when nobody asked."""
        if self.signal:
            return f"stopped by {self.signal}"
        return "stopped on request" if self.file.exists() else None


class Child:
    """One start of a run."""

    def __init__(self, run_dir: Path, resume: bool) -> None:
        self.run_dir = run_dir
        self.resume = resume
        self.started = time.monotonic()
        self.wants_stop = StopRequest(run_dir)
        self.main = os.environ.get("RANK", "0") == "0"  # set by torchrun and accelerate
        self.writer = RunWriter(run_dir) if self.main else NullWriter()
        self.name = read_identity(run_dir)["name"]
        self.webhook: str | None = None
        self.step = 0

    def say(self, text: str) -> None:
        """One line of the log."""
        if not self.main:
            return
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        print(f"[{minutes:02d}:{seconds:02d}] {text}", flush=True)

    def phase(self, name: str, text: str) -> None:
        """A phase begins: say so in the log and in the state."""
        self.say(text)
        self.writer.state(status="running", phase=name)

    def run(self) -> str:
        """Everything from loading to the last evaluation; returns the final status."""
        config = read_config(self.run_dir)
        self.webhook = resolve(config.logging.webhook)
        self.writer.state(
            **processes.identify(os.getpid()), steps=config.steps, attempt=self.writer.attempt
        )
        if self.main and (problem := ensure_store(self.run_dir.parent)):
            self.say(problem)
        what = config.offline.method if config.offline else config.scalarizer.name
        self.phase("loading", f"run {self.name}: {config.steps} steps of {what}")
        quiet_libraries(config)
        task = load_task(config.task)
        self.say(
            f"task {task.name}: {len(task.train)} training prompts, {len(task.calibration)} for "
            f"calibration, {len(task.report)} for the report"
        )
        return self._train(config, task)

    def _train(self, config: RunConfig, task: Task) -> str:
        from workbench.train import build
        from workbench.train.anchors import anchor_source
        from workbench.train.checkpoint import list_checkpoints, step_of
        from workbench.train.evaluate import summarise, table
        from workbench.train.maestro import MaestroTrainer
        from workbench.train.monitor import RunMonitor
        from workbench.train.ratings import Ratings
        from workbench.train.session import Session

        args = build.grpo_config(config, self.run_dir / "trackers")
        prompts = [example.prompt_id for example in task.train]
        anchor = anchor_source(config, task.judge, self.run_dir.parent, prompts)
        if isinstance(anchor, Ratings):
            self.say(anchor.describe())
        session = Session.load(config, task).on_device()
        parameters = sum(p.numel() for p in session.model.parameters())
        threads = choose_threads(parameters)
        self.say(f"policy {config.policy.model}: {parameters:,} parameters, {threads} threads")
        saved = list_checkpoints(self.run_dir / "checkpoints") if self.resume else []
        before = None
        if not saved and config.evaluation.before and config.evaluation.prompts and task.report:
            self.phase("evaluating before", "evaluating the policy before training")
            before = self._evaluate(session, session.model, None, 0, "before")
        trainer = MaestroTrainer(
            config,
            session.model,
            session.tokenizer,
            args,
            task.train,
            session.rewards,
            session.weighing,
            self.writer,
            self.run_dir / "checkpoints",
            anchor,
            task.answer_lead,
        )
        model = trainer.accelerator.unwrap_model(trainer.model)
        roller = session.roller(model, trainer.reference, trainer.eos_token_ids)
        monitor = RunMonitor(
            trainer,
            roller,
            session.probes(),
            self.wants_stop,
            self.say,
            self._notify_finding,
            trainer.sharded,
        )
        trainer.add_callback(monitor)
        if saved:
            self.phase("training", f"resuming after step {step_of(saved[-1])}")
        else:
            self.phase("training", "training")
        trainer.train(resume_from_checkpoint=str(saved[-1]) if saved else None)
        self.step = trainer.state.global_step
        if monitor.stopped is not None:
            self._end("stopped", f"{monitor.stopped} after step {self.step}")
            return "stopped"
        if config.evaluation.prompts and task.report:
            self.phase("evaluating after", "evaluating the trained policy")
            after = self._evaluate(
                session, model, trainer.reference, self.step, "after", trainer.sharded
            )
            if after is not None:
                means = None if before is None else summarise(before)
                self.say("held-out judge and mean weights\n" + table(summarise(after), means))
        self._end("finished", None)
        return "finished"

    def _evaluate(
        self,
        session: Any,
        model: Any,
        reference: Any,
        step: int,
        phase: str,
        together: bool = False,
    ) -> RolloutBatch | None:
        """An evaluation, on the process that publishes (``together``: on all); None on others."""
        from workbench.train.evaluate import evaluation_rows
        from workbench.train.rollout import spread

        if not self.main and not together:
            return None
        examples = spread(session.task.report, session.config.evaluation.prompts)
        reference = reference or session.reference_for(None)
        batch: RolloutBatch = session.evaluate(model, reference, step, "report", examples)
        self.writer.evaluation(evaluation_rows(batch, examples, phase))
        return batch

    def _notify_finding(self, finding: Finding) -> None:
        self._post("warning", f"{finding.message} {finding.advice}")

    def _post(self, status: str, message: str | None) -> None:
        if self.webhook is not None and self.main:
            note = {"run": self.name, "run_id": self.run_dir.name, "step": self.step}
            problem = post(self.webhook, {**note, "status": status, "text": message})
            if problem:
                self.say(f"webhook: {problem}")

    def _end(self, status: str, message: str | None) -> None:
        """The last word: state on disk before the process ends."""
        self._post(status, message)
        self.say(f"{status}: {message}" if message else status)
        problems = self.writer.problems
        if problems:
            self.say("not everything could be written: " + "; ".join(problems))
            message = f"{message or status}; store: {problems[-1]}"
        self.writer.state(status=status, phase=None, message=message, eta_seconds=None, pid=None)
        self.writer.flush()
        self.writer.close()

    def fail(self, error: BaseException) -> None:
        """A run that cannot go on: traceback to the log, the reason to the state."""
        if isinstance(error.__cause__ or error, StoppedWaiting):
            self._end("stopped", f"{error}; progress since the last checkpoint is lost")
            return
        traceback.print_exc(file=sys.stdout)
        self._end("failed", f"{type(error).__name__}: {error}")


def _kind(run_dir: Path) -> type[Child]:
    """What kind of run this is: one that samples, or one that learns from logged rows."""
    if read_identity(run_dir).get("kind") != "offline":
        return Child
    from workbench.train.offline_child import OfflineChild

    return OfflineChild


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbench.train.child", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="directory of the run, with its config.yaml")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    arguments = parser.parse_args(argv)
    child = _kind(arguments.run_dir)(arguments.run_dir.absolute(), arguments.resume)
    try:
        child.run()
    except Exception as error:  # whatever it was, the state must say that the run ended
        child.fail(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
