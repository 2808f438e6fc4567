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
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel
from trl.trainer.utils import add_fused_lm_head

from workbench.types import Floats

TokenIds = Sequence[int]
IGNORE = -100  # label of a position that nobody wants a log-probability for
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
    pass ran. Everything is in nats, at the sampling temperature. ``graph`` is for a trainer that
    takes this pass for its own forward.
    """

    hidden: NDArray[np.float32]
    token_logps: Sequence[Floats]
    token_entropies: Sequence[Floats]
    truncated: NDArray[np.bool_]
    max_completion_length: int
    answer_logps: Sequence[Floats | None] | None = None
    reference_token_logps: Sequence[Floats] | None = None
    graph: TokenGraph | None = None

    @property
    def behaviour_logp(self) -> Floats:
        """(N,) log-probability of each completion under the policy that sampled it."""
        return np.array([row.sum() for row in self.token_logps])

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
    causal = model.get_base_model() if hasattr(model, "peft_config") else model
    add_fused_lm_head(causal, temperature=temperature, outputs=("log_probs", "entropy"))


def backbone(model: nn.Module) -> nn.Module:
    """The transformer below the language-model head, whose output is after the final norm."""
    causal = model.get_base_model() if hasattr(model, "peft_config") else model
    return causal.base_model


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

    Raises:
        ValueError: When a row has neither prompt nor completion, so that it has no state at all.
    """
    limit = _position_limit(model)
    rows = [
        _Row.build(list(prompt), list(completion), answer, lead_ids, eos_ids, limit)
        for prompt, completion, answer in zip(
            prompt_ids, completion_ids, answer_ids or [None] * len(prompt_ids), strict=True
        )
    ]
    size = max(1, len(rows)) if keep_graph else batch_size or max(1, len(rows))
    was_training = model.training
    model.eval()
    try:
        with torch.set_grad_enabled(keep_graph):
            parts = [_pass(model, rows[i : i + size]) for i in range(0, len(rows), size)]
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
        graph=_completion_graph(rows, *parts[0][4]) if keep_graph and parts else None,
    )


def _completion_graph(
    rows: Sequence[_Row], log_probs: torch.Tensor, entropies: torch.Tensor
) -> TokenGraph | None:
    """Cut the completions out of shifted values: (n, L - 1) to (n, T), differentiable."""
    if any(row.start == 0 for row in rows):
        return None
    start = torch.tensor([row.start for row in rows], device=log_probs.device)[:, None]
    length = torch.tensor([row.trunk - row.start for row in rows], device=log_probs.device)[:, None]
    index = torch.arange(int(length.max()), device=log_probs.device)[None]  # (1, T)
    inside = index < length
    places = (start - 1 + index).clamp(0, log_probs.shape[1] - 1)  # (n, T)
    return TokenGraph(
        torch.where(inside, log_probs.gather(1, places), 0.0),
        torch.where(inside, entropies.detach().gather(1, places), 0.0),
    )


@dataclass(frozen=True)
class _Row:
    """One sequence of the pass; ``start`` and ``trunk`` bound the completion inside ``tokens``."""

    tokens: list[int]
    start: int
    trunk: int
    kept: int  # trunk without its end token: what an answer may see
    lead: int  # tokens of the branch between the repeated token and the answer
    answered: bool

    @classmethod
    def build(
        cls,
        prompt: list[int],
        completion: list[int],
        answer: TokenIds | None,
        lead: TokenIds,
        eos_ids: Sequence[int],
        limit: int | None,
    ) -> _Row:
        trunk = prompt + completion
        if not trunk:
            raise ValueError("a row has neither prompt nor completion tokens; it has no state")
        ended = bool(completion) and completion[-1] in eos_ids and len(trunk) > 1
        kept = len(trunk) - ended
        answer = list(answer or [])[: max(0, limit - kept - len(lead)) if limit else None]
        branch = [trunk[kept - 1], *lead, *answer] if answer else []
        return cls(trunk + branch, len(prompt), len(trunk), kept, len(lead), bool(answer))

    def straight(self) -> _Row:
        """The answer after the completion as a row of its own, for models that cannot branch."""
        tokens = self.tokens[: self.kept] + self.tokens[self.trunk + 1 :]
        return _Row(tokens, self.kept + self.lead, len(tokens), len(tokens), 0, False)


def _position_limit(model: nn.Module) -> int | None:
    """Positions that the model can address, if it says so."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def _branches(model: nn.Module) -> bool:
    """Whether a mask per row reaches attention: neither flash kernels nor sliding windows."""
    config = model.config.get_text_config()
    sliding = getattr(config, "sliding_window", None) is not None
    return config._attn_implementation in BRANCHING_ATTENTION and not sliding


def _pass(
    model: nn.Module, rows: list[_Row]
) -> tuple[
    NDArray[np.float32],
    list[Floats],
    list[Floats],
    list[Floats | None],
    tuple[torch.Tensor, torch.Tensor],
]:
    """Hidden (n, D), completion log-probabilities and entropies, answers, tensors (n, L - 1)."""
    answered = [i for i, row in enumerate(rows) if row.answered]
    branching = bool(answered) and _branches(model)
    trunks = rows if branching else [_trunk_only(row) for row in rows]
    hidden, *tensors = _forward(model, trunks, branching)
    logps, entropies = (_array(tensor) for tensor in tensors)
    last = torch.tensor([row.trunk - 1 for row in rows], device=hidden.device)
    terminal = hidden[torch.arange(len(rows), device=hidden.device), last].float().cpu().numpy()
    answers: list[Floats | None] = [None] * len(rows)
    if branching:
        for i in answered:
            answers[i] = logps[i, rows[i].trunk + rows[i].lead : len(rows[i].tokens) - 1]
    elif answered:
        straight = [rows[i].straight() for i in answered]
        with torch.no_grad():
            _, answer_logps, _ = _forward(model, straight, False)
        for i, row, values in zip(answered, straight, _array(answer_logps), strict=True):
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


def _trunk_only(row: _Row) -> _Row:
    return replace(row, tokens=row.tokens[: row.trunk], answered=False)


def _completion(row: _Row, values: Floats) -> Floats:
    """The completion's part of a row of shifted values; a first token without prompt has none."""
    if row.start == 0:
        return np.concatenate([[0.0], values[: row.trunk - 1]])
    return values[row.start - 1 : row.trunk - 1]


def _forward(
    model: nn.Module, rows: list[_Row], branching: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run the model once: hidden (n, L, D), log-probabilities and entropies (n, L - 1)."""
    device = next(model.parameters()).device
    length = max(len(row.tokens) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORE)
    for i, row in enumerate(rows):
        ids[i, : len(row.tokens)] = torch.tensor(row.tokens)
        labels[i, row.start : len(row.tokens)] = ids[i, row.start : len(row.tokens)]
        if len(row.tokens) > row.trunk:
            # the repeated token that opens the branch, and the lead, are nobody's answer
            labels[i, row.trunk : row.trunk + 1 + row.lead] = IGNORE
    inputs = {"attention_mask": _padding_mask(rows, length)}
    if branching:
        inputs = _branch_mask(rows, length, next(model.parameters()).dtype)
    kept: list[torch.Tensor] = []
    hook = backbone(model).register_forward_hook(
        lambda module, args, output: kept.append(output.last_hidden_state.detach())
    )
    try:
        output = model(
            input_ids=ids.to(device),
            labels=labels.to(device),
            fused_lm_head=True,
            **{name: value.to(device) for name, value in inputs.items()},
        )
    finally:
        hook.remove()
    log_probs, entropy = output.log_probs, output.entropy
    if entropy is None:  # TRL gives its own reference a head without entropies
        entropy = torch.full_like(log_probs, torch.nan)
    return kept[0], log_probs, entropy


def _padding_mask(rows: list[_Row], length: int) -> torch.Tensor:
    """(n, L) 1 on tokens, 0 on the padding behind them."""
    lengths = torch.tensor([len(row.tokens) for row in rows])
    return (torch.arange(length) < lengths[:, None]).long()


def _branch_mask(rows: list[_Row], length: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Additive mask (n, 1, L, L) and positions (n, L) of trunks with branches."""
    trunk = torch.tensor([row.trunk for row in rows])[:, None]
    kept = torch.tensor([row.kept for row in rows])[:, None]
    index = torch.arange(length)
    on_branch = index >= trunk  # (n, L); padding behind a row is seen by nobody before it
    causal = index[None, :] <= index[:, None]  # (L, L) query x key
    text = (index < kept - 1)[:, None, :]  # keys that the branch shares with the trunk
    own = on_branch[:, None, :] & causal
    visible = torch.where(on_branch[:, :, None], text | own, causal & ~on_branch[:, None, :])
    mask = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
    positions = torch.where(on_branch, index - trunk + kept - 1, index)
    lengths = torch.tensor([len(row.tokens) for row in rows])[:, None]
    positions = torch.where(index < lengths, positions, 0)  # padding stays inside the context
    return {"attention_mask": mask[:, None], "position_ids": positions}
