"""Rollouts of encoder-decoder policies: the prompt in the encoder, the completion in the decoder.

The numbers are those of ``scoring``: log-probabilities and entropies at the sampling temperature,
the hidden state of the decoder after its final norm at the last completion token, and the reference
answer scored where the completion would continue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from workbench.train.rewards import all_needs
from workbench.train.rollout import RolloutGenerator, Sampling
from workbench.train.scoring import Scores
from workbench.train.sequence_logprobs import make_batch
from workbench.train.text import encode_answers, encode_continuation
from workbench.types import Example, Floats

TokenIds = Sequence[int]


class Seq2SeqRoller(RolloutGenerator):
    """A RolloutGenerator for models whose completions come from a decoder of their own."""

    def _score(
        self,
        rows: Sequence[Example],
        prompt_ids: list[list[int]],
        completion_ids: list[list[int]],
        sampling: Sampling,
    ) -> Scores:
        needs = all_needs(self.rewards)
        if "reference" in needs:
            raise ValueError(
                "an objective needs the frozen reference, which encoder-decoder policies do not "
                "have here; choose objectives without it"
            )
        lead = encode_continuation(self.rendering.tokenizer, self.answer_lead)
        answers = encode_answers(self.rendering.tokenizer, [e.reference for e in rows])
        parts = [
            decoder_pass(
                self.model,
                prompt_ids[begin : begin + self.batch_size],
                completion_ids[begin : begin + self.batch_size],
                sampling.temperature or 1.0,
            )
            for begin in range(0, len(rows), self.batch_size)
        ]
        ended = [bool(ids) and ids[-1] in self.eos_ids for ids in completion_ids]
        return Scores(
            hidden=np.concatenate([part[0] for part in parts]),
            token_logps=[row for part in parts for row in part[1]],
            token_entropies=[row for part in parts for row in part[2]],
            truncated=~np.array(ended),
            max_completion_length=sampling.max_completion_length,
            answer_logps=self._answers(prompt_ids, completion_ids, ended, lead, answers)
            if "answer" in needs
            else None,
        )

    def _answers(
        self,
        prompts: list[list[int]],
        completions: list[list[int]],
        ended: list[bool],
        lead: TokenIds,
        answers: Sequence[TokenIds | None],
    ) -> list[Floats | None]:
        """Log-probability of each answer token after prompt, completion and lead."""
        found: list[Floats | None] = [None] * len(prompts)
        rows = [i for i, answer in enumerate(answers) if answer]
        for begin in range(0, len(rows), self.batch_size):
            chunk = rows[begin : begin + self.batch_size]
            texts = [
                [*(completions[i][:-1] if ended[i] else completions[i]), *lead, *(answers[i] or ())]
                for i in chunk
            ]
            logps = decoder_pass(self.model, [prompts[i] for i in chunk], texts)[1]
            for i, values in zip(chunk, logps, strict=True):
                found[i] = values[-len(answers[i] or ()) :]
        return found


def decoder_pass(
    model: nn.Module,
    prompts: Sequence[TokenIds],
    completions: Sequence[TokenIds],
    temperature: float = 1.0,
) -> tuple[np.ndarray, list[Floats], list[Floats]]:
    """Hidden (n, D) at the last completion token, and per token log-probabilities and entropies."""
    device = next(model.parameters()).device
    batch = make_batch(model, prompts, completions, 0)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            output = model(
                input_ids=batch["input_ids"].to(device),
                attention_mask=batch["attention_mask"].to(device),
                decoder_input_ids=batch["decoder_input_ids"].to(device),
                output_hidden_states=True,
                use_cache=False,
            )
    finally:
        model.train(was_training)
    logps = torch.log_softmax(output.logits.float() / temperature, dim=-1)  # (n, T, V)
    entropies = -(logps.exp() * logps).sum(-1).double().cpu().numpy()
    labels = batch["labels"].clamp(min=0).to(device)
    chosen = logps.gather(-1, labels[..., None]).squeeze(-1).double().cpu().numpy()
    sizes = [len(ids) for ids in completions]
    last = torch.tensor([max(0, size - 1) for size in sizes], device=device)
    states = output.decoder_hidden_states[-1]
    hidden = states[torch.arange(len(sizes), device=device), last].float().cpu().numpy()
    return (
        hidden,
        [row[:size] for row, size in zip(chosen, sizes, strict=True)],
        [row[:size] for row, size in zip(entropies, sizes, strict=True)],
    )
