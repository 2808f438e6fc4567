"""A checkpoint as a model folder that others can load, with a card that says what it is."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.config import RunConfig
from workbench.config.text import dump
from workbench.formatting import visible
from workbench.runs.checkpoints import find, step_of

OWN_PREFIXES = (
    "optimizer",
    "scheduler",
    "scaler",
    "rng_state",
    "random",
    "trainer",
    "training_args",
    "buffer",
    "reference",
    "value",
    "entropy_ctrl",
)
"""Files that only resuming needs."""
FOLDER = "exports"


def export_model(
    run_dir: Path,
    config: RunConfig,
    outcome: Mapping[str, Any],
    checkpoint: str | int = "best",
) -> Path:
    """Copy a checkpoint's policy, tokenizer and Conductor into ``<runs>/exports/<run id>-step-N``.

    Loads with ``AutoModelForCausalLM.from_pretrained``; ``README.md`` holds results, weights and
    the configuration.

    Args:
        run_dir: the run's directory.
        config: its configuration.
        outcome: what came of it, for the card.
        checkpoint: ``best``, ``last`` or a step.

    Returns:
        The folder; an earlier export of the same checkpoint is replaced.

    Raises:
        ValueError: ``checkpoint`` is none of these.
        UnknownCheckpointError: there is no such checkpoint on disk.
        OSError: the disk refuses.
    """
    if str(checkpoint) not in ("best", "last") and not str(checkpoint).isdecimal():
        raise ValueError(f"checkpoint {checkpoint!r}: allowed are best, last or a step")
    source = find(run_dir, checkpoint)
    assert source is not None  # only ``base`` has no directory
    step = step_of(source)
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
