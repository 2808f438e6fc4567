"""What watches a training: probes, checkpoints, progress, diagnostics, and the wish to stop."""

from __future__ import annotations

import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from workbench.core.findings import Finding, warnings_from
from workbench.train.maestro import MaestroTrainer
from workbench.train.rollout import RolloutGenerator
from workbench.train.sampling import Sampling
from workbench.train.step_metrics import probe_metrics
from workbench.types import Example

PROBE = 5  # purpose of the probes' random draws
LOOK_EVERY = 5  # steps between looks at the diagnostics
TALK_SECONDS = 5.0  # between lines of the log
FREE_BYTES = 200e6  # less than this on the disk ends a run that is told to stop on "disk"


class RunMonitor(TrainerCallback):
    """Callback of one training.

    Args:
        trainer: The trainer it belongs to.
        roller: Rolls out the probes.
        probes: Probe prompts; empty turns probes off.
        wants_stop: Why the run is asked to stop now, None while it is not.
        say: Prints a line to the log.
        notify: Called with each new finding.
        together: Whether probes take every process: each holds a share of the policy.

    Attributes:
        stopped: Why the training ended before its last step; None when it did not.
    """

    def __init__(
        self,
        trainer: MaestroTrainer,
        roller: RolloutGenerator,
        probes: Sequence[Example],
        wants_stop: Callable[[], str | None],
        say: Callable[[str], None],
        notify: Callable[[Finding], None] = lambda finding: None,
        together: bool = False,
    ) -> None:
        self.trainer = trainer
        self.config = trainer.config
        self.publisher = trainer.publisher
        self.roller = roller
        self.probes = list(probes)
        self.wants_stop = wants_stop
        self.say = say
        self.notify = notify
        self.together = together
        self.stopped: str | None = None
        self.memory = trainer.memory
        self.ends: deque[float] = deque(maxlen=21)  # when the last steps ended
        self.said = 0.0

    # -- TrainerCallback -----------------------------------------------------------------------

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Probe before the first update."""
        if state.global_step == 0:
            self._probe(0)
        self.said = time.monotonic()
        self.ends.append(self.said)
        self._progress(state)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Everything that may be due after a policy update."""
        step, last = state.global_step, state.max_steps
        self.ends.append(time.monotonic())
        sync = self.config.grpo.reference_sync_every
        if sync and step % sync == 0 and self.trainer.reference is not None:
            self.trainer.reference.sync()
        self.memory.add(self.trainer.diagnostics)
        if step % self.config.probe.every == 0 or step == last:
            self._probe(step)
        reason = self._diagnose(step) or self.wants_stop()
        reason = self._agreed(reason)
        if reason is not None and step < last:
            self.stopped = reason
            control.should_training_stop = True
            control.should_save = True
            self._main(lambda: self.publisher.state(status="stopping", phase="saving"))
        every = self.config.logging.checkpoint_every
        if step == last or (every and step % every == 0):
            control.should_save = True
        self._progress(state)

    # -- parts ---------------------------------------------------------------------------------

    def _main(self, action: Callable[[], Any]) -> None:
        if self.trainer.accelerator.is_main_process:
            action()

    def _agreed(self, reason: str | None) -> str | None:
        """The first process's word: all stop at the same step or none does."""
        if self.trainer.accelerator.num_processes == 1:
            return reason
        box = [reason]
        broadcast_object_list(box)
        return box[0]

    def _probe(self, step: int) -> None:
        """Sample the probe prompts; nothing of it reaches the training."""
        main = self.trainer.accelerator.is_main_process
        if not self.probes or not (main or self.together):
            return
        seed = np.random.SeedSequence([self.config.seed, step, PROBE]).generate_state(1)[0]
        sampling = Sampling.of(
            self.config, num_generations=self.config.probe.num_generations, seed=int(seed)
        )
        # transformers makes a new state when training begins
        roller = replace(self.roller, state=self.trainer.state)
        batch = roller.roll_out(self.probes, sampling, step, "probe")
        if not main:
            return
        numbers = probe_metrics(batch)
        numbers["judge_calls"] = float(self.roller.judge_calls.get("probe", 0))
        self.publisher.rollouts(batch)
        self.publisher.metrics(step, numbers, "probe")
        if "judge" in numbers:
            self.trainer.headline = numbers["judge"]
            if self.memory.history:
                self.memory.history[-1]["judge"] = numbers["judge"]

    def _diagnose(self, step: int) -> str | None:
        """Look at the history; why the run should stop by itself, if it should."""
        stop_on = self.config.logging.stop_on
        if "divergence" in stop_on and not self._finite():
            return "stopped by itself: the policy has diverged (loss or reward is not finite)"
        if step % LOOK_EVERY:
            return None
        if "disk" in stop_on:
            free = shutil.disk_usage(self.trainer.checkpoint_dir.parent).free
            if free < FREE_BYTES:
                return f"stopped by itself: {free / 1e6:.0f} MB left on the disk"
        findings = warnings_from(self.memory.history, config=self.config)
        for finding in findings:
            if finding.code not in self.memory.told:
                self._main(lambda f=finding: self._tell(step, f))
        self.memory.told = {finding.code for finding in findings}
        if "collapse" in stop_on and "collapse" in self.memory.told:
            return "stopped by itself: the Conductor has collapsed onto one objective"
        return None

    def _finite(self) -> bool:
        latest = self.trainer.latest
        return all(math.isfinite(latest.get(name, 0.0)) for name in ("loss", "grad_norm"))

    def _tell(self, step: int, finding: Finding) -> None:
        self.publisher.warning(step, finding.code, finding.message, finding.advice)
        self.say(f"warning [{finding.code}] {finding.message} {finding.advice}")
        self.notify(finding)

    def _progress(self, state: TrainerState) -> None:
        if not self.trainer.accelerator.is_main_process:
            return
        step, last = state.global_step, state.max_steps
        spent = self.ends[-1] - self.ends[0]
        pace = (len(self.ends) - 1) / spent if spent > 0 else 0.0
        eta = (last - step) / pace if pace > 0 else None
        entropy = self.trainer.diagnostics.get("weights_entropy")
        self.publisher.state(
            step=step,
            steps=last,
            steps_per_second=pace or None,
            eta_seconds=eta,
            headline=self.trainer.headline,
            weights_entropy=entropy,
        )
        now = time.monotonic()
        if step == 0 or (now - self.said < TALK_SECONDS and step != last):
            return
        self.said = now
        parts = [f"step {step}/{last}", f"{pace:.2g} steps/s"]
        if eta:
            parts.append(f"ETA {eta:.0f} s")
        if self.trainer.headline is not None:
            parts.append(f"judge {self.trainer.headline:.3f}")
        if entropy is not None:
            parts.append(f"weights entropy {entropy:.2f}")
        self.say("  ".join(parts))
