"""Between examples and token ids: prompts and answers in, plain texts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from workbench.types import Example

Prompt = str | Sequence[Mapping[str, str]]


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


def completion_text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a completion, plain or as assistant messages."""
    if isinstance(completion, str):
        return completion
    return "\n".join(str(message["content"]) for message in completion)


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
