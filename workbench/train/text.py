"""Between examples and token ids: prompts and answers in, texts and messages out.

``Rendering`` is the one description of it: whoever turns a prompt into tokens or tokens into what
an objective reads (training, probes, evaluations, the length check, offline learning) asks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase
from trl.chat_template_utils import parse_response

from workbench.config import RunConfig
from workbench.types import Example

Prompt = str | Sequence[Mapping[str, Any]]
TEMPLATE = "chat_template_kwargs"
"""The field of ``grpo.extra`` that the chat template is given, e.g. ``enable_thinking``."""


@dataclass(frozen=True)
class Rendering:
    """How a run's prompts become tokens, and its tokens what objectives and judges read."""

    tokenizer: PreTrainedTokenizerBase
    system_prompt: str | None = None
    template: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Rendering:
        """That of a run."""
        template = config.grpo.extra.get(TEMPLATE) or {}
        return cls(tokenizer, config.policy.system_prompt, template)

    def prompt(self, example: Example) -> Prompt:
        """The example's prompt with the run's system prompt, where it is a conversation."""
        return with_system_prompt(example, self.system_prompt)

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of N prompts. Raises ValueError; see ``encode_prompts``."""
        return encode_prompts(self.tokenizer, prompts, **self.template)

    def texts(self, completion_ids: Sequence[Sequence[int]]) -> list[str]:
        """N completions as plain text, special tokens left out."""
        return self.tokenizer.batch_decode(list(completion_ids), skip_special_tokens=True)

    def completions(
        self,
        prompts: Sequence[Prompt],
        prompt_ids: Sequence[Sequence[int]],
        completion_ids: Sequence[Sequence[int]],
    ) -> list[Any]:
        """N completions as objectives get them: text, or one assistant message each.

        A tokenizer that says how its responses are read (``response_template``, the older
        ``response_schema``) has them parsed: thinking and tool calls get fields of their own.
        """
        texts = self.texts(completion_ids)
        if isinstance(prompts[0], str):
            return list(texts)
        parsed = any(
            getattr(self.tokenizer, name, None) is not None  # older tokenizers have neither
            for name in ("response_template", "response_schema")
        )
        if not parsed:
            return [[{"role": "assistant", "content": text}] for text in texts]
        rows = zip(prompt_ids, completion_ids, strict=True)
        return [[parse_response(self.tokenizer, list(c), prefix=list(p))] for p, c in rows]

    def shown(self, prompt: Prompt, prompt_ids: Sequence[int]) -> str:
        """A prompt as it is logged: plain text as it is, a conversation as the policy saw it."""
        return prompt_text(self.tokenizer, prompt, prompt_ids)


def with_system_prompt(example: Example, system_prompt: str | None) -> Prompt:
    """The example's prompt; a conversation without a system turn gets the configured one."""
    if system_prompt is None or isinstance(example.prompt, str):
        return example.prompt
    if example.prompt and example.prompt[0]["role"] == "system":
        return example.prompt
    return [{"role": "system", "content": system_prompt}, *example.prompt]


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], **template: Any
) -> list[list[int]]:
    """Token ids of prompts exactly as GRPOTrainer makes them.

    Args:
        tokenizer: The policy's tokenizer.
        prompts: N texts, or N conversations (the chat template is applied).
        **template: Keyword arguments of the chat template.

    Raises:
        ValueError: When a conversation meets a tokenizer without a chat template.
    """
    if isinstance(prompts[0], str):
        return [list(ids) for ids in tokenizer(text=list(prompts))["input_ids"]]
    if tokenizer.chat_template is None:
        raise ValueError(
            "the prompts are conversations, but the policy's tokenizer has no chat template; "
            "use a chat model, or prompts that are plain text"
        )
    encoded = tokenizer.apply_chat_template(
        [list(p) for p in prompts],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        **template,
    )
    return [list(ids) for ids in encoded["input_ids"]]


def encode_answers(
    tokenizer: PreTrainedTokenizerBase, references: Sequence[str | None]
) -> list[list[int] | None]:
    """Token ids of reference answers that continue a text; None for rows without one."""
    known = {text: encode_continuation(tokenizer, text) for text in set(references) if text}
    return [known[text] if text else None for text in references]


def encode_continuation(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text after a space, without special tokens; empty for an empty text."""
    if not text:
        return []
    return list(tokenizer(text=f" {text}", add_special_tokens=False)["input_ids"])


def prompt_text(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, prompt_ids: Sequence[int]
) -> str:
    """A prompt as it is logged: plain text as it is, a conversation as the policy saw it."""
    return prompt if isinstance(prompt, str) else str(tokenizer.decode(list(prompt_ids)))


def example_columns(examples: Sequence[Example]) -> dict[str, list[Any]]:
    """Columns of N examples as objectives receive them; a column that a row lacks is None."""
    extra = sorted({name for example in examples for name in example.extra})
    columns: dict[str, list[Any]] = {n: [e.extra.get(n) for e in examples] for n in extra}
    columns["prompt_id"] = [e.prompt_id for e in examples]
    columns["kind"] = [e.kind for e in examples]
    columns["reference"] = [e.reference for e in examples]
    return columns
