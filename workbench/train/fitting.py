"""What a policy can read of a task: prompts that are too long, text its tokenizer does not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from workbench.config import RunConfig
from workbench.formatting import clipped, listed
from workbench.train.text import Rendering
from workbench.types import Example, Task

MOST_UNKNOWN = 0.5
"""Share of unknown tokens in the training prompts above which a run is refused."""
SPLITS = ("train", "calibration", "report")


def fitted(
    config: RunConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task
) -> Task:
    """The task as this policy can read it, with what was left out or cut among its ``notes``.

    Args:
        config: ``task.too_long`` and the lengths.
        model: its context is the limit.
        tokenizer: the policy's.
        task: as it was read.

    Raises:
        ValueError: a prompt leaves no room for a whole completion and may not be left out or cut,
            no prompt is left to train on, a prompt has no tokens, or the tokenizer knows less than
            half of the text.
    """
    examples = [example for split in SPLITS for example in getattr(task, split)]
    if not examples:
        return task
    rendering = Rendering.of(config, tokenizer)
    encoded = rendering.encode([rendering.prompt(e) for e in examples])
    ids = {id(example): found for example, found in zip(examples, encoded, strict=True)}
    notes = _covered(tokenizer, examples, encoded, refuse=config.offline is None)
    room = _room(config, model)
    if room is None or all(len(found) <= room for found in encoded):
        return replace(task, notes=(*task.notes, *notes))
    long = [example for example in examples if len(ids[id(example)]) > room]
    if config.task.too_long == "refuse" or room < 1:
        _refuse(config, model, max(long, key=lambda e: len(ids[id(e)])), ids)
    splits = {}
    for split in SPLITS:
        kept = []
        for example in getattr(task, split):
            if len(ids[id(example)]) <= room:
                kept.append(example)
            elif config.task.too_long == "cut":
                kept.append(_cut(rendering, example, ids[id(example)], room))
        splits[split] = tuple(kept)
    if not splits["train"]:
        raise ValueError(
            f"task.too_long: leave_out leaves no prompt to train on: {len(long)} of "
            f"{len(examples)} have more than {room} tokens"
        )
    done = "cut" if config.task.too_long == "cut" else "left out"
    notes.append(f"{len(long):,} of {len(examples):,} prompts {done}: longer than {room} tokens")
    return replace(task, **splits, notes=(*task.notes, *notes))


def _room(config: RunConfig, model: PreTrainedModel) -> int | None:
    """Tokens that a prompt may have, so that a whole completion fits; None: no limit."""
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is None:
        return None
    return int(context) - config.grpo.max_completion_length


def _refuse(
    config: RunConfig, model: PreTrainedModel, longest: Example, ids: dict[int, list[int]]
) -> None:
    completion = config.grpo.max_completion_length
    context = model.config.get_text_config().max_position_embeddings
    length = len(ids[id(longest)])
    left = context - length
    said = f"at most {left} are left" if left > 0 else "leave this prompt out or shorten it"
    raise ValueError(
        f"grpo.max_completion_length: {completion} tokens do not fit behind the {length} tokens of "
        f"prompt {clipped(longest.prompt_id)!r}; the model's context is {context} tokens: {said}; "
        "task.too_long: leave_out or cut does it"
    )


def _cut(rendering: Rendering, example: Example, ids: Sequence[int], room: int) -> Example:
    """A text without its first tokens, so that it has at most ``room`` of them."""
    if not isinstance(example.prompt, str):
        raise ValueError(
            f"task.too_long: cut: prompt {clipped(example.prompt_id)!r} is a conversation, which "
            "cannot be cut; leave_out leaves it out"
        )
    keep = room
    while keep > 0:
        text = rendering.texts([list(ids[-keep:])])[0]
        found = len(rendering.encode([text])[0]) if text else 0
        if 0 < found <= room:
            return replace(example, prompt=text)
        keep -= max(1, found - room)
    raise ValueError(f"task.too_long: cut: nothing is left of prompt {example.prompt_id!r}")


def _covered(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    encoded: Sequence[list[int]],
    refuse: bool,
) -> list[str]:
    """What to know of the tokenizer's coverage; empty where it knows every token.

    A run that learns from logged rows is not refused: these prompts only evaluate it.
    """
    empty = [e.prompt_id for e, ids in zip(examples, encoded, strict=True) if not ids]
    if empty:
        raise ValueError(
            f"policy.model: the tokenizer makes no token of {len(empty)} prompts, "
            f"{listed(empty, 3)}"
        )
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:  # GPT-2 names its end token so
        return []
    total = sum(map(len, encoded))
    missed = sum(ids.count(unknown) for ids in encoded)
    if not missed:
        return []
    share = missed / total
    what = f"{missed:,} of {total:,} tokens of the prompts ({share:.0%}) are unknown"
    if share > MOST_UNKNOWN and refuse:
        raise ValueError(
            f"policy.model: its tokenizer does not cover this text: {what}; choose a model that "
            "was made for it"
        )
    return [f"{what} to the policy's tokenizer"]
