"""The frozen reference policy: a copy of the initial policy, or the base below an adapter."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from workbench.train.scoring import prepare_scoring, score
from workbench.types import Floats


class Reference:
    """Log-probabilities under the policy as it was before training.

    Args:
        policy: The policy in training; with an adapter, the reference is the base below it.
        frozen: The reference itself, for a policy without adapter, with TRL's fused head.
    """

    def __init__(self, policy: nn.Module, frozen: nn.Module | None) -> None:
        if frozen is None and not hasattr(policy, "disable_adapter"):
            raise ValueError("reference: a policy without an adapter needs a frozen copy")
        self.policy = policy
        self.frozen = frozen

    def token_logps(
        self,
        prompt_ids: Sequence[Sequence[int]],
        completion_ids: Sequence[Sequence[int]],
        batch_size: int | None = None,
    ) -> Sequence[Floats]:
        """Per row the log-probability of each completion token, in nats."""
        arguments = {"eos_ids": (), "max_completion_length": 0, "batch_size": batch_size}
        if self.frozen is not None:
            return score(self.frozen, prompt_ids, completion_ids, **arguments).token_logps
        with self.policy.disable_adapter():
            return score(self.policy, prompt_ids, completion_ids, **arguments).token_logps

    def sync(self) -> None:
        """Copy the policy's weights into the reference.

        Raises:
            ValueError: When the reference is the base below an adapter, which cannot move.
        """
        if self.frozen is None:
            raise ValueError(
                "grpo.reference_sync_every: with lora the reference is the base model and stays; "
                "set it to 0"
            )
        self.frozen.load_state_dict(self.policy.state_dict())


def frozen_copy(policy: PreTrainedModel, temperature: float) -> PreTrainedModel:
    """A copy of a policy that was not trained yet, without gradients, ready for scoring."""
    frozen = copy.deepcopy(policy)
    frozen.requires_grad_(False)
    frozen.eval()
    prepare_scoring(frozen, temperature)
    return frozen


def on_device(reference: Reference, device: torch.device) -> Reference:
    """Move the reference to a device."""
    if reference.frozen is not None:
        reference.frozen.to(device)
    return reference
