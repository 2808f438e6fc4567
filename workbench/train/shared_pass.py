"""One forward pass for two: the scoring pass is the training pass where the two are the same.

The Conductor needs the terminal hidden states before the loss can be known, the loss needs a
forward with its graph, and between the two nothing changes the policy. So the scoring pass keeps
its graph and TRL's loss is handed its log-probabilities instead of running the policy again. The
rows are the same, padded on the other side: what differs is the rounding of float32.

That holds while each generation is used once, whole, by a model that does the same in training
mode as in evaluation mode; everywhere else the passes stay apart.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from trl import GRPOTrainer

from workbench.train.scoring import TokenGraph

SHARED = ("shared_log_probs", "shared_entropies")
"""Names of the graph's tensors in TRL's batch, where they are shuffled with the other rows."""


class SharedPass(GRPOTrainer):
    """GRPOTrainer whose loss takes the log-probabilities that came with its batch, if any did."""

    _graph: TokenGraph | None = None

    @property
    def shares_pass(self) -> bool:
        """Whether a generation's scoring pass can serve as its training pass."""
        args = self.args
        used_once = (
            args.gradient_accumulation_steps == 1
            and args.steps_per_generation == 1
            and self.num_iterations == 1
        )
        plain = (
            self.accelerator.num_processes == 1
            and not args.gradient_checkpointing
            and not args.use_liger_kernel
            and not (self.is_deepspeed_enabled or self.is_fsdp_enabled)
            and not self.aux_loss_enabled
        )
        return used_once and plain and not has_dropout(self.accelerator.unwrap_model(self.model))

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        tensors = [inputs.pop(name, None) for name in SHARED]
        self._graph = None if tensors[0] is None else TokenGraph(*tensors)
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self._graph = None

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        if self._graph is None:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, **options
            )
        missing = (0, logits_to_keep - self._graph.log_probs.shape[1])
        log_probs = functional.pad(self._graph.log_probs, missing)
        return log_probs, functional.pad(self._graph.entropies, missing), None


def has_dropout(model: nn.Module) -> bool:
    """Whether training mode may differ from evaluation mode: a dropout above 0 anywhere."""
    layers = any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules())
    declared = model.config.to_dict().items()
    numbers = [v for name, v in declared if ("dropout" in name or "pdrop" in name)]
    return layers or any(isinstance(v, int | float) and v > 0 for v in numbers)


def put(output: dict[str, Any], graph: TokenGraph | None) -> None:
    """Lay the graph into TRL's batch."""
    if graph is not None:
        output |= dict(zip(SHARED, (graph.log_probs, graph.entropies), strict=True))
