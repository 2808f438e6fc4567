"""What to try, as far as it can matter under a run's configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workbench.config import RunConfig

Settings = Mapping[str, Any]
FIXED = ("static", "single", "random", "oracle")
"""Scalarizers whose weights are as configured."""


def _of(config: RunConfig) -> Settings:
    """The scalarizer's settings; ``by`` says what a Conductor learns from, and how."""
    settings = dict(vars(config.scalarizer))
    by = "none"
    if settings["name"] == "conductor":
        by = "advantage"
        if settings["meta_reward"] == "anchor":
            by = "kernel" if settings["head"] == "kernel" else "anchor"
    return settings | {"by": by}


def chosen_by_hand(config: RunConfig) -> bool:
    """Whether the weights are as configured, so that they cannot have gone wrong by learning."""
    return bool(_of(config)["name"] in FIXED)


def _draws(config: RunConfig) -> bool:
    """Whether an emphasised objective is drawn for every row."""
    s = _of(config)
    return bool(s["by"] == "advantage" and s["mode"] == "discrete" and s["emphasis"] > 0)


def _per_row(config: RunConfig) -> bool:
    """Whether rows of one group can have different weights."""
    s = _of(config)
    if s["name"] == "random":
        return bool(s["per"] == "completion")
    return _draws(config) or (s["by"] == "advantage" and s["context"] == "response")


def _floors(config: RunConfig) -> bool:
    s = _of(config)
    return bool(s["by"] == "anchor" or (s["by"] == "advantage" and s["mode"] == "continuous"))


def _learns(config: RunConfig, *by: str) -> bool:
    return bool(_of(config)["by"] in by)


CHANGES: dict[str, tuple[str, Callable[[RunConfig], bool]]] = {
    "temperature": ("raise grpo.temperature", lambda c: c.offline is None),
    "group size": ("raise grpo.num_generations", lambda c: c.offline is None),
    "prompts": (
        "use prompts that are neither always solved nor never",
        lambda c: True,
    ),
    "length": ("raise grpo.max_completion_length", lambda c: True),
    "stop sooner": (
        "weigh a length objective that makes the policy stop sooner",
        lambda c: c.offline is None,
    ),
    "beta": ("raise grpo.beta to stay nearer to the reference", lambda c: True),
    "scale": (
        "set grpo.scale_rewards: batch or none",
        lambda c: c.grpo.scale_rewards == "group" and c.aggregation == "sum_then_normalize",
    ),
    "z-scores": (
        "set aggregation: normalize_then_sum",
        lambda c: c.aggregation != "normalize_then_sum",
    ),
    "scaling": ("choose another reward_scaling", lambda c: True),
    "center": (
        "set center_objectives: true",
        lambda c: _per_row(c) and not c.center_objectives,
    ),
    "emphasis": ("lower scalarizer.emphasis", _draws),
    "context": (
        "set scalarizer.context: prompt",
        lambda c: _learns(c, "advantage") and _of(c)["context"] == "response",
    ),
    "one draw": ("set scalarizer.per: group", lambda c: _of(c)["name"] == "random" and _per_row(c)),
    "floor": ("raise scalarizer.min_weight", _floors),
    "entropy": ("raise scalarizer.entropy_coef", lambda c: _learns(c, "advantage")),
    "anchor entropy": ("raise scalarizer.anchor.entropy_coef", lambda c: _learns(c, "anchor")),
    "rate": ("lower scalarizer.learning_rate", lambda c: _learns(c, "advantage")),
    "anchor rate": ("lower scalarizer.anchor.learning_rate", lambda c: _learns(c, "anchor")),
    "anchor": (
        "let it learn from a score on a few groups (scalarizer.meta_reward: anchor)",
        lambda c: _learns(c, "advantage"),
    ),
    "conductor": (
        "try a Conductor with an anchor (scalarizer.name: conductor, meta_reward: anchor)",
        lambda c: _learns(c, "none"),
    ),
    "fraction": (
        "raise scalarizer.anchor.fraction to judge more groups",
        lambda c: _learns(c, "anchor", "kernel") and _of(c)["anchor"].fraction < 1,
    ),
    "caution": (
        "lower scalarizer.anchor.caution",
        lambda c: _learns(c, "anchor", "kernel") and _of(c)["anchor"].caution > 0,
    ),
    "judge rows": (
        "set scalarizer.anchor.judge_rows: false to train judged groups by weights alone",
        lambda c: _learns(c, "kernel"),
    ),
    "weights": (
        "choose other weights",
        lambda c: _learns(c, "none") and _of(c)["name"] not in ("single", "random"),
    ),
    "saturated": ("leave out the objective that is saturated", lambda c: True),
}
"""Name -> what to do, and whether it can matter under a configuration."""


def advice(config: RunConfig | None, *names: str) -> str:
    """A sentence with those of the named ``CHANGES`` that can matter; all without a configuration.

    Empty where none can.
    """
    texts = [CHANGES[n][0] for n in names if config is None or CHANGES[n][1](config)]
    if not texts:
        return ""
    whole = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])}, or {texts[-1]}"
    return f"{whole[0].upper()}{whole[1:]}."
