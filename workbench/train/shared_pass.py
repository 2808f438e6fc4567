"""The policy's training pass: rows padded on the right, at their true positions; one where it can.

TRL pads prompts on the left and passes no positions: a model with learned positions (GPT-2) would
be trained at wrong ones. Here every row is laid out as it was sampled and as ``scoring`` reads it.

The Conductor needs the terminal hidden states before the loss can be known, the loss needs a
forward with its graph, and between the two nothing changes the policy. So the scoring pass keeps
its graph and the loss is handed its log-probabilities instead of running the policy again. That
holds while each generation is used once, whole, by a model that does the same in training mode as
in evaluation mode, and while the graph of all rows fits (``GRAPH_SHARE``); everywhere else the
passes stay apart.

``_compute_loss`` also audits: what enters the loss is compared, row by row, with what was logged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from trl import GRPOTrainer

from workbench.train.scoring import TokenGraph, cut_out
from workbench.types import Floats, Ints

SHARED = ("shared_log_probs", "shared_entropies")
"""Names of the graph's tensors in TRL's batch, where they are shuffled with the other rows."""
ROW = "row_index"
"""Name of the rows' places in TRL's batch before it is shuffled."""
GRAPH_SHARE = 0.5
"""Share of the device's memory that the graph of one pass over all rows may take."""
BYTES_PER_STATE = 34
"""Bytes of activations per token, layer and hidden unit in 16 bits (Korthikanti et al. 2022, 2205.
05198, eq. 2, without the attention matrix, which fused attention does not keep)."""


@dataclass(frozen=True)
class Logged:
    """What the store was told of this process's rows.

    ``advantages`` (n,) are those of the logged rows, which ``core.diagnostics.audit`` holds against
    their rewards and weights; ``loss_tokens`` (n,) are the tokens that were said to enter the loss,
    ``token_logps`` those of the scoring pass.
    """

    advantages: Floats
    loss_tokens: Ints
    token_logps: Sequence[Floats]


class SharedPass(GRPOTrainer):
    """GRPOTrainer with its own training pass, which takes what came with its batch, if anything."""

    _graph: TokenGraph | None = None
    _newest: torch.Tensor | None = None
    logged: Logged | None = None
    too_large = False
    """Whether the graph of all rows did not fit once: the passes then stay apart."""

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
        return used_once and plain and not self.too_large and not self.noisy

    @property
    def noisy(self) -> bool:
        """Whether training mode may differ from evaluation mode."""
        model = self.accelerator.unwrap_model(self.model)
        return self.args.neftune_noise_alpha is not None or has_dropout(model)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        tensors = [inputs.pop(name, None) for name in SHARED]
        rows = inputs.pop(ROW, None)
        self._graph = None if tensors[0] is None else TokenGraph(*tensors)
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            self._graph = None
        if rows is not None and self.logged is not None:
            self._audit(self.logged, inputs, rows.cpu().numpy())
        return loss

    def _audit(self, logged: Logged, inputs: dict[str, Any], rows: np.ndarray) -> None:
        """Compare what entered this loss with what was logged; ``rows`` are their places there."""
        mask = inputs["completion_mask"]
        mask = mask * inputs["tool_mask"] if "tool_mask" in inputs else mask
        tokens = mask.sum(1).cpu().numpy()
        used = inputs["advantages"].double().cpu().numpy() * (tokens > 0)
        said = logged.advantages[rows].astype(np.float32).astype(np.float64)
        other = tokens != logged.loss_tokens[rows]
        error = np.abs(used - said) + np.where(other, np.abs(used), 0.0)
        if error.size and error.max() > 0:
            self.audit_found(float(error.max()))
        generation_is_new = self._step % (self.args.steps_per_generation * self.num_iterations) < (
            self.args.gradient_accumulation_steps
        )
        if generation_is_new and not self.noisy and self._newest is not None:
            found = self._newest.double().cpu().numpy()
            gaps = [
                np.abs(found[i, : tokens[i]] - logged.token_logps[row][: tokens[i]])
                for i, row in enumerate(rows)
                if tokens[i] == len(logged.token_logps[row])
            ]
            whole = np.concatenate(gaps) if gaps else np.zeros(0)
            if whole.size:
                self._metrics["train"]["audit_logp_gap"].append(float(whole.mean()))

    def audit_found(self, error: float) -> None:
        """An advantage that entered the loss differs from the logged one by ``error``."""
        raise NotImplementedError

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **images: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        if self._graph is not None:
            missing = (0, logits_to_keep - self._graph.log_probs.shape[1])
            log_probs = functional.pad(self._graph.log_probs, missing)
            self._newest = log_probs.detach()
            return log_probs, functional.pad(self._graph.entropies, missing), None
        size = batch_size or len(input_ids)
        parts = [
            self._right_padded(
                model,
                input_ids[start : start + size],
                attention_mask[start : start + size],
                logits_to_keep,
                compute_aux_loss,
            )
            for start in range(0, len(input_ids), size)
        ]
        log_probs = torch.cat([part[0] for part in parts])
        self._newest = log_probs.detach()
        entropies = torch.cat([part[1] for part in parts]) if compute_entropy else None
        losses = torch.stack([part[2] for part in parts]).mean() if compute_aux_loss else None
        return log_probs, entropies, losses

    def _right_padded(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        compute_aux_loss: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Log-probabilities and entropies (n, T) of rows (n, P + T) padded on both sides.

        A completion that is masked out whole, as ``mask_truncated_completions`` does, is 0 there.
        """
        before = attention_mask.shape[1] - logits_to_keep  # P
        prompts = attention_mask[:, :before].sum(1)
        completions = attention_mask[:, before:].sum(1)
        total = prompts + completions
        width = max(2, int(total.max()))
        index = torch.arange(width, device=input_ids.device)[None]  # (1, L)
        inside = index < total[:, None]
        source = (before - prompts[:, None] + index).clamp(max=input_ids.shape[1] - 1)
        ids = torch.where(inside, input_ids.gather(1, source), 0)
        labels = torch.where(inside & (index >= prompts[:, None]), ids, -100)
        seen = inside | (index == 0)  # a row without any token must not attend to nothing
        routers = {"output_router_logits": True} if compute_aux_loss else {}
        # without gradients it is the policy of before, or the reference: as sampled, no dropout
        mode = nullcontext() if torch.is_grad_enabled() else evaluating(model)
        with mode, self.accelerator.autocast():
            output = model(
                input_ids=ids,
                attention_mask=seen.long(),
                labels=labels,
                fused_lm_head=True,
                **routers,
            )
        entropy = output.entropy
        if entropy is None:  # TRL gives its own reference a head without entropies
            entropy = torch.full_like(output.log_probs, torch.nan)
        cut = [
            cut_out(values, prompts, completions, logits_to_keep)
            for values in (output.log_probs, entropy)
        ]
        return cut[0], cut[1], output.aux_loss if compute_aux_loss else None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode inside the block."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def has_dropout(model: nn.Module) -> bool:
    """Whether training mode may differ from evaluation mode: a dropout above 0 anywhere.

    Those of heads that a language model does not have (``summary_first_dropout`` of GPT-2,
    ``classifier_dropout``) are declared and never applied.
    """
    layers = any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules())
    declared = model.config.to_dict().items()
    numbers = [
        value
        for name, value in declared
        if ("dropout" in name or "pdrop" in name) and not name.startswith(("summary", "classifier"))
    ]
    return layers or any(isinstance(v, int | float) and v > 0 for v in numbers)


def put(output: dict[str, Any], graph: TokenGraph | None) -> None:
    """Lay the graph, where there is one, and the rows' places into TRL's batch."""
    advantages = output["advantages"]
    output[ROW] = torch.arange(len(advantages), device=advantages.device)
    if graph is not None:
        output |= dict(zip(SHARED, (graph.log_probs, graph.entropies), strict=True))


def graph_bytes(model: nn.Module, rows: int, longest: int) -> float:
    """Estimate of the memory that a pass with its graph keeps over (rows, longest) tokens."""
    config = model.config.get_text_config()
    weight = next(model.parameters())
    states = rows * longest * config.num_hidden_layers * config.hidden_size
    return BYTES_PER_STATE * states * weight.element_size() / 2


def device_bytes(device: torch.device) -> float:
    """Memory of the device, used or not: a run that is resumed decides as before."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
