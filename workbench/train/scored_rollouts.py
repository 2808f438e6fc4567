"""The first half of a step: prompts rendered, completions drawn, scored and rewarded.

Each overrides one method of TRL's: what is rendered and drawn here is rendered and drawn as in
probes and evaluations (``text``, ``sampling``, ``rollout``), and one scoring pass serves
objectives, Conductor, log and, where it can, the loss (``shared_pass``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather
from trl.models.utils import unwrap_model_for_generation

from workbench.objectives.signature import RewardRows
from workbench.train.reference import Reference
from workbench.train.rewards import ObjectiveReward, reward_matrix
from workbench.train.rollout import score_rows
from workbench.train.sampling import Sampling, generate
from workbench.train.scoring import Scores
from workbench.train.shared_pass import GRAPH_SHARE, SharedPass, device_bytes, graph_bytes
from workbench.train.text import Rendering
from workbench.train.writer_protocol import Publisher
from workbench.types import Floats


class ScoredRollouts(SharedPass):
    """GRPOTrainer whose completions are drawn, scored and rewarded as everywhere in a run."""

    rendering: Rendering
    sampling: Sampling
    columns: Mapping[str, Sequence[Any]]
    rewards: Sequence[ObjectiveReward]
    needs: frozenset[str]
    reference: Reference | None
    answer_lead: str
    publisher: Publisher
    sharded: bool

    _ids: tuple[list[list[int]], list[list[int]]] = ([], [])
    _drawn: list[Floats] | None = None
    _scores: Scores | None = None
    _rewarded: RewardRows | None = None
    _gathered_rewards: Floats

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return self.rendering.encode(prompts), None, {}

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: int
    ) -> tuple[Any, Any]:
        if self.use_vllm:
            found = super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations
            )
            self._drawn = None if found[1] is None else [np.asarray(r, float) for r in found[1]]
            return found
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
        ):
            completion_ids, self._drawn = generate(
                model, self.processing_class, prompt_ids, self.sampling, self.eos_token_ids
            )
        return completion_ids, None

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        generated = super()._generate(prompts)
        self._ids = (generated[0], generated[1])
        return generated

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> torch.Tensor:
        indices = [row["index"] for row in inputs]
        columns = {name: [values[i] for i in indices] for name, values in self.columns.items()}
        self._scores = replace(self._score(columns["reference"]), sampling_logps=self._drawn)
        self._rewarded = RewardRows(
            prompts,
            completions,
            completion_ids_list,
            columns,
            {
                "scores": self._scores,
                "trainer_state": self.state,
                "log_metric": self._log_metric,
                "log_extra": self._log_completion_extra,
            },
        )
        local = reward_matrix(self.rewards, self._rewarded)
        rewards = torch.tensor(local, dtype=torch.float32, device=self.accelerator.device)
        gathered = gather(rewards)
        self._gathered_rewards = gathered.double().cpu().numpy()
        return gathered

    def _score(self, references: Sequence[str | None]) -> Scores:
        """The scoring pass; with its graph where that serves the loss and fits."""
        keep_graph = self.shares_pass and self._graph_fits()
        try:
            return self._pass(references, keep_graph)
        except torch.OutOfMemoryError as error:
            if not keep_graph:
                raise
            self._keep_apart(f"it did not fit into memory ({str(error).partition('.')[0]})")
        torch.cuda.empty_cache()
        return self._pass(references, keep_graph=False)

    def _pass(self, references: Sequence[str | None], keep_graph: bool) -> Scores:
        self._metrics["train"]["shared_pass"].append(float(keep_graph))
        with self.accelerator.autocast():  # as TRL's own forward
            return score_rows(
                self.accelerator.unwrap_model(self.model),
                self.processing_class,
                *self._ids,
                references,
                self.answer_lead,
                self.needs,
                self.reference,
                eos_ids=self.eos_token_ids,
                max_completion_length=self.max_completion_length,
                batch_size=self.args.per_device_train_batch_size,
                keep_graph=keep_graph,
                entropy_graph=self._entropy_bonus_enabled,
                lockstep=self.sharded,
            )

    def _graph_fits(self) -> bool:
        """Whether the estimate of the graph's size is within its bound; if not, says so once."""
        longest = max(len(p) + len(c) for p, c in zip(*self._ids, strict=True))
        model = self.accelerator.unwrap_model(self.model)
        needed = graph_bytes(model, len(self._ids[0]), longest)
        allowed = GRAPH_SHARE * device_bytes(self.args.device)
        if needed <= allowed:
            return True
        self._keep_apart(f"it would keep {needed / 1e9:.1f} GB, above {allowed / 1e9:.1f} GB")
        return False

    def _keep_apart(self, reason: str) -> None:
        self.too_large = True
        self.publisher.warning(
            self.state.global_step,
            "shared_pass",
            f"The scoring pass no longer serves as the training pass: {reason}.",
            "Nothing is lost but time: each step runs the policy twice. "
            "grpo.gradient_accumulation_steps splits the training pass.",
        )
