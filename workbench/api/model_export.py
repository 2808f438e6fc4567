"""A checkpoint as a model folder that others can load, with a card that says what it is."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.config import RunConfig
from workbench.config.text import dump
from workbench.formatting import visible

OWN_PREFIXES = ("optimizer", "random", "trainer", "training_args", "scheduler")
"""Files that only resuming needs."""
FOLDER = "exports"


def export_model(
    run_dir: Path,
    config: RunConfig,
    checkpoints: pd.DataFrame,
    outcome: Mapping[str, Any],
    checkpoint: str | int = "best",
) -> Path:
    """Copy a checkpoint's policy, tokenizer and Conductor into ``<runs>/exports/<run id>-step-N``.

    Loads with ``AutoModelForCausalLM.from_pretrained``; ``README.md`` holds results, weights and
    the configuration.

    Args:
        run_dir: the run's directory.
        config: its configuration.
        checkpoints: its rows of the ``checkpoints`` view.
        outcome: what came of it, for the card.
        checkpoint: ``best``, ``last`` or a step.

    Returns:
        The folder; an earlier export of the same checkpoint is replaced.

    Raises:
        ValueError: there is no such checkpoint on disk.
        OSError: the disk refuses.
    """
    step = _step(checkpoints, str(checkpoint))
    source = run_dir / "checkpoints" / f"step-{step:06d}"
    if not source.is_dir():
        raise ValueError(f"checkpoint {step} of run {run_dir.name!r} is no longer on disk")
    target = run_dir.parent / FOLDER / f"{run_dir.name}-step-{step}"  # names change hands
    made = target.with_name(f".{target.name}")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    for file in sorted(source.iterdir()):
        if file.is_file() and not file.is_symlink() and not file.name.startswith(OWN_PREFIXES):
            shutil.copyfile(file, made / file.name)
    (made / "README.md").write_text(card(outcome, step, dump(config)), "utf-8")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(made, target)
    return target


def _step(checkpoints: pd.DataFrame, wanted: str) -> int:
    kept = checkpoints[~checkpoints["removed"].astype(bool)] if len(checkpoints) else checkpoints
    steps = sorted(int(s) for s in kept["step"]) if len(kept) else []
    if not steps:
        raise ValueError("there is no checkpoint yet")
    if wanted == "last":
        return steps[-1]
    if wanted == "best":
        scored = kept.dropna(subset=["score"])
        best = scored.sort_values(["score", "step"])["step"]
        return int(best.iloc[-1]) if len(best) else steps[-1]
    if wanted.isdecimal() and int(wanted) in steps:
        return int(wanted)
    raise ValueError(
        f"no checkpoint {wanted!r}; there are best, last, {', '.join(map(str, steps))}"
    )


def card(outcome: Mapping[str, Any], step: int, yaml: str) -> str:
    """The model card: what was trained, what came of it, with which weights, how to redo it."""
    families = outcome["per_family"]
    names = list(outcome["weights"])
    head = ["kind", "judge before", "judge after", *(f"weight {_cell(n)}" for n in names)]
    rows = [
        [_cell(kind), _shown(f["judge_before"]), _shown(f["judge_after"])]
        + [_shown(f["weights"].get(n)) for n in names]
        for kind, f in families.items()
    ]
    rows.append(
        ["all", _shown(outcome["judge_before"]), _shown(outcome["judge_after"])]
        + [_shown(outcome["weights"][n]) for n in names]
    )
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return (
        f"# {_cell(outcome.get('name', outcome['run_id']))}, step {step}\n\n"
        f"Trained with MAESTRO workbench, run `{outcome['run_id']}`, "
        f"{outcome['rollouts']:,} training completions.\n\n"
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained(".")\n'
        'tokenizer = AutoTokenizer.from_pretrained(".")\n```\n\n'
        "## Held-out results and mean weights\n\nMeasured after the last step of the run.\n\n"
        + "\n".join(lines)
        + f"\n\n## Configuration\n\n{_fence(yaml)}yaml\n{yaml.rstrip()}\n{_fence(yaml)}\n"
    )


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _fence(text: str) -> str:
    """A code fence that the text cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)


def _cell(text: str) -> str:
    """A text that cannot leave its cell of a Markdown table."""
    return " ".join(visible(text).replace("|", "/").replace("<", "(").split())
