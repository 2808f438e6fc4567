"""A policy asked how likely given responses are: causal and encoder-decoder models alike.

causal            prompt + response in one row, padded on the right, as in ``scoring``
encoder-decoder   the prompt through the encoder, the response shifted right in the decoder
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from workbench.train.scoring import backbone, prepare_scoring
from workbench.train.sequences import IGNORE
from workbench.types import Floats

Batch = Mapping[str, torch.Tensor]
TokenIds = Sequence[int]


def prepare_rows(model: PreTrainedModel) -> PreTrainedModel:
    """Make a policy of ``build.load_policy`` ready to score rows, and return it.

    Raises:
        ValueError: For adapters on an encoder-decoder model.
    """
    adapted = hasattr(model, "get_base_model")
    if model.config.is_encoder_decoder:
        if adapted:
            raise ValueError("policy.lora: not for encoder-decoder models; set it to null")
    else:
        prepare_scoring(model)
    return model


def without_dropout(model: nn.Module) -> None:
    """Turn off what the model itself drops out; adapters keep what the run asked for.

    The loss compares log-probabilities with those of the reference, which are without dropout.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and ".lora_dropout." not in f".{name}.":
            module.p = 0.0
        if isinstance(vars(module).get("attention_dropout"), float):  # a rate, not a layer
            module.attention_dropout = 0.0


def context_length(model: PreTrainedModel) -> int | None:
    """Positions that the model was made for: prompt and response together, or each."""
    if model.config.is_encoder_decoder:
        sizes = ("max_position_embeddings", "n_positions")
        known = model.config.to_dict()
        return next((int(known[s]) for s in sizes if known.get(s)), None)
    text = model.config.get_text_config()
    known = text.to_dict()
    return int(known["max_position_embeddings"]) if known.get("max_position_embeddings") else None


def make_batch(
    model: PreTrainedModel, prompts: Sequence[TokenIds], responses: Sequence[TokenIds], pad: int
) -> dict[str, torch.Tensor]:
    """Tensors of n rows, padded on the right; what ``RowPolicy`` takes."""
    lengths = torch.tensor([len(r) for r in responses])
    if model.config.is_encoder_decoder:
        start = model.config.decoder_start_token_id
        labels = _padded(responses, IGNORE)
        decoder = _padded([[start, *r[:-1]] for r in responses], pad)
        inputs = {"decoder_input_ids": decoder, "labels": labels}
        ids, sizes = _padded(prompts, pad), torch.tensor([len(p) for p in prompts])
    else:
        ids = _padded([[*p, *r] for p, r in zip(prompts, responses, strict=True)], pad)
        sizes = lengths + torch.tensor([len(p) for p in prompts])
        index = torch.arange(ids.shape[1])
        starts = (sizes - lengths)[:, None]
        answer = (index >= starts) & (index < sizes[:, None])
        inputs = {"labels": torch.where(answer, ids, IGNORE)}
    mask = (torch.arange(ids.shape[1]) < sizes[:, None]).long()
    starts = sizes if model.config.is_encoder_decoder else sizes - lengths
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "lengths": lengths.float(),
        "prompt_lengths": starts,
        **inputs,
    }


def _padded(rows: Sequence[TokenIds], value: int) -> torch.Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


class RowPolicy(nn.Module):
    """A policy and, for DRO, its value network, in one module: one forward, one optimiser.

    Args:
        policy: A model of ``load_row_policy``.
        value: The value network on pooled prompt states; None for RPO.
        value_trains_policy: Let the value's gradient into the prompt states.
    """

    def __init__(
        self, policy: PreTrainedModel, value: nn.Module | None, value_trains_policy: bool = False
    ) -> None:
        super().__init__()
        self.policy = policy
        self.value = value
        self.value_trains_policy = value_trains_policy

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        prompt_lengths: torch.Tensor,
        decoder_input_ids: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(n,) summed log-probability of each response, and (n,) V(x) where there is a network."""
        if decoder_input_ids is not None:
            output = self.policy(
                input_ids=input_ids,
                attention_mask=attention_mask,
                decoder_input_ids=decoder_input_ids,
                use_cache=False,
            )
            logits = output.logits.float()
            token_logps = -nn.functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none"
            )
            logps = token_logps.view(labels.shape).sum(-1)
            states = output.encoder_last_hidden_state
        else:
            kept: list[torch.Tensor] = []
            hook = backbone(self.policy).register_forward_hook(
                lambda module, args, output: kept.append(output.last_hidden_state)
            )
            try:
                output = self.policy(
                    input_ids=input_ids,
                    attention_mask=attention_mask,
                    labels=labels,
                    fused_lm_head=True,
                )
            finally:
                hook.remove()
            logps = output.log_probs.float().sum(-1)
            states = kept[-1]
        if self.value is None:
            return logps, None
        # (n, L, D) -> (n, D): mean over prompt positions, which saw nothing of the response
        inside = torch.arange(states.shape[1], device=states.device) < prompt_lengths[:, None]
        states = states if self.value_trains_policy else states.detach()
        pooled = (states * inside[..., None]).sum(1) / prompt_lengths[:, None]
        return logps, self.value(pooled.float()).squeeze(-1)


def value_network(hidden_size: int, width: int) -> nn.Module:
    """Two layers with tanh, as in the authors' code; starts at V = 0, the mean of the rewards."""
    last = nn.Linear(width, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(hidden_size, width), nn.Tanh(), last)


def hidden_size(model: PreTrainedModel) -> int:
    """D: width of the states that the value network reads."""
    config = model.config if model.config.is_encoder_decoder else model.config.get_text_config()
    return int(config.hidden_size)


def row_logps(
    model: PreTrainedModel,
    prompts: Sequence[TokenIds],
    responses: Sequence[TokenIds],
    pad: int,
    batch_size: int,
) -> Floats:
    """(N,) summed log-probabilities in eval mode without gradients; long rows share batches."""
    device = next(model.parameters()).device
    scorer = RowPolicy(model, None)
    order = np.argsort([len(p) + len(r) for p, r in zip(prompts, responses, strict=True)])
    found = np.empty(len(prompts), dtype=np.float64)
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = make_batch(model, [prompts[i] for i in rows], [responses[i] for i in rows], pad)
            batch.pop("lengths")
            with torch.no_grad():
                logps, _ = scorer(**{k: v.to(device) for k, v in batch.items()})
            found[rows] = logps.double().cpu().numpy()
    finally:
        model.train(was_training)
    return found
