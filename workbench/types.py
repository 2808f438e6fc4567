"""The one shape legend.

Symbols, the same in every file of this project:

    B   prompts per step
    G   completions per prompt: a *group*
    N   B * G rows, ordered group by group: row i belongs to group i // G
    K   objectives, in the order of ``RunConfig.objectives``
    D   hidden size of the policy
    T   tokens of a padded completion

``rewards``, ``weights`` and ``policy`` are (N, K) float64. A reward of NaN means "this objective
does not apply to this row": it is left out of sums, and the weights are not renormalised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Message = Mapping[str, Any]
"""One turn of a chat: ``{"role": "user", "content": "..."}``, with whatever else a chat template
reads (``name``, ``tool_calls``, ``tool_call_id``, ...)."""


@dataclass(frozen=True)
class Example:
    """One prompt of a task.

    ``extra`` holds every further column of the source row; objectives receive it by keyword.
    """

    prompt: str | Sequence[Message]
    prompt_id: str
    kind: str = "default"
    reference: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


Judge = Callable[..., Sequence[float | None]]
"""Scores N completions in [0, 1], with the signature of any reward function
(``objectives.signature``); never visible to training but through an anchor."""


@dataclass(frozen=True)
class Task:
    """Prompts in three splits that share no prompt, and the judge when there is one.

    ``train``: what the policy trains on, anchors included. ``calibration``: probe prompts and
    everything that is tuned. ``report``: read by evaluations alone. ``answer_lead`` is the text
    between a completion and the reference answer where the perplexity objective scores the latter,
    e.g. ``"answer :"``; it is read by the model, but not scored. ``notes`` say what was left out of
    the rows and what to know of them, a sentence each.
    """

    name: str
    train: tuple[Example, ...]
    calibration: tuple[Example, ...]
    report: tuple[Example, ...]
    judge: Judge | None = None
    answer_lead: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RolloutBatch:
    """Everything known about the N completions of one step, as it is logged.

    Sequences have length N. ``policy`` is the Conductor's distribution, ``actions`` the sampled
    emphasis (-1: none was sampled). ``rewards`` is what the objectives returned; ``scaled`` is what
    was weighted (after sign, condition, scaling and centring), None when that changed nothing.
    ``scalars`` is the weighted sum before statistics, KL penalty included where it enters the
    reward. ``advantages`` is exactly what trained the policy.
    ``mask`` are factors on rows (see ``core.advantages.aggregate``): those of some scalarizers, and
    0 for rows that enter no loss. ``loss_tokens`` counts the tokens of each row that do.
    ``judge`` is NaN where the judge was not asked; ``judge_share`` says how far the judge's score
    itself trained a row, instead of the weights. Log-probabilities are sums over the completion's
    tokens, in nats; ``behaviour_logp`` is that of the distribution that tokens were drawn from,
    after everything that cut or bent it. ``kl`` is the mean per token of the k3 estimate against
    the reference. ``prompt_token_ids`` are the tokens that were sampled from. ``logged`` holds what
    reward functions measured with ``log_metric``.
    """

    step: int
    split: str
    objectives: tuple[str, ...]
    num_generations: int
    prompts: Sequence[str]
    prompt_ids: Sequence[str]
    kinds: Sequence[str]
    completions: Sequence[str]
    num_tokens: Ints
    truncated: NDArray[np.bool_]
    rewards: Floats
    weights: Floats
    scalars: Floats
    advantages: Floats
    scaled: Floats | None = None
    policy: Floats | None = None
    actions: Ints | None = None
    kl: Floats | None = None
    behaviour_logp: Floats | None = None
    reference_logp: Floats | None = None
    judge: Floats | None = None
    mask: Floats | None = None
    loss_tokens: Ints | None = None
    prompt_token_ids: Sequence[Sequence[int]] | None = None
    judge_share: Floats | None = None
    token_ids: Sequence[Sequence[int]] | None = None
    token_entropies: Sequence[Sequence[float]] | None = None
    contexts: NDArray[np.float16] | None = None
    logged: Mapping[str, float] = field(default_factory=dict)
