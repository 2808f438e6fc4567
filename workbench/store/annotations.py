"""What people and the workbench say about runs, published as segments like everything else."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any, Literal, get_args

from workbench.store.catalog import OWN_FOLDER
from workbench.store.encode import table_of
from workbench.store.segments import publish

AnnotationType = Literal["rating", "vote", "tag", "note"]
TYPES = get_args(AnnotationType)


def annotate(
    runs_dir: Path | str,
    run_id: str,
    type: AnnotationType,
    *,
    annotation_id: str | None = None,
    rater: str | None = None,
    score: float | None = None,
    text: str | None = None,
    split: str | None = None,
    step: int | None = None,
    prompt_id: str | None = None,
    group_id: str | None = None,
    sample: int | None = None,
) -> str:
    """Store a rating, vote, tag or note; with the id of an earlier one it replaces that.

    Returns:
        The annotation's id.

    Raises:
        OSError: the disk is full or the run's directory cannot be written.
        ValueError: the type is unknown, ``score`` is outside [0, 1] or missing from a rating, or
            the run has no directory.
    """
    if type not in TYPES:
        raise ValueError(f"type {type!r} unknown; allowed are {', '.join(TYPES)}")
    if score is not None and not 0 <= score <= 1:
        raise ValueError(f"score {score} is outside [0, 1]")
    if type == "rating" and score is None:
        raise ValueError("a rating needs a score in [0, 1]")
    identity = annotation_id or secrets.token_hex(8)
    where = {"split": split, "step": step, "prompt_id": prompt_id, "group_id": group_id}
    what = {"type": type, "rater": rater, "score": score, "text": text, "sample": sample}
    _publish_annotation(runs_dir, run_id, {"annotation_id": identity} | where | what)
    return identity


def retract(runs_dir: Path | str, run_id: str, annotation_id: str) -> None:
    """Take an annotation back. Raises OSError when the run's directory cannot be written."""
    _publish_annotation(runs_dir, run_id, {"annotation_id": annotation_id, "removed": True})


def _publish_annotation(runs_dir: Path | str, run_id: str, values: dict[str, Any]) -> None:
    run_dir = Path(runs_dir) / run_id
    if not run_dir.is_dir():
        raise ValueError(f"no run {run_id!r} in {runs_dir}")
    columns = {"run_id": run_id, "time": time.time()} | values
    publish(run_dir, "annotations", table_of("annotations", 1, columns))


def tombstone(runs_dir: Path | str, run_id: str) -> None:
    """Hide a run from every view at once; the next archive drops its rows for good.

    Raises:
        OSError: the runs directory cannot be written.
    """
    columns = {"run_id": run_id, "time": time.time()}
    publish(Path(runs_dir) / OWN_FOLDER, "deletions", table_of("deletions", 1, columns))
