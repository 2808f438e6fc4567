"""The child process of a run that learns from logged rows: what ``train`` starts for such a run.

Phases: reading rows, rules, reference log-probabilities, evaluation before, training, evaluation
after. What the rules found stands in the log, among the run's warnings and in the metrics
``rows/...``; the evaluation after adds ``kl`` and ``kl_per_token``, the distance from the reference
on the policy's own completions (mean of l_theta - l_ref, nats), to the metrics of split ``report``.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.config import RunConfig
from workbench.config.offline import OfflineConfig
from workbench.runs import rundir
from workbench.runs.checkpoints import FOLDER
from workbench.runs.rundir import read_config
from workbench.train.process import Child
from workbench.types import Floats, RolloutBatch, Task

if TYPE_CHECKING:
    import pandas as pd

    from workbench.train.offline_rules import RowsFinding
    from workbench.train.offline_tokens import TokenRows
    from workbench.train.offline_trainer import RowTraining
    from workbench.train.reference import Reference
    from workbench.train.session import Session


def source_runs(config: OfflineConfig, runs_dir: Path) -> dict[str, RunConfig]:
    """Configuration of each source run by id; for votes without runs, of every run that samples.

    Raises:
        UnknownRunError: a run is not there.
    """
    if config.source.path is not None:
        return {}
    if config.source.runs:
        paths = [rundir.resolve(runs_dir, handle) for handle in config.source.runs]
        return {path.name: read_config(path) for path in paths}
    found = {path.name: read_config(path) for path in rundir.run_dirs(runs_dir)}
    return {run_id: run for run_id, run in found.items() if run.offline is None}


def logged_reference(
    frame: pd.DataFrame, runs: Mapping[str, RunConfig], config: RunConfig, as_logged: bool
) -> Floats | None:
    """(N,) reference log-probabilities as the source runs logged them, where they are this run's.

    They are when every row has one, tokens are learned as logged, and every source run started from
    the same policy, kept its reference frozen and sampled at temperature 1.
    """
    logged = frame["reference_logp"].to_numpy(dtype=np.float64)
    same = [
        run.offline is None
        and run.policy == config.policy
        and run.grpo.reference_sync_every == 0
        and run.grpo.temperature == 1.0
        for run in runs.values()
    ]
    usable = as_logged and bool(same) and all(same) and not np.isnan(logged).any()
    return logged if usable else None


class OfflineChild(Child):
    """One start of a run that learns from logged rows."""

    reference_seconds = 0.0

    def prepare(self, config: RunConfig, task: Task) -> None:
        """Rows with rewards that passed the rules on texts, before the model is loaded."""
        assert config.offline is not None
        self.sources = source_runs(config.offline, self.run_dir.parent)
        self.frame, self.findings, self.total = self._read(config, self.sources)

    def made_ready(self, session: Session) -> None:
        """Token ids, the remaining rules, standardised rewards, l_ref and V."""
        from workbench.train.sequence_logprobs import prepare_rows

        assert session.config.offline is not None
        prepare_rows(session.model)
        self.rows = self._prepare(
            session.config, session, self.frame, self.findings, self.total, self.sources
        )
        self.doing = f"{session.config.offline.method} on {len(self.rows)} rows"

    def trainer(self, session: Session) -> RowTraining:
        """The trainer of the method."""
        from workbench.train.offline_trainer import LEARNERS

        assert session.config.offline is not None
        trainer: RowTraining = LEARNERS[session.config.offline.method](
            session.config,
            session.model,
            session.tokenizer,
            self.rows,
            self.writer,
            self.run_dir / FOLDER,
        )
        trainer.scalarizer_state = session.weighing.state()
        return trainer

    def reference(self, session: Session, trainer: Any) -> Reference | None:
        """Loaded anew: the policy itself moves away from it."""
        return session.reference_for(self.run_dir / FOLDER)

    def trained(self, seconds: float) -> None:
        """What learning took: seconds, and the largest memory that the process had.

        The reference's seconds are included, as KTO's are, which asks it as it goes.
        """
        import torch

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() / 2**20
        numbers = {"train_seconds": self.reference_seconds + seconds, "peak_memory_mb": peak}
        self.writer.metrics(self.step, numbers)

    def _read(
        self, config: RunConfig, runs: Mapping[str, RunConfig]
    ) -> tuple[pd.DataFrame, list[RowsFinding], int]:
        """Rows with rewards that passed the rules on texts, and how many there were before."""
        from workbench.store.reader import Store
        from workbench.train import offline_rows, offline_rules
        from workbench.train.saved_conductor import load_guide

        assert config.offline is not None
        offline = config.offline
        where = offline.source.path or ", ".join(run.name or i for i, run in runs.items())
        self.phase("reading rows", f"reading rows of {where}; the reward is {offline.signal}")
        store, guide = Store(self.run_dir.parent), None
        if offline.reward.conductor is not None:
            guide = load_guide(self.run_dir.parent, offline.reward.conductor, store.contexts)
        frame = offline_rows.load_rows(offline, runs, store.sql, guide)
        total = len(frame)
        frame, findings = offline_rules.clean(frame, offline.rules)
        return offline_rows.draw(frame, offline.source, config.seed), findings, total

    def _prepare(
        self,
        config: RunConfig,
        session: Session,
        frame: pd.DataFrame,
        findings: list[RowsFinding],
        total: int,
        runs: Mapping[str, RunConfig],
    ) -> TokenRows:
        """Token ids, the remaining rules, standardised rewards, l_ref and V."""
        from workbench.train import offline_rules, offline_tokens
        from workbench.train.offline_rows import standardized
        from workbench.train.offline_trainer import LEARNERS
        from workbench.train.sequence_logprobs import context_length

        assert config.offline is not None
        offline, model = config.offline, session.model
        causal = not model.config.is_encoder_decoder
        rendered = bool(runs) and any(
            not isinstance(e.prompt, str) for e in (*session.task.train, *session.task.report)
        )
        frame, logged = offline_tokens.encode_rows(frame, session.rendering, not causal, rendered)
        frame, found = offline_rules.fit(frame, offline.rules, context_length(model), causal)
        findings += found
        as_logged = logged and not any(f.action == "cut" for f in found)
        frame, found = offline_rules.group(frame, offline.rules, offline.method)
        findings += found
        drawn = len(frame)
        for finding in findings:
            self.say(f"rows: {finding}")
            self.writer.warning(0, finding.code, str(finding), finding.advice)
        self.writer.metrics(0, offline_rules.counts(findings, total, drawn))
        prompts = frame["prompt"].astype(str).nunique()
        self.say(f"{drawn} of {total} rows are learned from, {prompts} prompts")
        if offline.reward.standardize:
            reward = standardized(frame["reward"].to_numpy(dtype=np.float64))
            frame = frame.assign(reward=reward)
        rows = offline_tokens.token_rows(frame)
        if not LEARNERS[offline.method].needs_reference:
            return rows
        logps = logged_reference(frame, runs, config, as_logged)
        if logps is None:
            logps = self._reference(session, rows)
        else:
            self.say("reference log-probabilities are those that the source runs logged")
        rows = replace(rows, logp_ref=logps)
        return offline_tokens.with_values(rows, offline.rpo) if offline.method == "rpo" else rows

    def _reference(self, session: Session, rows: TokenRows) -> Floats:
        """Log-probabilities under the policy before training; a resumed run finds them on disk."""
        from workbench.train import offline_tokens
        from workbench.train.sequence_logprobs import row_logps

        path = self.run_dir / "offline" / "reference.safetensors"
        key = offline_tokens.reference_key(rows, session.model)
        logps = offline_tokens.cached_logps(path, key)
        if logps is None:
            self.phase("reference", f"reference log-probabilities of {len(rows)} rows")
            pad, size = session.tokenizer.pad_token_id, session.config.offline.update.batch_size
            began = time.perf_counter()
            logps = row_logps(session.model, rows.prompt_ids, rows.response_ids, pad, size)
            self.reference_seconds = time.perf_counter() - began
            if self.main:
                offline_tokens.cache_logps(path, key, logps)
        return logps

    def evaluated(self, session: Session, trainer: RowTraining, batch: RolloutBatch) -> None:
        """KL from the reference, on the completions of the last evaluation."""
        from workbench.train.build import load_policy
        from workbench.train.sequence_logprobs import prepare_rows, row_logps

        config, tokenizer = session.config, session.tokenizer
        prompts = batch.prompt_token_ids
        base = prepare_rows(load_policy(config.policy)).to(trainer.policy.device)
        assert prompts is not None and batch.token_ids is not None and config.offline is not None
        size = config.offline.update.batch_size
        pad = tokenizer.pad_token_id
        ours, theirs = (
            row_logps(m, prompts, batch.token_ids, pad, size) for m in (trainer.policy, base)
        )
        tokens = np.maximum(1, batch.num_tokens)
        numbers = {"kl": float(np.mean(ours - theirs))}
        numbers["kl_per_token"] = float(np.sum(ours - theirs) / np.sum(tokens))
        self.writer.metrics(self.step, numbers, "report")
        self.say(f"KL from the reference: {numbers['kl']:.3f} nats a completion")
