"""Which part of a completion is which token: what Inspect shades by entropy.

Light: the Rust tokenizer is asked through ``tokenizers``, which brings no torch along.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.api.workbench import Workbench
from workbench.pages.live_cache import config_of
from workbench.runs.rundir import UnknownRunError
from workbench.tasks.etudes import POLICY_DIR

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
Parts = Sequence[tuple[str, float]]
"""Pieces of a text, each with the entropy of the token that wrote it, in nats."""
UNFINISHED = "\ufffd"
"""What a decoder writes for a character of which a byte is still missing."""


def tokenizer_of(wb: Workbench, run_id: str) -> Tokenizer | None:
    """The tokenizer of a run's policy, from its checkpoints or from where its policy came from.

    None where there is no such file on this machine: nothing is downloaded.
    """
    try:
        path = _file(wb.launcher.path(run_id), config_of(wb, run_id).policy.model)
    except UnknownRunError:  # an imported run has rows, and no directory of its own
        return None
    return None if path is None else _read(path, path.stat().st_mtime_ns)


def _file(run_dir: Path, model: str) -> Path | None:
    saved = sorted(run_dir.glob(f"checkpoints/step-*/{FILE}"))
    if saved:
        return saved[-1]
    folder = POLICY_DIR if model == "etudes" else Path(model)
    if (folder / FILE).is_file():
        return folder / FILE
    if folder.exists() or model.count("/") != 1:
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(model, FILE)
    return Path(cached) if isinstance(cached, str) else None


@lru_cache(maxsize=8)
def _read(path: Path, stamp: int) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text, (T,); "" for an end token and for part of a character.

    A token is decoded after the one before it, because decoders put spaces between words and join
    bytes; a character of several tokens belongs to the one that completes it.
    """
    found: list[str] = []
    start = read = 0  # text of ids[start:read] is already given out
    for i in range(len(ids)):
        known = tokenizer.decode(list(ids[start:read]), skip_special_tokens=True)
        text = tokenizer.decode(list(ids[start : i + 1]), skip_special_tokens=True)
        if len(text) <= len(known) or text.endswith(UNFINISHED):
            found.append("")
            continue
        found.append(text[len(known) :])
        start, read = read, i + 1
    return found


def aligned(
    tokenizer: Tokenizer | None, ids: Sequence[int] | None, entropies: Sequence[float], text: str
) -> list[tuple[str, float]] | None:
    """The text in pieces, each with the entropy of the token that wrote it.

    Args:
        tokenizer: of the policy; None where there is none.
        ids: (T,) token ids; None where they were not logged.
        entropies: (T,) in nats.
        text: the completion.

    Returns:
        Pieces that make up the text, or None where tokens and text cannot be told apart: then one
        token a word is tried, and after that nothing.
    """
    if tokenizer is not None and ids is not None and len(ids) == len(entropies):
        parts = pieces(tokenizer, ids)
        if "".join(parts).strip() == text.strip():
            return _joined(parts, entropies)
    words = text.split(" ")
    if len(entropies) - len(words) not in (0, 1):
        return None
    spaced = [words[0], *(f" {word}" for word in words[1:])]
    return [(word, float(e)) for word, e in zip(spaced, entropies, strict=False)]


def shades(texts: pd.DataFrame, tokenizer: Tokenizer | None) -> list[Parts | None]:
    """The pieces of each completion with their entropies; None where those were not logged.

    Args:
        texts: ``head`` (the text), ``token_ids`` and ``token_entropies`` or None.
        tokenizer: of the policy.
    """
    return [
        aligned(tokenizer, ids if np.ndim(ids) == 1 else None, list(entropies), str(text))
        if np.ndim(entropies) == 1
        else None
        for text, ids, entropies in zip(
            texts["head"], texts["token_ids"], texts["token_entropies"], strict=True
        )
    ]


def _joined(parts: Sequence[str], entropies: Sequence[float]) -> list[tuple[str, float]]:
    """Tokens that wrote no character of their own count for the piece that they are part of."""
    found: list[tuple[str, float]] = []
    highest = 0.0
    for part, entropy in zip(parts, entropies, strict=True):
        highest = max(highest, float(entropy))
        if part:
            found.append((part, highest))
            highest = 0.0
    return found
