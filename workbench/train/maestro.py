"""MaestroTrainer: TRL's GRPOTrainer, with weights per completion chosen by a scalarizer.

The seam (held by tests/test_trl_seam.py against the pinned version of TRL):

    _tokenize_prompts                -> the one rendering of prompts (``text``)
    _generate_single_turn            -> the one way of drawing completions (``sampling``)
    _generate                        -> the token ids as generated are kept
    _calculate_rewards               -> one scoring pass, objectives rewarded, (N, K) kept
    _generate_and_score_completions  -> weights, advantages; TRL's are replaced, its log corrected
    _compute_loss and its forward    -> the training pass and its audit (``shared_pass``)
    log                              -> every number also goes to the run's store

All processes of a distributed run gather the same rows and compute the same weights; the first one
publishes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig

from workbench.config import RunConfig
from workbench.core.diagnostics import step_metrics
from workbench.objectives.signature import RewardRows
from workbench.train import checkpoint as checkpoints
from workbench.train.anchors import Anchor, Anchors
from workbench.train.ratings import Ratings
from workbench.train.reference import Reference, frozen_copy, on_device
from workbench.train.rewards import ObjectiveReward, all_needs
from workbench.train.rows import Rows
from workbench.train.sampler import PromptOrder
from workbench.train.sampling import Sampling
from workbench.train.scored_rollouts import ScoredRollouts
from workbench.train.sharded import is_sharded, restore_policy
from workbench.train.shared_pass import Logged, put
from workbench.train.step_metrics import scalar_metrics, weight_metrics
from workbench.train.text import Rendering, example_columns
from workbench.train.watch_memory import WatchMemory
from workbench.train.weighting import Weighing, WeightedBatch
from workbench.train.writer_protocol import Publisher
from workbench.types import Example, Floats, Ints, RolloutBatch


@dataclass
class Counters:
    """What a run has spent so far; part of every checkpoint."""

    anchor_calls: int = 0
    context_bytes: int = 0


class MaestroTrainer(ScoredRollouts):
    """GRPO under weights that a scalarizer chooses for every completion.

    Args:
        config: The run.
        model: The policy before training; its reference is copied from it.
        tokenizer: Padding on the left.
        args: TRL's configuration, from ``build.grpo_config``.
        examples: The training prompts.
        rewards: The K objectives.
        weighing: Scaling and scalarizer.
        publisher: Receives rollouts, metrics and updates.
        checkpoint_dir: Where checkpoints go.
        anchor: The trusted score, for a scalarizer that asks for one.
        answer_lead: Text between completion and reference answer.
    """

    _tag_names = ["trl", "grpo", "maestro"]

    def __init__(
        self,
        config: RunConfig,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        args: GRPOConfig,
        examples: Sequence[Example],
        rewards: Sequence[ObjectiveReward],
        weighing: Weighing,
        publisher: Publisher,
        checkpoint_dir: Path,
        anchor: Anchor | Ratings | None = None,
        answer_lead: str = "",
    ) -> None:
        self.config = config
        self.examples = list(examples)
        self.columns = example_columns(self.examples)
        self.rewards = list(rewards)
        self.needs = all_needs(rewards)
        self.weighing = weighing
        self.publisher = publisher
        self.checkpoint_dir = checkpoint_dir
        self.answer_lead = answer_lead
        self.counters = Counters()
        self.memory = WatchMemory()
        self.rendering = Rendering.of(config, tokenizer)
        self.sampling = Sampling.of(config)
        self.headline: float | None = None  # judge on the probe prompts, as far as known
        self.diagnostics: dict[str, float] = {}  # of the newest batch
        self.latest: dict[str, float] = {}  # what was logged last
        if config.grpo.kl_in_reward and config.grpo.beta > 0:
            self.needs |= {"reference"}
        adapter = hasattr(model, "peft_config")
        frozen = None
        if "reference" in self.needs and not adapter and args.beta == 0:
            frozen = frozen_copy(model, args.temperature)
        prompts = [self.rendering.prompt(e) for e in self.examples]
        super().__init__(
            model=model,
            reward_funcs=list(self.rewards),
            args=args,
            train_dataset=Dataset.from_dict(
                {"prompt": prompts, "index": list(range(len(prompts)))}
            ),
            processing_class=tokenizer,
        )
        self.remove_callback(PrinterCallback)
        self.sharded = is_sharded(self)
        self.reference: Reference | None = None
        if frozen is not None or self.ref_model is not None or adapter:
            self.reference = on_device(Reference(model, frozen or self.ref_model), args.device)
        self.anchors = Anchors(
            anchor, self.accelerator.is_main_process, self.accelerator.num_processes
        )
        self._gathered_rewards: Floats = np.zeros((0, len(self.rewards)))

    @property
    def policy(self) -> PreTrainedModel:
        """The model that is trained, without what is wrapped around it."""
        return self.accelerator.unwrap_model(self.model)

    # -- the seam ------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset: Dataset | None = None) -> PromptOrder:
        uses = self.num_iterations * self.args.steps_per_generation
        micro_steps = self.args.max_steps * self.args.gradient_accumulation_steps
        return PromptOrder(
            len(self.examples),
            self.args.generation_batch_size // self.num_generations,
            self.num_generations,
            -(-micro_steps // uses),
            uses,
            self.config.seed,
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        indices = [row["index"] for row in inputs]
        # TRL is given the prompt alone: a column's name must not mean anything to it
        output = super()._generate_and_score_completions(
            [{"prompt": row["prompt"], "index": row["index"]} for row in inputs]
        )
        started = time.perf_counter()
        local = self._local_rows(indices, output)
        batch = local.gathered(self.accelerator.num_processes)
        judged = np.full(len(batch.indices), np.nan)
        weighed = self._weigh(batch, judged)
        first = self.accelerator.process_index * len(inputs)
        mine = slice(first, first + len(inputs))
        output["advantages"] = torch.tensor(
            weighed.advantages[mine], dtype=torch.float32, device=output["advantages"].device
        )
        assert self._scores is not None
        put(output, self._scores.graph)
        self._correct_log(weighed)
        self._learn(batch, weighed, judged)
        rollouts = self._rollouts(batch, weighed, judged)
        self._diagnose(rollouts, weighed)
        self.logged = Logged(rollouts.advantages[mine], local.loss_tokens, self._scores.token_logps)
        if self.accelerator.is_main_process:
            self.publisher.rollouts(rollouts)
        self._metrics["train"]["weighing_seconds"].append(time.perf_counter() - started)
        return output

    def audit_found(self, error: float) -> None:
        """Told by the loss: raise the step's ``audit_error`` to this."""
        self.diagnostics["audit_error"] = max(error, self.diagnostics.get("audit_error", 0.0))
        self._metrics["train"]["audit_error"][-1:] = [self.diagnostics["audit_error"]]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does, and publish the numbers under the step their rollouts have."""
        super().log(logs, start_time)
        del self.state.log_history[:-1]  # the store keeps the history; checkpoints stay small
        if self.accelerator.is_main_process:
            self.latest = {k: float(v) for k, v in logs.items() if isinstance(v, int | float)}
            self.publisher.metrics(max(0, self.state.global_step - 1), self.latest)

    # -- one batch -----------------------------------------------------------------------------

    def _local_rows(self, indices: list[int], output: Mapping[str, Any]) -> Rows:
        """This process's part of the batch."""
        assert self._scores is not None and self._rewarded is not None
        scores, given = self._scores, self._rewarded
        mask = output["completion_mask"]
        mask = mask * output["tool_mask"] if "tool_mask" in output else mask
        loss_tokens = mask.sum(1).cpu().numpy()
        if scores.reference_token_logps is None and "ref_per_token_logps" in output:
            # TRL ran the reference for its own KL term: no second pass for the log
            logps = output["ref_per_token_logps"].double().cpu().numpy()
            own = [logps[i, : len(row)] for i, row in enumerate(scores.token_logps)]
            # a completion that is masked out was not read by that pass
            unread = [np.full(len(row), np.nan) for row in own]
            read = [own[i] if n else unread[i] for i, n in enumerate(loss_tokens)]
            scores = replace(scores, reference_token_logps=read)
        return Rows(
            indices=indices,
            prompts=[
                self.rendering.shown(prompt, ids)
                for prompt, ids in zip(given.prompts, self._ids[0], strict=True)
            ],
            completions=self.rendering.texts(self._ids[1]),
            replies=list(given.completions),
            prompt_ids=self._ids[0],
            token_ids=self._ids[1],
            loss_tokens=loss_tokens,
            token_entropies=[row.astype(np.float32) for row in scores.token_entropies],
            truncated=scores.truncated,
            hidden=scores.hidden,
            policy_logp=scores.policy_logp,
            behaviour_logp=scores.behaviour_logp,
            reference_logp=scores.reference_logp,
            kl=scores.kl,
        )

    def _weigh(self, batch: Rows, judged: Floats) -> WeightedBatch:
        """Weights and advantages; trusted scores that are asked for meanwhile go into (N,)."""
        rated = self.anchors.rated()
        if rated is not None:
            self.weighing.recall(rated)
        penalty = None
        if self.config.grpo.kl_in_reward and self.config.grpo.beta > 0:
            assert batch.reference_logp is not None
            # k1, summed over the tokens: in a detached reward the mean of k3 has another gradient
            penalty = self.config.grpo.beta * (batch.policy_logp - batch.reference_logp)
        return self.weighing.weigh(
            self._gathered_rewards,
            [self.examples[i].kind for i in batch.indices],
            self.num_generations,
            self.state.global_step,
            batch.hidden,
            penalty,
            in_loss=batch.loss_tokens > 0,
            ask=lambda groups: self._ask(groups, batch, judged),
        )

    def _ask(self, groups: Ints, batch: Rows, judged: Floats) -> dict[int, Floats]:
        """Pay for the trusted scores of whole groups, and note them in ``judged`` (N,)."""
        g = self.num_generations
        columns = {n: [values[i] for i in batch.indices] for n, values in self.columns.items()}
        assert self._rewarded is not None
        rows = RewardRows(
            [self.rendering.prompt(self.examples[i]) for i in batch.indices],
            batch.replies,
            batch.token_ids,
            columns,
            self._rewarded.context,
        )
        anchors = self.anchors.ask(groups, g, rows, self._gathered_rewards)
        for group, scores in anchors.items():
            judged[group * g : (group + 1) * g] = scores
        self.counters.anchor_calls += len(anchors) * g
        return anchors

    def _learn(self, batch: Rows, weighed: WeightedBatch, judged: Floats) -> None:
        """Ask for the anchors that are due after weighing, let the scalarizer learn."""
        anchors = self._ask(self.weighing.anchor_groups(weighed), batch, judged)
        update = self.weighing.learn(weighed, anchors)
        if update is not None and self.accelerator.is_main_process:
            policy = {k[7:]: v for k, v in update.items() if k.startswith("policy/")}
            rest = {k: v for k, v in update.items() if not k.startswith("policy/")}
            self.publisher.conductor_update(
                self.state.global_step, {**rest, "policy": policy} if policy else rest
            )

    def _correct_log(self, weighed: WeightedBatch) -> None:
        """Make TRL's log say what trained the policy, not what TRL would have done."""
        how = "advantage" if self.config.aggregation == "normalize_then_sum" else "group"
        if how == "group" and self.config.grpo.scale_rewards == "batch":
            how = "batch"
        corrected = scalar_metrics(weighed.scalars, weighed.advantages, self.num_generations, how)
        for name, value in corrected.items():
            self._metrics["train"][name][-1] = value
        self._logs["advantages"].clear()
        self._logs["advantages"].extend(weighed.advantages.tolist())

    def _diagnose(self, rollouts: RolloutBatch, weighed: WeightedBatch) -> None:
        """Numbers of the batch as logged, into TRL's log and for the run's monitor."""
        self.diagnostics = {
            **weight_metrics(rollouts.weights, rollouts.policy, rollouts.objectives),
            **step_metrics(
                rollouts, self.config.aggregation, self.config.grpo.scale_rewards, weighed.penalty
            ),
            "anchor_calls": float(self.counters.anchor_calls),
        }
        for name, value in self.diagnostics.items():
            self._metrics["train"][name].append(value)

    def _rollouts(self, batch: Rows, weighed: WeightedBatch, judged: Floats) -> RolloutBatch:
        logging = self.config.logging
        contexts = logging.contexts
        if contexts:
            self.counters.context_bytes += 2 * batch.hidden.size  # half precision
            contexts = self.counters.context_bytes <= logging.contexts_mb * 1e6
        examples = [self.examples[i] for i in batch.indices]
        return batch.as_rollouts(
            weighed, examples, self.weighing.names, judged, contexts, logging.token_entropies
        )

    # -- checkpoints ---------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            checkpoints.save(self)
        except OSError as error:
            step = self.state.global_step
            if step >= self.state.max_steps or self.control.should_training_stop:
                raise
            # the disk may have room again before the next one is due; nothing is lost so far
            self.publisher.warning(
                step,
                "checkpoint",
                f"The checkpoint of step {step} could not be written: {error}.",
                "Make room on the disk; training goes on and tries again at the next checkpoint.",
            )

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        if self.sharded:
            checkpoints.restore_sharded(self, Path(checkpoint))
        else:
            super()._load_optimizer_and_scheduler(checkpoint)
        checkpoints.restore(self, Path(checkpoint))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.sharded:
            restore_policy(self, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.check_processes(Path(checkpoint), self.accelerator.num_processes)
        super()._load_rng_state(checkpoint)
