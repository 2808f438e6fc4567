"""One scoring pass: terminal hidden state, token log-probabilities, entropies, answer likelihood.

A row is ``prompt + completion`` with the token ids that were generated, padded on the right: under
a causal mask nothing behind a token changes it, so a row has the same numbers alone and in a batch,
with rotary and with learned positions. Where the perplexity of a reference answer is asked for, the
answer continues the row as a *branch*: it sees the prompt and the completion without its end token,

    trunk   p1 p2 c1 c2 EOS
    branch            c2' a1 a2        c2' repeats c2, so that a1 is predicted from the text

and shares the pass. A lead (``Task.answer_lead``, e.g. "answer :") may stand between text and
answer; it is seen, but not scored. Log-probabilities and entropies are those of the sampling
distribution (logits / temperature), as everywhere in TRL, whose fused head computes them without
keeping logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel
from trl.trainer.utils import add_fused_lm_head

from workbench.train.sequences import TokenIds, TokenRow, padded
from workbench.types import Floats

BRANCHING_ATTENTION = ("sdpa", "eager")  # implementations that take a mask of their own per row


@dataclass(frozen=True)
class TokenGraph:
    """Log-probabilities with their graph, and entropies: (N, T), 0 behind each row's end."""

    log_probs: torch.Tensor
    entropies: torch.Tensor


@dataclass(frozen=True)
class Scores:
    """What one pass over N completions found; handed to objectives as ``scores``.

    Sequences have length N, with one entry per completion token (T_i, end token included).
    ``hidden`` (N, D) float32 is the last layer after the final norm at the last completion token.
    ``answer_logps`` holds the log-probability of each token of the reference answer after prompt
    and completion, None for a row without one. ``reference_token_logps`` is None when no reference
    pass ran. Everything is in nats, at the sampling temperature. ``sampling_logps`` are those of
    the distribution that tokens were drawn from, where something cut or bent it; None where it was
    the policy's. ``graph`` is for a trainer that takes this pass for its own forward.
    """

    hidden: NDArray[np.float32]
    token_logps: Sequence[Floats]
    token_entropies: Sequence[Floats]
    truncated: NDArray[np.bool_]
    max_completion_length: int
    answer_logps: Sequence[Floats | None] | None = None
    reference_token_logps: Sequence[Floats] | None = None
    sampling_logps: Sequence[Floats] | None = None
    graph: TokenGraph | None = None

    @property
    def policy_logp(self) -> Floats:
        """(N,) log-probability of each completion under the policy, at the sampling temperature."""
        return np.array([row.sum() for row in self.token_logps])

    @property
    def behaviour_logp(self) -> Floats:
        """(N,) log-probability that each completion had when it was sampled."""
        drawn = self.token_logps if self.sampling_logps is None else self.sampling_logps
        return np.array([row.sum() for row in drawn])

    @property
    def reference_logp(self) -> Floats | None:
        """(N,) log-probability of each completion under the frozen reference, if it was asked."""
        if self.reference_token_logps is None:
            return None
        return np.array([row.sum() for row in self.reference_token_logps])

    @property
    def kl(self) -> Floats | None:
        """(N,) mean per token of the k3 estimate exp(d) - d - 1, d = log reference - log policy."""
        if self.reference_token_logps is None:
            return None
        rows = zip(self.reference_token_logps, self.token_logps, strict=True)
        deltas = [reference - policy for reference, policy in rows]
        return np.array([float(np.mean(np.expm1(d) - d)) if len(d) else 0.0 for d in deltas])


def prepare_scoring(model: PreTrainedModel, temperature: float = 1.0) -> None:
    """Give a model TRL's fused head, which ``score`` needs; generation is unchanged.

    May be called again to change the temperature. GRPOTrainer does it for the policy itself.
    """
    add_fused_lm_head(
        below_adapters(model), temperature=temperature, outputs=("log_probs", "entropy")
    )


def below_adapters(model: nn.Module) -> nn.Module:
    """The language model itself; adapters, where there are any, are layers inside it."""
    # a base that carries adapters has a peft_config too: only the wrapper knows what is below it
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def backbone(model: nn.Module) -> nn.Module:
    """The transformer below the language-model head, whose output is after the final norm."""
    return below_adapters(model).base_model


def score(
    model: nn.Module,
    prompt_ids: Sequence[TokenIds],
    completion_ids: Sequence[TokenIds],
    *,
    eos_ids: Sequence[int],
    max_completion_length: int,
    answer_ids: Sequence[TokenIds | None] | None = None,
    lead_ids: TokenIds = (),
    batch_size: int | None = None,
    keep_graph: bool = False,
    entropy_graph: bool = False,
    lockstep: bool = False,
) -> Scores:
    """Score N completions in eval mode, without gradients unless the graph is to be kept.

    Args:
        model: A causal model that ``prepare_scoring`` or GRPOTrainer has given the fused head.
        prompt_ids: N prompts as they were generated from.
        completion_ids: N completions as generated, end token included.
        eos_ids: Token ids that end a completion.
        max_completion_length: The run's limit; reported to objectives.
        answer_ids: N reference answers to score after each completion, None for rows without.
        lead_ids: Tokens between completion and answer, not scored themselves.
        batch_size: Rows per forward pass; None puts all in one.
        keep_graph: Return ``Scores.graph``; all rows then go through one pass. It stays None where
            a completion has no prompt, so that its first token has no probability.
        entropy_graph: Keep the entropies' part of that graph too: a bonus on them trains.
        lockstep: Run as many passes whether or not any row here has an answer: under FSDP every
            process takes part in every pass.

    Raises:
        ValueError: When a row has neither prompt nor completion, so that it has no state at all.
    """
    limit = _position_limit(model)
    rows = [
        TokenRow.build(list(prompt), list(completion), answer, lead_ids, eos_ids, limit)
        for prompt, completion, answer in zip(
            prompt_ids, completion_ids, answer_ids or [None] * len(prompt_ids), strict=True
        )
    ]
    size = max(1, len(rows)) if keep_graph else batch_size or max(1, len(rows))
    was_training = model.training
    model.eval()
    try:
        with torch.set_grad_enabled(keep_graph):
            both = lockstep and answer_ids is not None
            parts = [_pass(model, rows[i : i + size], both) for i in range(0, len(rows), size)]
    finally:
        model.train(was_training)
    ended = set(eos_ids)
    return Scores(
        hidden=np.concatenate([p[0] for p in parts]) if parts else np.zeros((0, 0), np.float32),
        token_logps=[row for p in parts for row in p[1]],
        token_entropies=[row for p in parts for row in p[2]],
        answer_logps=[row for p in parts for row in p[3]] if answer_ids is not None else None,
        truncated=np.array([not (len(c) and c[-1] in ended) for c in completion_ids], dtype=bool),
        max_completion_length=max_completion_length,
        graph=_graph(rows, parts[0][4], entropy_graph) if keep_graph and parts else None,
    )


def _graph(
    rows: Sequence[TokenRow], tensors: tuple[torch.Tensor, torch.Tensor], entropy_graph: bool
) -> TokenGraph | None:
    """The completions' part of shifted values (n, L - 1), differentiable: (n, T)."""
    if any(row.start == 0 for row in rows):
        return None
    start = torch.tensor([row.start for row in rows])
    length = torch.tensor([row.trunk - row.start for row in rows])
    log_probs, entropies = tensors
    entropies = entropies if entropy_graph else entropies.detach()
    width = int(length.max())
    return TokenGraph(*(cut_out(v, start, length, width) for v in (log_probs, entropies)))


def cut_out(
    values: torch.Tensor, start: torch.Tensor, length: torch.Tensor, width: int
) -> torch.Tensor:
    """Values of each row's completion, 0 behind its end, differentiable.

    Args:
        values: (n, L - 1); what is said of token j stands at j - 1.
        start: (n,) where each completion begins; the token at 0 has no value.
        length: (n,) its tokens.
        width: T, columns of the result (n, T).
    """
    start, length = start.to(values.device)[:, None], length.to(values.device)[:, None]
    index = torch.arange(width, device=values.device)[None]  # (1, T)
    places = start - 1 + index  # (n, T)
    inside = (index < length) & (places >= 0)
    return torch.where(inside, values.gather(1, places.clamp(0, values.shape[1] - 1)), 0.0)


def _position_limit(model: nn.Module) -> int | None:
    """Positions that the model can address, if it says so."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def _branches(model: nn.Module) -> bool:
    """Whether a mask per row reaches attention: neither flash kernels nor sliding windows."""
    config = model.config.get_text_config()
    sliding = getattr(config, "sliding_window", None) is not None
    return config._attn_implementation in BRANCHING_ATTENTION and not sliding


def _pass(
    model: nn.Module, rows: list[TokenRow], lockstep: bool = False
) -> tuple[
    NDArray[np.float32],
    list[Floats],
    list[Floats],
    list[Floats | None],
    tuple[torch.Tensor, torch.Tensor],
]:
    """Hidden (n, D), completion log-probabilities and entropies, answers, tensors (n, L - 1)."""
    answered = [i for i, row in enumerate(rows) if row.answered]
    able = _branches(model)
    branching = bool(answered) and able
    trunks = rows if branching else [row.without_answer() for row in rows]
    hidden, *tensors = _forward(model, trunks, branching)
    logps, entropies = (_array(tensor) for tensor in tensors)
    last = torch.tensor([row.trunk - 1 for row in rows], device=hidden.device)
    terminal = hidden[torch.arange(len(rows), device=hidden.device), last].float().cpu().numpy()
    answers: list[Floats | None] = [None] * len(rows)
    if branching:
        for i in answered:
            answers[i] = logps[i, rows[i].trunk + rows[i].lead : len(rows[i].tokens) - 1]
    elif answered or (lockstep and not able):
        straight = [rows[i].straight() for i in answered] or [rows[0].without_answer()]
        with torch.no_grad():
            _, answer_logps, _ = _forward(model, straight, False)
        for i, row, values in zip(answered, straight, _array(answer_logps), strict=False):
            answers[i] = values[row.start - 1 : row.trunk - 1]
    return (
        terminal,
        [_completion(row, values) for row, values in zip(rows, logps, strict=True)],
        [_completion(row, values) for row, values in zip(rows, entropies, strict=True)],
        answers,
        (tensors[0], tensors[1]),
    )


def _array(values: torch.Tensor) -> Floats:
    return values.detach().double().cpu().numpy()


def _completion(row: TokenRow, values: Floats) -> Floats:
    """The completion's part of a row of shifted values; a first token without prompt has none."""
    if row.start == 0:
        return np.concatenate([[0.0], values[: row.trunk - 1]])
    return values[row.start - 1 : row.trunk - 1]


def _forward(
    model: nn.Module, rows: list[TokenRow], branching: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run the model once: hidden (n, L, D), log-probabilities and entropies (n, L - 1)."""
    weight = next(model.parameters())
    inputs = padded(rows, branching, weight.dtype)
    kept: list[torch.Tensor] = []
    hook = backbone(model).register_forward_hook(
        lambda module, args, output: kept.append(output.last_hidden_state.detach())
    )
    try:
        output = model(
            **{name: value.to(weight.device) for name, value in inputs.items()},
            fused_lm_head=True,
        )
    finally:
        hook.remove()
    log_probs, entropy = output.log_probs, output.entropy
    if entropy is None:  # TRL gives its own reference a head without entropies
        entropy = torch.full_like(log_probs, torch.nan)
    return kept[0], log_probs, entropy
