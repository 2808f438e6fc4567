"""preference: what a pretrained reward model thinks of the completion.

Any sequence classifier with one output (or two, of which the last is "preferred") plugs in: a
directory or a hub name. Text is rendered with the reward model's own chat template where it has
one. torch and transformers are imported on first use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from workbench.config.hub import loading
from workbench.objectives.format import text_of

NEEDS: frozenset[str] = frozenset()
REWARD_DIR = Path(__file__).resolve().parents[1] / "tasks" / "etudes" / "models" / "reward"
"""The small reward model that ships beside the etudes."""
Scorer = Callable[[Sequence[tuple[Any, Any]]], list[float]]


def make_preference(
    model: str | Path, batch_size: int = 64, device: str | None = None, scale: float = 1.0
) -> Callable[..., list[float | None]]:
    """An objective that scores with the reward model at ``model``.

    Args:
        model: Directory or hub name of a sequence classifier.
        batch_size: Rows per forward pass.
        device: Where the model runs; a GPU when there is one.
        scale: The score is divided by it before the sigmoid: for models with a wide range.

    Returns:
        A function with TRL's reward signature; values in (0, 1).
    """

    def preference(
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        """Sigmoid of the reward model's score."""
        score = load_scorer(str(model), batch_size, device)
        return [
            _sigmoid(value / scale) for value in score(list(zip(prompts, completions, strict=True)))
        ]

    return preference


@cache
def load_scorer(model: str, batch_size: int, device: str | None) -> Scorer:
    """Load a sequence classifier once per process; returns raw scores for (prompt, completion).

    Raises:
        ValueError: The model has neither one nor two outputs, or brings code of its own.
        OSError: It is neither a directory here nor to be had from the hub.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with loading("objectives: model", model):
        tokenizer = AutoTokenizer.from_pretrained(model)
        classifier = AutoModelForSequenceClassification.from_pretrained(model, use_safetensors=True)
    if classifier.config.num_labels not in (1, 2):
        raise ValueError(
            f"preference model {model!r} has {classifier.config.num_labels} outputs; "
            "1 (a score) or 2 (rejected, preferred) are allowed"
        )
    limit = context_of(classifier, tokenizer)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    classifier.to(where).eval()

    def score(pairs: Sequence[tuple[Any, Any]]) -> list[float]:
        values: list[float] = []
        for start in range(0, len(pairs), batch_size):
            texts = [render(tokenizer, *pair) for pair in pairs[start : start + batch_size]]
            ids = _read(tokenizer, texts, limit, model)
            width = max(1, *map(len, ids))
            # decoders read the state at the last token that is not the padding: the padding must
            # be a token that no row ends on, whatever tokenizer and configuration say
            pad = _padding(ids, classifier.config.get_text_config().vocab_size)
            classifier.config.get_text_config().pad_token_id = pad
            classifier.config.pad_token_id = pad
            batch = {
                "input_ids": torch.tensor([[*row, *[pad] * (width - len(row))] for row in ids]),
                "attention_mask": torch.tensor(
                    [[1] * len(row) + [0] * (width - len(row)) for row in ids]
                ),
            }
            with torch.no_grad():
                found = classifier(**{name: value.to(where) for name, value in batch.items()})
            logits = found.logits.float()  # (n, 1) or (n, 2)
            values += (logits[:, -1] - (logits[:, 0] if logits.shape[1] == 2 else 0.0)).tolist()
        return values

    return score


def context_of(classifier: Any, tokenizer: Any) -> int | None:
    """Tokens that a reward model reads; None where it does not say."""
    declared = classifier.config.get_text_config().to_dict()
    sizes = [declared.get("max_position_embeddings"), declared.get("n_positions")]
    known = [n for n in (*sizes, tokenizer.model_max_length) if isinstance(n, int) and n < 10**9]
    return min(known, default=None)


_told: set[str] = set()


def _read(tokenizer: Any, texts: list[str], limit: int | None, model: str) -> list[list[int]]:
    """Token ids that fit: what is cut off is the beginning of the prompt, not the completion."""
    special = tokenizer.chat_template is None  # a template writes its own
    rows = tokenizer(texts, add_special_tokens=special)["input_ids"]
    if limit is None or max(map(len, rows)) <= limit:
        return [list(row) for row in rows]
    if model not in _told:
        _told.add(model)
        print(f"{model} reads {limit} tokens: of longer rows the beginning is left out", flush=True)
    tokenizer.truncation_side = "left"
    cut = tokenizer(texts, add_special_tokens=special, truncation=True, max_length=limit)
    return [list(row) for row in cut["input_ids"]]


def _padding(rows: Sequence[Sequence[int]], vocabulary: int) -> int:
    """A token id that none of the rows ends on. Raises ValueError where each is some row's end."""
    ends = {row[-1] for row in rows if row}
    free = next((token for token in range(vocabulary) if token not in ends), None)
    if free is None:
        raise ValueError(f"rows end on each of {vocabulary} tokens: lower params.batch_size")
    return free


def render(tokenizer: Any, prompt: Any, completion: Any) -> str:
    """Prompt and completion as the reward model was trained to read them."""
    if tokenizer.chat_template is None:
        return f"{_plain(prompt)} {text_of(completion)}"
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if isinstance(completion, str):
        turns.append({"role": "assistant", "content": completion})
    else:
        turns += list(completion)
    return str(tokenizer.apply_chat_template(turns, tokenize=False))


def _plain(prompt: str | Sequence[Mapping[str, str]]) -> str:
    return prompt if isinstance(prompt, str) else text_of(prompt)


def _sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow."""
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    return math.exp(value) / (1.0 + math.exp(value))
