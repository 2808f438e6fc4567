"""What a MAESTRO step costs: paired, alternating steps against static weights and plain TRL.

Two trainers, each in a process of its own, take turns: one step each on the same prompts, with the
same seeds and a learning rate so small that both generate the same completions (the tokens that
they have seen are compared). Whatever slows the machine for longer than a step slows both; the
median of the ratios is reported, with its bootstrap interval. A step of ours ends when its rows are
on disk. Extrinsic objectives (format, length, preference) are those that TRL's plain
``GRPOTrainer`` can be given as they are; perplexity and entropy need the policy's own
probabilities, which plain TRL does not hand out.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

EXTRINSIC = ("format", "length", "preference")
ALL = ("perplexity", "format", "entropy", "length", "preference")
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "trl": ("trl", EXTRINSIC),
    "static, extrinsic": ("static", EXTRINSIC),
    "maestro, extrinsic": ("conductor", EXTRINSIC),
    "static": ("static", ALL),
    "maestro": ("conductor", ALL),
}
"""Who chooses the weights, over which objectives."""
COMPARED = (
    ("maestro", "static"),
    ("maestro, extrinsic", "trl"),
    ("static, extrinsic", "trl"),
    ("maestro", "trl"),
)
SKIP = 3
"""The first steps of each trainer, which are not counted."""


def config_of(variant: str, steps: int, policy: str = "etudes") -> Any:
    """The run of a variant; completions are the same for all."""
    from workbench.config.io import validate

    scalarizer, objectives = VARIANTS[variant]
    return validate(
        {
            "steps": steps,
            "policy": {"model": policy},
            "objectives": [{"name": name} for name in objectives],
            "scalarizer": {"name": "static" if scalarizer == "trl" else scalarizer},
            "grpo": {"learning_rate": 1e-12},
        }
    )


def compare(ours: str, theirs: str, policy: str, pairs: int, tell: Callable[[], None]) -> dict:
    """Steps of two trainers in turns; medians of their ratios, with 95 % intervals.

    Raises:
        RuntimeError: a trainer ended early, or the two did not generate the same.
    """
    from workbench.bench.statistics import interval
    from workbench.bench.stepwise import Paced

    taken: dict[str, list[Any]] = {ours: [], theirs: []}
    steps = SKIP + pairs + 1  # one more than is taken: a step ends where the next would begin
    with ExitStack() as stack:
        trainers = {
            name: stack.enter_context(Paced(name, config_of(name, steps, policy)))
            for name in (ours, theirs)
        }
        for pair in range(SKIP + pairs):
            for name in (ours, theirs) if pair % 2 == 0 else (theirs, ours):
                taken[name].append(trainers[name].step())
                tell()
            if taken[ours][-1].tokens != taken[theirs][-1].tokens:
                raise RuntimeError(f"{ours} and {theirs} generated other completions: no pair")
    first, second = (taken[name][SKIP:] for name in (ours, theirs))

    def middle(name: str) -> Any:
        ratios = [getattr(a, name) / getattr(b, name) for a, b in zip(first, second, strict=True)]
        return interval(np.array(ratios)[:, None], lambda a: np.median(a, axis=(-2, -1)))

    wall, cpu = middle("wall"), middle("cpu")
    return {
        "step": ours,
        "against": theirs,
        "pairs": pairs,
        "ratio": wall.value,
        "low": wall.low,
        "high": wall.high,
        "cpu_ratio": cpu.value,
        "cpu_low": cpu.low,
        "cpu_high": cpu.high,
        "memory_ratio": first[-1].peak / second[-1].peak,
        "seconds": statistics.median(step.wall for step in first),
        "seconds_against": statistics.median(step.wall for step in second),
    }


def report(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """``workbench bench --cost``: ratios and peak memory, as a table."""
    import pandas as pd

    from workbench.bench.grid import bar, save

    policy = "etudes"
    if args.pairs < 1:
        raise ValueError(f"pairs: {args.pairs} is not allowed; it must be at least 1")
    with bar("timed steps", len(COMPARED) * (SKIP + args.pairs) * 2) as advance:
        rows = [compare(*pair, policy, args.pairs, lambda: advance(1.0)) for pair in COMPARED]
    table = pd.DataFrame(rows)
    text = markdown(rows)
    save(folder, "cost", table, text)
    return {"json": {"cost": rows}, "text": text}


def markdown(rows: list[dict[str, Any]]) -> str:
    """The ratios as Markdown."""
    lines = ["| Step of | against | time | CPU time | peak memory | ms | ms against |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        span = f"{row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        busy = f"{row['cpu_ratio']:.3f} [{row['cpu_low']:.3f}, {row['cpu_high']:.3f}]"
        numbers = f"{busy} | {row['memory_ratio']:.3f}"
        times = f"{1000 * row['seconds']:.0f} | {1000 * row['seconds_against']:.0f}"
        lines.append(f"| {row['step']} | {row['against']} | {span} | {numbers} | {times} |")
    return "\n".join(lines) + "\n"
