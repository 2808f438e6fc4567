"""One description of how completions are drawn, for training, probes and evaluations alike.

Every field of transformers' GenerationConfig is filled in here, and the model's own
``generation_config.json`` stands aside while it samples: of it, only the end tokens count. So a
penalty or a suppressed token that a model ships with acts nowhere, and one that the run asks for
acts everywhere. Sampling runs in evaluation mode: a completion comes from the policy that is
scored, without dropout.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, LogitsProcessor, PreTrainedTokenizerBase

from workbench.config import RunConfig
from workbench.train.scoring import below_adapters
from workbench.types import Floats

TokenIds = list[int]


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn; temperature 0 is greedy. The names are TRL's."""

    num_generations: int
    max_completion_length: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float | None = None
    repetition_penalty: float = 1.0
    cache_implementation: str | None = None
    others: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @classmethod
    def of(cls, config: RunConfig, **changes: Any) -> Sampling:
        """What a run samples with; ``changes`` are fields that are another's business.

        Args:
            config: The run: ``grpo`` and the sampling fields of ``grpo.extra``.
            **changes: Fields of this class, e.g. the number of completions of a probe.
        """
        grpo = config.grpo
        own = ("top_k", "min_p", "repetition_penalty", "cache_implementation")
        settings: dict[str, Any] = {
            "num_generations": grpo.num_generations,
            "max_completion_length": grpo.max_completion_length,
            "temperature": grpo.temperature,
            "top_p": grpo.top_p,
            "others": grpo.extra.get("generation_kwargs") or {},
            **{name: grpo.extra[name] for name in own if grpo.extra.get(name) is not None},
        }
        return cls(**settings | changes)

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken every time."""
        return self.temperature == 0

    @property
    def plain(self) -> bool:
        """Whether tokens are drawn from the policy at its temperature, with nothing cut or bent.

        The scoring pass then gives the log-probabilities that sampling had.
        """
        kept = self.top_p == 1.0 and self.top_k == 0 and not self.min_p
        return kept and self.repetition_penalty == 1.0 and not self.others

    def generation_config(
        self, tokenizer: PreTrainedTokenizerBase, eos_ids: Sequence[int]
    ) -> GenerationConfig:
        """The same as transformers takes it, every field said."""
        drawn = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
        }
        return GenerationConfig(
            max_new_tokens=self.max_completion_length,
            do_sample=not self.greedy,
            **({} if self.greedy else drawn),
            repetition_penalty=self.repetition_penalty,
            cache_implementation=self.cache_implementation,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=list(eos_ids),
            disable_compile=True,
            **self.others,
        )


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Seed python, numpy and torch inside the block, and give back what was there before."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


class TokenLogps(LogitsProcessor):
    """The last of the processors: keeps how likely each token was when it was drawn.

    Only the distribution of the newest token is held, (n, V); its probability is read off when the
    token that was drawn is seen.
    """

    def __init__(self) -> None:
        self.columns: list[torch.Tensor] = []
        self.newest: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leave the scores as they are."""
        self._read(input_ids[:, -1:])
        self.newest = torch.log_softmax(scores.float(), dim=-1)
        return scores

    def _read(self, tokens: torch.Tensor) -> None:
        if self.newest is not None:
            self.columns.append(self.newest.gather(1, tokens.to(self.newest.device)))

    def matrix(self, last_tokens: torch.Tensor) -> Floats:
        """(n, T) log-probabilities in nats, after the last token (n, 1)."""
        self._read(last_tokens)
        self.newest = None
        return torch.cat(self.columns, dim=1).double().cpu().numpy()


@contextmanager
def _sampling_as(
    model: Any, settings: GenerationConfig, recorder: TokenLogps | None
) -> Iterator[None]:
    """Put the model's own generation settings aside, and the recorder behind all processors."""
    own, make = model.generation_config, model._get_logits_processor

    def recorded(*args: Any, **kwargs: Any) -> Any:
        processors = make(*args, **kwargs)
        processors.append(recorder)
        return processors

    model.generation_config = settings
    if recorder is not None:
        model._get_logits_processor = recorded
    try:
        yield
    finally:
        model.generation_config = own
        if recorder is not None:
            del model._get_logits_processor


def generate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: Sequence[TokenIds],
    sampling: Sampling,
    eos_ids: Sequence[int],
    *,
    batch_size: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[list[TokenIds], list[Floats] | None]:
    """One completion of each of N prompts, the end token included.

    Args:
        model: A causal or an encoder-decoder model.
        tokenizer: Its tokenizer.
        prompt_ids: N prompts.
        sampling: How to draw.
        eos_ids: Token ids that end a completion.
        batch_size: Prompts per call of the model; None: all at once.
        tell: Hears how far it is, in words.

    Returns:
        N completions, and N arrays (T_i,) of the log-probability, in nats, that each token had in
        the distribution that it was drawn from; None where the scoring pass knows them
        (``Sampling.plain``) or nothing was drawn.
    """
    core, device = below_adapters(model), next(model.parameters()).device
    settings = sampling.generation_config(tokenizer, eos_ids)
    decoder = bool(core.config.is_encoder_decoder)
    if decoder:
        settings.decoder_start_token_id = core.config.decoder_start_token_id
    size = batch_size or max(1, len(prompt_ids))
    completions: list[TokenIds] = []
    logps: list[Floats] = []
    recording = not (sampling.plain or sampling.greedy)
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(prompt_ids), size):
            if tell is not None:
                tell(f"sampling, {start} of {len(prompt_ids)} completions done")
            batch = tokenizer.pad(
                {"input_ids": list(prompt_ids[start : start + size])},
                padding_side="right" if decoder else "left",
                return_tensors="pt",
            ).to(device)
            recorder = TokenLogps() if recording else None
            with torch.no_grad(), _sampling_as(core, settings, recorder):
                output = core.generate(**batch, generation_config=settings)
            drawn = output[:, 1 if decoder else batch["input_ids"].shape[1] :]
            ended = [_until_end(tokens, eos_ids) for tokens in drawn.tolist()]
            if recorder is not None:
                rows = zip(recorder.matrix(output[:, -1:]), ended, strict=True)
                logps += [row[: len(tokens)] for row, tokens in rows]
            completions += ended
    finally:
        model.train(was_training)
    return completions, logps if recording else None


def _until_end(tokens: TokenIds, eos_ids: Sequence[int]) -> TokenIds:
    for position, token in enumerate(tokens):
        if token in eos_ids:
            return tokens[: position + 1]
    return tokens
