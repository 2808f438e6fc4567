"""What is compared: each method as the few settings by which it differs from the common run.

Everything else is the same for all: prompts and their order, completions per step, steps, policy,
objectives that are measured, evaluation. ``trusted`` methods see the judge in training or were
given weights that it chose, and are never counted among those that do without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OBJECTIVES = ("perplexity", "format", "entropy", "length", "preference")
BASE = "base"
"""The policy before training, which every other method is compared with."""
JUDGE = "workbench.bench.judged:judge"
EQUAL = {"scalarizer": {"name": "static"}}
EQUAL_BATCH = EQUAL | {"reward_scaling": "batch"}
DECOUPLED = {"aggregation": "normalize_then_sum"}

ORACLE_WEIGHTS: dict[str, dict[str, float]] = {
    "reason": {"perplexity": 0.6, "format": 0.4},
    "story": {"format": 0.2, "entropy": 0.1, "preference": 0.7},
    "instruct": {"perplexity": 0.1, "format": 0.8, "length": 0.1},
    "belief": {"perplexity": 0.75, "format": 0.1, "length": 0.15},
    "fact": {"perplexity": 0.6, "length": 0.4},
    "translate": {"perplexity": 0.7, "format": 0.1, "length": 0.2},
    "comfort": {"format": 0.15, "preference": 0.85},
}
"""Weights per kind set by hand from single objectives' effect on each kind; not optimal, but far
above any weighting that is the same for all kinds."""

MAESTRO: dict[str, Any] = {
    "scalarizer": {
        "name": "conductor",
        "emphasis": 0.5,
        "learning_rate": 0.01,
        "entropy_coef": 0.1,
        "update_every": 3,
    }
}
"""The paper's meta-reward on raw rewards: the `quick` preset's setting."""

SEARCHED: dict[str, Any] = {
    "reward_scaling": "batch",
    "scalarizer": MAESTRO["scalarizer"] | {"emphasis": 0.3, "entropy_coef": 0.3},
}
"""The paper's meta-reward at the setting that a search among slow Conductors found best on
calibration prompts: judge 0.498 after 40 steps over three seeds, 25 others 0.443 to 0.498, equal
weights on raw rewards 0.464."""

FAST: dict[str, Any] = {
    "scalarizer": {
        "name": "conductor",
        "learning_rate": 0.3,
        "entropy_coef": 0.001,
        "update_every": 1,
    }
}
"""The paper's meta-reward with a fast Conductor, on raw rewards: preset ``etudes``. Two searches
on seeds of their own found it 4.6 points above equal weights (seven seeds, 95 % interval about 2.0
to 7.2). It climbs to the objective with the highest level: scaling or centring takes that away."""

PLAIN: dict[str, Any] = {"select": "random", "caution": 0.0}
"""An anchor whose groups are judged at random and of which none is held back."""

PAPER_OBJECTIVES = [
    {"name": "perplexity", "scaling": "rank"},
    "format",
    {"name": "entropy", "scaling": "rank"},
    "length",
    "preference",
]


@dataclass(frozen=True)
class Method:
    """One row of the table.

    ``settings`` is merged over the common run. ``trainer`` "none" measures the policy as it
    starts, "sft" learns from reference answers instead of rewards, "judged-..." from judged rows
    alone (``bench.judged_rows``).
    """

    label: str
    group: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    trusted: bool = False
    trainer: str = "grpo"


def _single(objective: str) -> dict[str, Any]:
    return {"scalarizer": {"name": "single", "objective": objective}}


def _anchored(**anchor: Any) -> dict[str, Any]:
    return {
        "scalarizer": {
            "name": "conductor",
            "meta_reward": "anchor",
            "anchor": {"source": "judge", "fraction": 0.125} | anchor,
        }
    }


def _kernel(**anchor: Any) -> dict[str, Any]:
    found = _anchored(**anchor)
    return {"scalarizer": found["scalarizer"] | {"head": "kernel"}}


def _rows(label: str, learner: str, **anchor: Any) -> Method:
    """A learner of ``bench.judged_rows`` on the rows that an anchor would have paid for."""
    return Method(label, "judged rows", _anchored(**anchor), True, f"judged-{learner}")


def _judged(weights: Mapping[str, float], **params: Any) -> dict[str, Any]:
    judge = {"name": "judge", "function": JUDGE, "lower": 0.0, "upper": 1.0}
    return {
        "objectives": [*OBJECTIVES, judge | ({"params": params} if params else {})],
        "scalarizer": {"name": "static", "weights": dict(weights)},
    }


METHODS: dict[str, Method] = {
    "base": Method("Base", "untrained", trainer="none"),
    "sft": Method("SFT on reference answers", "imitation", trainer="sft"),
    "perplexity": Method("perplexity (NOVER's idea)", "single", _single("perplexity")),
    "format": Method("format", "single", _single("format")),
    "entropy-min": Method(
        "entropy, minimised (EM-GRPO's)",
        "single",
        _single("entropy")
        | {
            "objectives": [
                {"name": n, "sign": -1} if n == "entropy" else {"name": n} for n in OBJECTIVES
            ]
        },
    ),
    "length": Method("length", "single", _single("length")),
    "preference": Method("preference", "single", _single("preference")),
    "equal": Method("equal", "fixed", EQUAL),
    "equal-batch": Method("equal, rewards scaled over the batch", "fixed", EQUAL_BATCH),
    "random": Method("random per step", "fixed", {"scalarizer": {"name": "random", "per": "step"}}),
    "random-response": Method(
        "random per response", "fixed", {"scalarizer": {"name": "random", "per": "completion"}}
    ),
    "saw": Method("SAW", "adaptive", {"scalarizer": {"name": "saw"}}),
    "ctwa": Method("CTWA", "adaptive", {"scalarizer": {"name": "ctwa"}}),
    "hypervolume": Method("hypervolume", "adaptive", {"scalarizer": {"name": "hypervolume"}}),
    "gdpo": Method("GDPO equal", "adaptive", EQUAL | DECOUPLED),
    "gdpo-conditioned": Method(
        "GDPO, length and preference only with format",
        "adaptive",
        EQUAL
        | DECOUPLED
        | {
            "objectives": [
                {"name": n, "condition": "format >= 0.5"}
                if n in ("length", "preference")
                else {"name": n}
                for n in OBJECTIVES
            ]
        },
    ),
    "saw-gdpo": Method("SAW on GDPO", "adaptive", {"scalarizer": {"name": "saw"}} | DECOUPLED),
    "dvao": Method("DVAO", "adaptive", {"scalarizer": {"name": "dvao"}} | DECOUPLED),
    "gd2po": Method("GD²PO", "adaptive", {"scalarizer": {"name": "gd2po"}} | DECOUPLED),
    "sa-mrpo": Method("SA-MRPO", "adaptive", {"scalarizer": {"name": "sa_mrpo"}} | DECOUPLED),
    "maestro": Method("MAESTRO", "maestro", MAESTRO),
    "maestro-searched": Method("MAESTRO, best setting found", "maestro", SEARCHED),
    "maestro-paper": Method(
        "MAESTRO, the paper's settings",
        "maestro",
        {
            "objectives": PAPER_OBJECTIVES,
            "scalarizer": {
                "name": "conductor",
                "learning_rate": 5e-5,
                "entropy_coef": 1e-3,
                "update_every": 3,
                "normalize_hidden": False,
            },
        },
    ),
    "maestro-fast": Method("MAESTRO, fast Conductor", "maestro", FAST),
    "kernel": Method("kernel, 1 in 8", "kernel", _kernel(), trusted=True),
    "kernel-first": Method(
        "kernel, 1 in 8, 8 in the first step", "kernel", _kernel(first=8), trusted=True
    ),
    "kernel-no-gate": Method("kernel, 1 in 8, no gate", "kernel", _kernel(gate=False), True),
    "kernel-weights": Method(
        "kernel, 1 in 8, judged groups by weights too", "kernel", _kernel(judge_rows=False), True
    ),
    "kernel-plain": Method(
        "kernel, 1 in 8, random groups, no caution, weights alone, no gate",
        "kernel",
        _kernel(**PLAIN, judge_rows=False, gate=False),
        True,
    ),
    "kernel-one-vector": Method(
        "kernel, 1 in 8, one vector for all prompts", "kernel", _kernel(shared=1.0), True
    ),
    "kernel-16": Method("kernel, 1 in 16", "kernel", _kernel(fraction=1 / 16), True),
    "kernel-64-first": Method(
        "kernel, 1 in 64, all in the first step", "kernel", _kernel(fraction=1 / 64, first=5), True
    ),
    "kernel-noise": Method("kernel, 1 in 8, noise 0.3", "kernel", _kernel(noise=0.3), True),
    "kernel-shuffled": Method(
        "kernel, 1 in 8, shuffled (control)", "control", _kernel(shuffle=True), True
    ),
    "anchored": Method("anchored, 1 in 8", "anchored", _anchored(), trusted=True),
    "anchored-plain": Method(
        "anchored, 1 in 8, random groups, no caution",
        "anchored",
        _anchored(**PLAIN),
        trusted=True,
    ),
    "anchored-16": Method(
        "anchored, 1 in 16", "anchored", _anchored(fraction=1 / 16), trusted=True
    ),
    "anchored-16-first": Method(
        "anchored, 1 in 16, 8 in the first step",
        "anchored",
        _anchored(fraction=1 / 16, first=8),
        trusted=True,
    ),
    "anchored-64": Method(
        "anchored, 1 in 64", "anchored", _anchored(fraction=1 / 64), trusted=True
    ),
    "anchored-64-first": Method(
        "anchored, 1 in 64, all in the first step",
        "anchored",
        _anchored(fraction=1 / 64, first=5),
        trusted=True,
    ),
    "anchored-noise": Method(
        "anchored, 1 in 8, noise 0.3", "anchored", _anchored(noise=0.3), trusted=True
    ),
    "anchored-shuffled": Method(
        "anchored, 1 in 8, shuffled (control)", "control", _anchored(shuffle=True), trusted=True
    ),
    "judged-sft": _rows("SFT on the best judged row of each group", "sft"),
    "judged-sft-noise": _rows("SFT on the best judged row, noise 0.3", "sft", noise=0.3),
    "judged-sft-shuffled": _rows("SFT on the best judged row, shuffled", "sft", shuffle=True),
    "judged-pg": _rows("policy gradient on the judged rows", "pg"),
    "judged-dpo": _rows("DPO on the judged rows", "dpo"),
    "judged-rpo": _rows("RPO on the judged rows", "rpo"),
    "judged-dro": _rows("DRO on the judged rows", "dro"),
    "judge-only": Method(
        "judge as reward, 1 group in 8", "control", _judged({"judge": 1.0}, fraction=0.125), True
    ),
    "judge-equal": Method(
        "judge on 1 group in 8 beside equal weights",
        "control",
        _judged({n: 1.0 for n in OBJECTIVES} | {"judge": 5.0}, fraction=0.125),
        True,
    ),
    "oracle": Method(
        "oracle (weights per kind)",
        "ceiling",
        {"scalarizer": {"name": "oracle", "by_kind": ORACLE_WEIGHTS}},
        True,
    ),
    "judge-everywhere": Method(
        "judge as reward, every group", "ceiling", _judged({"judge": 1.0}), True
    ),
}
"""Every method by its key, in the order of the table."""

QUICK = ("base", "perplexity", "equal", "saw", "maestro", "anchored", "judge-only")
"""The methods of ``workbench bench --quick``."""


def stranger(function: str) -> str:
    """Add a scalarizer from outside to the table, ``package.module:Class``; its key.

    Raises:
        ValueError: the text does not name a class in a module.
    """
    module, _, attribute = function.partition(":")
    if not (module and attribute):
        raise ValueError(f"method: {function!r} is not allowed; it must be package.module:Class")
    key = f"{module}.{attribute}".lower()
    settings = {"scalarizer": {"name": "custom", "function": function}}
    METHODS[key] = Method(attribute, "yours", settings)
    return key


def choose(names: str | None, quick: bool = False) -> dict[str, Method]:
    """The methods that a comma-separated list names; all, or the quick ones, without a list.

    Raises:
        ValueError: Naming a method that does not exist and those that do.
    """
    keys = [n.strip() for n in names.split(",")] if names else list(QUICK if quick else METHODS)
    unknown = sorted(set(keys) - set(METHODS))
    if unknown:
        raise ValueError(f"methods: {unknown} unknown; allowed are {list(METHODS)}")
    return {key: METHODS[key] for key in METHODS if key in keys}
