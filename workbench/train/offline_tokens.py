"""From rows to token ids, and what is known of each row before training: l_ref and V(x)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from workbench.config.offline import RpoConfig
from workbench.core.losses import partition_values
from workbench.train.offline_rows import RowsError, prompt_keys
from workbench.train.text import Rendering
from workbench.types import Example, Floats

TokenIds = Sequence[int]


@dataclass(frozen=True)
class TokenRows:
    """N rows ready for training.

    ``logp_ref`` (N,) is summed over the response; ``lengths`` (N,) counts its tokens. ``values``
    (N,) is V(x) of RPO; None where it was not asked. ``groups`` (N,) numbers the prompts.
    """

    prompt_ids: Sequence[TokenIds]
    response_ids: Sequence[TokenIds]
    rewards: Floats
    groups: np.ndarray
    logp_ref: Floats | None = None
    logp_behaviour: Floats | None = None
    values: Floats | None = None

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def lengths(self) -> Floats:
        """(N,) response tokens."""
        return np.array([len(ids) for ids in self.response_ids], dtype=np.float64)


def encode_rows(
    frame: pd.DataFrame, rendering: Rendering, encoder_decoder: bool, rendered: bool
) -> tuple[pd.DataFrame, bool]:
    """Add ``prompt_ids`` and ``response_ids``; say whether both are the logged ones.

    Logged ids are used when every row has them and they decode to the row's text, which holds for
    rows of any policy with this tokenizer. Otherwise prompts are rendered as this run renders its
    own, responses are tokenised by themselves, and an end token follows where the row was not cut.

    Args:
        frame: Rows of ``offline_rows``.
        rendering: How the run's prompts become tokens.
        encoder_decoder: Prompts go to an encoder, which wants its own special tokens.
        rendered: Prompts were logged with the chat template applied, special tokens included.
    """
    tokenizer = rendering.tokenizer
    logged = not encoder_decoder and _same_tokens(frame, tokenizer)
    with_prompts = logged and _all_there(frame["prompt_token_ids"], len(tokenizer))
    if with_prompts:
        prompts = [list(ids) for ids in frame["prompt_token_ids"]]
    else:
        by_key: dict[str, list[int]] = {}
        keys = prompt_keys(frame)
        for key, prompt in zip(keys, frame["prompt"], strict=True):
            if key not in by_key:
                by_key[key] = _encode_prompt(rendering, prompt, rendered)
        prompts = [by_key[key] for key in keys]
    if logged:
        responses = [list(ids) for ids in frame["token_ids"]]
    else:
        texts = list(frame["response"])
        encoded = tokenizer(text_target=texts) if encoder_decoder else None
        plain = encoded or tokenizer(text=texts, add_special_tokens=False)
        cut = frame["truncated"].to_numpy(dtype=bool)
        responses = [
            _ended(list(ids), tokenizer, not c)
            for ids, c in zip(plain["input_ids"], cut, strict=True)
        ]
    # a text prompt becomes the same ids again; a rendered one may not (spaces are cleaned up)
    exact = logged and (with_prompts or not rendered)
    return frame.assign(prompt_ids=prompts, response_ids=responses), exact


def _encode_prompt(rendering: Rendering, prompt: Any, rendered: bool) -> list[int]:
    if isinstance(prompt, str) and rendered:
        return list(rendering.tokenizer(text=prompt, add_special_tokens=False)["input_ids"])
    example = Example(prompt=prompt, prompt_id="")
    return rendering.encode([rendering.prompt(example)])[0]


def _all_there(column: pd.Series, vocabulary: int) -> bool:
    """Whether every row has token ids of this vocabulary."""
    ids = list(column)
    if any(row is None or not isinstance(row, Sequence | np.ndarray) for row in ids):
        return False
    return max((max(row, default=0) for row in ids), default=0) < vocabulary


def _same_tokens(frame: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether every row has token ids that this tokenizer reads as the row's text."""
    if not _all_there(frame["token_ids"], len(tokenizer)):
        return False
    ids = list(frame["token_ids"])
    texts = tokenizer.batch_decode([list(row) for row in ids], skip_special_tokens=True)
    return texts == list(frame["response"])


def _ended(ids: list[int], tokenizer: PreTrainedTokenizerBase, ended: bool) -> list[int]:
    """The ids with the end token behind them where the response was complete."""
    end = tokenizer.eos_token_id
    if ids and ids[-1] == end:
        ids = ids[:-1]
    return [*ids, end] if ended or not ids else ids


def token_rows(frame: pd.DataFrame) -> TokenRows:
    """Rows that passed the rules, as arrays."""
    _, groups = np.unique(prompt_keys(frame), return_inverse=True)
    behaviour = frame["behaviour_logp"].to_numpy(dtype=np.float64)
    return TokenRows(
        prompt_ids=list(frame["prompt_ids"]),
        response_ids=list(frame["response_ids"]),
        rewards=frame["reward"].to_numpy(dtype=np.float64),
        groups=groups,
        logp_behaviour=None if np.isnan(behaviour).any() else behaviour,
    )


def with_values(rows: TokenRows, rpo: RpoConfig) -> TokenRows:
    """The rows with RPO's V(x), estimated from all rows of each prompt at once.

    Raises:
        RowsError: When the behaviour correction is asked for and log-probabilities are missing.
    """
    if rpo.behaviour_correction and rpo.partition == "monte_carlo":
        if rows.logp_behaviour is None:
            raise RowsError(
                "offline.rpo.behaviour_correction: some rows have no behaviour_logp, so it is not "
                "known how likely they were when sampled"
            )
        values = partition_values(
            rows.rewards, rows.groups, rpo.tau, rows.logp_ref, rows.logp_behaviour, "monte_carlo"
        )
    elif rpo.partition == "authors":
        assert rows.logp_ref is not None
        reference = rows.logp_ref / (np.maximum(rows.lengths, 1) if rpo.length_normalize else 1)
        values = partition_values(rows.rewards, rows.groups, rpo.tau, reference, mode="authors")
    else:
        values = partition_values(rows.rewards, rows.groups, rpo.tau, mode="monte_carlo")
    return replace(rows, values=values)


def row_order(rows: int, size: int, seed: int) -> np.ndarray:
    """(size,) row indices of a whole plan: permutations one after the other, by (seed, pass)."""
    passes = -(-size // rows)
    parts = [np.random.default_rng([seed, p, 2]).permutation(rows) for p in range(passes)]
    return np.concatenate(parts)[:size]


def reference_key(rows: TokenRows, model: PreTrainedModel) -> str:
    """What reference log-probabilities depend on: the tokens and the model's weights."""
    digest = hashlib.sha256()
    for prompt, response in zip(rows.prompt_ids, rows.response_ids, strict=True):
        digest.update(np.asarray([len(prompt), *prompt, *response], dtype=np.int64).tobytes())
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def cached_logps(path: Path, key: str) -> Floats | None:
    """Reference log-probabilities computed before for the same rows and model."""
    if not path.is_file():
        return None
    return load_file(path).get(key)


def cache_logps(path: Path, key: str, logps: Floats) -> None:
    """Keep reference log-probabilities, so that a resumed run need not compute them again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: logps}, path)
