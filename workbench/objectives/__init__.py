"""Objectives: what a completion is rewarded for, one plain function a file.

Each has TRL's reward signature, ``f(prompts, completions, completion_ids, **columns)``, and returns
one value per completion; None or NaN means "does not apply to this row". ``signature`` says which
names a function can take.

An objective of one's own, ``package.module:function``, may carry an attribute ``needs`` that asks
for passes: a subset of NEEDS. Without it, it gets the policy's own pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from workbench.config import ObjectiveConfig
from workbench.config.credentials import resolve as resolve_secrets
from workbench.config.registry import Registry
from workbench.objectives import entropy, format, length, perplexity, preference
from workbench.objectives.llm import make_llm
from workbench.objectives.preference import REWARD_DIR, make_preference
from workbench.objectives.remote import make_remote
from workbench.objectives.signature import RewardFunction, as_reward

NEEDS = frozenset({"entropy", "answer", "reference"})
"""What an objective can ask of the scoring pass: token entropies, the reference answer appended,
the frozen reference policy."""


@dataclass(frozen=True)
class Objective:
    """One reward objective and the range it declares; None where it declares no bound."""

    name: str
    function: RewardFunction
    lower: float | None
    upper: float | None
    needs: frozenset[str]
    description: str


PERPLEXITY = Objective(
    "perplexity",
    perplexity.perplexity,
    0.0,
    1.0,
    perplexity.NEEDS,
    "How probable the reference answer becomes after prompt and response.",
)
FORMAT = Objective(
    "format",
    format.format,
    0.0,
    1.0,
    format.NEEDS,
    "Whether the response has the form that its prompt asks for.",
)
ENTROPY = Objective(
    "entropy",
    entropy.entropy,
    0.0,
    1.0,
    entropy.NEEDS,
    "How open the policy's choices were while it wrote.",
)
LENGTH = Objective(
    "length",
    length.length,
    0.0,
    1.0,
    length.NEEDS,
    "How far the response stays below the token limit.",
)
PREFERENCE = Objective(
    "preference",
    make_preference(REWARD_DIR),
    0.0,
    1.0,
    preference.NEEDS,
    "What a pretrained reward model thinks of the response.",
)


def _objective(name: str, thing: Any) -> Objective:
    """A function of another package as an objective. Raises TypeError when it is neither."""
    if isinstance(thing, Objective):
        return thing
    if not callable(thing):
        raise TypeError("it is neither a function nor an Objective")
    said = {key: getattr(thing, key, None) for key in ("lower", "upper", "needs")}  # all optional
    needs = frozenset(said["needs"] or ())
    return Objective(name, thing, said["lower"], said["upper"], needs, _summary(thing))


OBJECTIVES: Registry = Registry("objectives", _objective)
"""Every objective by name, the paper's five first; ``config.registry`` lists them. A function may
carry its declared bounds as attributes ``lower`` and ``upper`` beside ``needs``."""


def resolve(config: ObjectiveConfig) -> Objective:
    """The objective that a configuration names, with its own bounds and parameters.

    Raises:
        ValueError: The name is no built-in and no function is given, the function cannot be
            imported, it asks for a pass that does not exist, a parameter is unknown, or an
            ``env:NAME`` is not set.
    """
    params = resolve_secrets(config.params)
    made = _made(config, params)
    if made is not None:
        return _bounded(made, config, made.function)
    if config.function is not None:
        what = f"objectives.{config.name}.function"
        function = as_reward(imported(config.function, what), what)
        needs: Iterable[str] = getattr(function, "needs", ())  # optional, see the module docstring
        found = Objective(config.name, function, None, None, frozenset(needs), _summary(function))
    elif config.name in OBJECTIVES:
        found = OBJECTIVES[config.name]
    else:
        raise ValueError(
            f"objectives: {config.name!r} unknown; allowed are {list(OBJECTIVES)}, or give it "
            "a function: 'package.module:function', a model, a url or an llm"
        )
    if not found.needs <= NEEDS:
        raise ValueError(
            f"objectives.{config.name}: needs {sorted(found.needs - NEEDS)} unknown; "
            f"allowed are {sorted(NEEDS)}"
        )
    function = partial(found.function, **params) if params else found.function
    return _bounded(found, config, function)


def _made(config: ObjectiveConfig, params: dict[str, Any]) -> Objective | None:
    """An objective that is made of settings, not of a function; ``params`` are its maker's.

    Raises:
        ValueError: The name is that of a built-in, or a parameter is unknown.
    """
    own = [key for key in ("model", "url", "llm") if getattr(config, key) is not None]
    if own and config.name in OBJECTIVES and (config.name, own) != ("preference", ["model"]):
        raise ValueError(
            f"objectives.{config.name}.{own[0]}: {config.name!r} is built in and scores by itself; "
            "give the objective another name"
        )
    none: frozenset[str] = frozenset()
    try:
        if config.llm is not None:
            judge = make_llm(config.llm, config.name, **params)
            return Objective(config.name, judge, 0.0, 1.0, none, _summary(judge))
        if config.url is not None:
            remote = make_remote(config.url, config.name, **params)
            return Objective(config.name, remote, None, None, none, _summary(remote))
        if config.model is not None or (config.name == "preference" and config.function is None):
            model = make_preference(config.model or REWARD_DIR, **params)
            return Objective(config.name, model, 0.0, 1.0, none, _summary(model))
    except TypeError as error:
        raise ValueError(f"objectives.{config.name}.params: {error}") from error
    return None


def _bounded(found: Objective, config: ObjectiveConfig, function: RewardFunction) -> Objective:
    return Objective(
        config.name,
        function,
        found.lower if config.lower is None else config.lower,
        found.upper if config.upper is None else config.upper,
        found.needs,
        found.description,
    )


def imported(name: str, what: str) -> RewardFunction:
    """The function that ``package.module:function`` names.

    Args:
        name: The function.
        what: The key that names it, for messages.

    Raises:
        ValueError: It cannot be imported, or is no function.
    """
    module, _, attribute = name.partition(":")
    try:
        function: RewardFunction = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{what}: {name!r} cannot be imported: {error}") from error
    if not callable(function):
        raise ValueError(f"{what}: {name!r} is not callable")
    return function


def _summary(function: RewardFunction) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0]
