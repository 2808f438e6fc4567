"""What a model would see of a prompt: its chat template filled in, its special tokens, its ids.

Light: the Rust tokenizer is asked through ``tokenizers`` and the template through Jinja; nothing is
downloaded and no torch comes along.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.types import Example

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE, SETTINGS, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"


@dataclass(frozen=True)
class Reader:
    """A model's tokenizer and chat template.

    ``unknown`` is the id of the token for text that it does not know; None where it knows all.
    """

    tokenizer: Tokenizer
    template: str | None
    special: dict[str, str]
    unknown: int | None

    def text(self, prompt: Any, system: str | None = None) -> str:
        """A prompt as the model gets it: text as it is, a conversation through the template.

        Raises:
            ValueError: a conversation meets a model without a chat template, or one that fails.
        """
        if isinstance(prompt, str):
            return prompt
        if self.template is None:
            raise ValueError("the prompts are conversations, but this model has no chat template")
        from jinja2 import TemplateError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message: str) -> None:
            raise TemplateError(message)

        messages = [dict(message) for message in prompt]
        if system is not None and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": system})
        world = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        world.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
        world.globals["raise_exception"] = refuse
        try:
            return world.from_string(self.template).render(
                messages=messages, add_generation_prompt=True, tools=None, **self.special
            )
        except TemplateError as error:
            raise ValueError(f"the chat template cannot be filled in: {error}") from error

    def ids(self, prompt: Any, system: str | None = None) -> list[int]:
        """Token ids of a prompt, special tokens included."""
        plain = isinstance(prompt, str)
        return list(self.tokenizer.encode(self.text(prompt, system), add_special_tokens=plain).ids)

    def shown(self, prompt: Any, system: str | None = None) -> str:
        """The prompt with its special tokens written out."""
        if not isinstance(prompt, str):
            return self.text(prompt, system)
        ids = self.ids(prompt)
        bare = self.tokenizer.encode(prompt, add_special_tokens=False).ids
        extra = len(ids) - len(bare)
        if not extra:
            return prompt
        front = next((i for i in range(extra + 1) if ids[i : i + len(bare)] == list(bare)), extra)
        names = [self.tokenizer.id_to_token(i) for i in ids]
        return "".join(names[:front]) + prompt + "".join(names[front + len(bare) :])


def read_tokenizer(model: str) -> Reader | None:
    """The tokenizer of a model's folder, of the hub's cache or of the etudes; None without one."""
    folder = _folder(model)
    if folder is None or not (folder / FILE).is_file():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / FILE))
    tokenizer.no_truncation()
    settings = _settings(folder)
    special = {
        name: value["content"] if isinstance(value, dict) else str(value)
        for name, value in settings.items()
        if name.endswith("_token") and value
    }
    template = settings.get("chat_template")
    if (folder / TEMPLATE).is_file():
        template = (folder / TEMPLATE).read_text("utf-8")
    unknown = special.get("unk_token")
    known = None if unknown in (None, special.get("eos_token")) else tokenizer.token_to_id(unknown)
    return Reader(tokenizer, template if isinstance(template, str) else None, special, known)


def _folder(model: str) -> Path | None:
    if model == "etudes":
        from workbench.tasks.etudes import POLICY_DIR

        return Path(POLICY_DIR)
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if model.count("/") != 1:
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(model, FILE)
    return Path(cached).parent if isinstance(cached, str) else None


def _settings(folder: Path) -> dict[str, Any]:
    try:
        settings = json.loads((folder / SETTINGS).read_text("utf-8"))
    except (OSError, ValueError):
        return {}  # a tokenizer works without them
    return settings if isinstance(settings, dict) else {}


@dataclass(frozen=True)
class Coverage:
    """Tokens of prompts: (N,) lengths, tokens in all, tokens that the model does not know."""

    lengths: tuple[int, ...]
    total: int
    unknown: int

    @property
    def share(self) -> float:
        """Share of tokens that are known."""
        return 1.0 - self.unknown / self.total if self.total else 0.0


def coverage(reader: Reader, examples: Sequence[Example], system: str | None = None) -> Coverage:
    """Count the tokens of every prompt. Raises ValueError, see ``Reader.text``."""
    encoded = [reader.ids(example.prompt, system) for example in examples]
    missed = 0 if reader.unknown is None else sum(ids.count(reader.unknown) for ids in encoded)
    return Coverage(tuple(map(len, encoded)), sum(map(len, encoded)), missed)
