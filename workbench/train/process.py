"""One start of a run, inside its own process: train, and publish everything into its directory.

``child`` is the entry point; ``offline_child`` has what differs where logged rows are learned from.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.config.credentials import resolve
from workbench.objectives.http import StoppedWaiting
from workbench.runs import processes
from workbench.runs.checkpoints import FOLDER, newest_whole, step_of
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
    from workbench.train.reference import Reference
    from workbench.train.session import Session


class StopRequest:
    """Whether this process was asked to stop: by file or by signal."""

    def __init__(self, run_dir: Path) -> None:
        self.file = run_dir / "stop"
        self.signal: str | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._received)

    def _received(self, number: int, frame: Any) -> None:
        self.signal = signal.Signals(number).name

    def __call__(self) -> str | None:
        """Why to stop, None when it was not asked."""
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
        from workbench.train.evaluate import summarise, table
        from workbench.train.monitor import RunMonitor
        from workbench.train.session import Session

        self.prepare(config, task)
        session = Session.load(config, task).on_device()
        task = session.task
        for note in task.notes:
            self.say(f"task: {note}")
        parameters = sum(p.numel() for p in session.model.parameters())
        threads = choose_threads(parameters)
        self.say(f"policy {config.policy.model}: {parameters:,} parameters, {threads} threads")
        self.made_ready(session)
        saved = self._saved() if self.resume else None
        evaluated = bool(config.evaluation.prompts and task.report)
        before = None
        if saved is None and evaluated and config.evaluation.before:
            self.phase("evaluating before", "evaluating the policy before training")
            before = self._evaluate(session, session.model, None, 0, "before")
        trainer = self.trainer(session)
        reference = self.reference(session, trainer)
        roller = session.roller(
            trainer.policy,
            reference,
            session.end_ids,
            trainer.state,
            trainer.memory.judge_calls,
        )
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
        what = f": {self.doing}" if self.doing else ""
        start = f"resuming after step {step_of(saved)}" if saved is not None else "training"
        self.phase("training", start + what)
        began = time.perf_counter()
        trainer.train(resume_from_checkpoint=None if saved is None else str(saved))
        self.step = trainer.state.global_step
        self.trained(time.perf_counter() - began)
        if monitor.stopped is not None:
            self._end("stopped", f"{monitor.stopped} after step {self.step}")
            return "stopped"
        if evaluated:
            self.phase("evaluating after", "evaluating the trained policy")
            after = self._evaluate(
                session, trainer.policy, reference, self.step, "after", trainer.sharded
            )
            if after is not None:
                means = None if before is None else summarise(before)
                self.say("held-out judge and mean weights\n" + table(summarise(after), means))
                self.evaluated(session, trainer, after)
        self._end("finished", None)
        return "finished"

    def _saved(self) -> Path | None:
        """The newest whole checkpoint; newer ones that are damaged are passed over, and named."""
        whole, damaged = newest_whole(self.run_dir / FOLDER)
        for path, problem in damaged:
            instead = "the start" if whole is None else f"step {step_of(whole)}"
            text = f"The checkpoint of step {step_of(path)} cannot be used: {problem}."
            advice = f"The run continues from {instead}; the rows after it are sampled again."
            self.say(f"{text} {advice}")
            self.writer.warning(step_of(path), "checkpoint", text, advice)
            if self.main:  # never again the newest, never the best
                path.rename(path.with_name(f".damaged-{path.name}"))
        return whole

    # -- what differs between runs that sample and runs that learn from logged rows ---------------

    doing = ""
    """What is trained, for the log; empty where the run's first line says it."""

    def prepare(self, config: RunConfig, task: Task) -> None:
        """Everything that can fail before the model is loaded."""
        from workbench.train import build
        from workbench.train.anchors import anchor_source
        from workbench.train.ratings import Ratings

        self.arguments = build.grpo_config(config, self.run_dir / "trackers")
        prompts = [example.prompt_id for example in task.train]
        self.anchor = anchor_source(config, task.judge, self.run_dir.parent, prompts)
        if isinstance(self.anchor, Ratings):
            self.say(self.anchor.describe())

    def made_ready(self, session: Session) -> None:
        """What needs the model and comes before the first evaluation."""

    def trainer(self, session: Session) -> Any:
        """The trainer of this run."""
        from workbench.train.maestro import MaestroTrainer

        return MaestroTrainer(
            session.config,
            session.model,
            session.tokenizer,
            self.arguments,
            session.task.train,
            session.rewards,
            session.weighing,
            self.writer,
            self.run_dir / FOLDER,
            self.anchor,
            session.task.answer_lead,
        )

    def reference(self, session: Session, trainer: Any) -> Reference | None:
        """The frozen reference, for objectives that ask for one."""
        found: Reference | None = trainer.reference
        return found

    def trained(self, seconds: float) -> None:
        """Training has ended, ``seconds`` after it began."""

    def evaluated(self, session: Session, trainer: Any, batch: RolloutBatch) -> None:
        """The evaluation after training has ended."""

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
