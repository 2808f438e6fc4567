"""Chat text taken apart: messages with their roles out of a rendered template, thought, answer.

Templates are known by their marks alone, because no tokenizer is loaded here: ChatML (Qwen, Yi),
Llama 3, Llama 2 and Mistral, Gemma, Phi and Zephyr, DeepSeek, Cohere, OpenAI's harmony; and a JSON
list of messages. Text without such marks is one message without a role.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from workbench.analysis.completions import THOUGHT_END


@dataclass(frozen=True)
class Message:
    """One message of a chat; ``role`` is "" where the text was no chat."""

    role: str
    text: str


ROLES = {
    "human": "user", "model": "assistant", "bot": "assistant", "chatbot": "assistant",
    "developer": "system",
}  # fmt: skip
_ROLE = r"(?P<role>system|developer|user|human|assistant|model|chatbot|tool|ipython|observation)"
HEADS = (
    re.compile(rf"<\|im_start\|>{_ROLE}[^\n<]*\n?"),
    re.compile(rf"<\|start_header_id\|>{_ROLE}<\|end_header_id\|>\n*"),
    re.compile(rf"<start_of_turn>{_ROLE}\n?"),
    re.compile(rf"<\|start\|>{_ROLE}(?:<\|channel\|>\w+)?(?:<\|message\|>|\Z)"),
    re.compile(rf"(?i:<\|START_OF_TURN_TOKEN\|><\|{_ROLE}_TOKEN\|>)"),
    re.compile(rf"<\|{_ROLE}\|>\n?"),
    re.compile(rf"(?i:<｜{_ROLE}｜>)"),
)
"""How a message begins, template by template."""
_INST = re.compile(
    r"\[INST\]\s*(?:<<SYS>>(?P<system>.*?)<</SYS>>)?(?P<user>.*?)\[/INST\](?P<answer>.*?)(?=\[INST\]|\Z)",
    re.DOTALL,
)
SPECIAL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>]{1,40}｜>|</?s>|<(?:eos|bos|pad|start_of_turn|end_of_turn|BOS_TOKEN)>"
    r"|\[/?INST\]|<</?SYS>>"
)
"""Tokens that a template writes and a person does not."""


def messages(prompt: str) -> list[Message]:
    r"""The messages of a prompt, in order; an empty one that asks for the answer is left out.

    >>> messages("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    [Message(role='user', text='hi')]
    """
    found = list(_from_json(prompt)) or list(_from_marks(prompt)) or list(_from_inst(prompt))
    return [m for m in found if m.text] or [Message("", plain(prompt))]


def last_user(prompt: str) -> str:
    """What was asked last: the last message of the user, else the last one of all."""
    found = messages(prompt)
    return next((m.text for m in reversed(found) if m.role in ("user", "")), found[-1].text)


def plain(text: str) -> str:
    """Text without the tokens that a template wrote."""
    return SPECIAL.sub("", text).strip()


def thought_and_answer(text: str) -> tuple[str, str]:
    """A completion in two: what was thought, and what was answered.

    The answer is empty where the thought was cut off; the thought is empty where there was none.
    """
    head, end, answer = text.partition(THOUGHT_END)
    if end:
        return plain(head.replace("<think>", "", 1)), plain(answer)
    if text.lstrip().startswith("<think>"):
        return plain(text.replace("<think>", "", 1)), ""
    return "", plain(text)


def _from_json(prompt: str) -> Iterator[Message]:
    if not prompt.lstrip().startswith("[{"):
        return
    try:
        entries = json.loads(prompt)
    except ValueError:
        return
    if not all(isinstance(e, dict) and "role" in e and "content" in e for e in entries):
        return
    for entry in entries:
        content = entry["content"]
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        yield Message(_role(str(entry["role"])), text.strip())


def _from_marks(prompt: str) -> Iterator[Message]:
    for head in HEADS:
        starts = list(head.finditer(prompt))
        if not starts:
            continue
        before = plain(prompt[: starts[0].start()])
        if before:  # DeepSeek's template writes the system prompt without a mark
            yield Message("system", before)
        ends = [m.start() for m in starts[1:]] + [len(prompt)]
        for start, end in zip(starts, ends, strict=True):
            yield Message(_role(start["role"]), plain(prompt[start.end() : end]))
        return


def _from_inst(prompt: str) -> Iterator[Message]:
    for turn in _INST.finditer(prompt):
        for role, part in (("system", "system"), ("user", "user"), ("assistant", "answer")):
            yield Message(role, plain(turn[part] or ""))


def _role(name: str) -> str:
    return ROLES.get(name.lower(), name.lower())
