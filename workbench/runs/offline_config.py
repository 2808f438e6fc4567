"""From "learn from that by this method" to the whole configuration of an offline run.

What is not said is taken from the first source run: its task, policy, objectives and evaluation,
so that the result stands beside it on every page. Light: reads YAML, never a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from workbench.config.io import apply_set, to_dict, validate
from workbench.config.offline import OfflineConfig
from workbench.config.run import RunConfig
from workbench.config.trl_fields import EVERYWHERE
from workbench.runs import rundir
from workbench.tasks.formats import SUFFIXES

ANNOTATIONS = "annotations"
"""The source that stands for everything people voted on."""

STEPS = 300
SECTION = frozenset(f.name for f in fields(OfflineConfig))  # type: ignore[arg-type]
UNEVALUATED = {"evaluation": {"prompts": 0}, "probe": {"prompts": 0}}
"""Rows that came without a configuration do not tell which prompts would be held out: task and
evaluation can be set."""
INHERITED = ("task", "policy", "objectives", "evaluation")


def offline_run(
    source: str | Sequence[str],
    method: str,
    runs_dir: Path,
    *,
    sets: Iterable[str] = (),
    name: str | None = None,
    annotated: Callable[[], Sequence[str]] = tuple,
) -> RunConfig:
    """The configuration of a run that learns from logged rows.

    Args:
        source: runs by id or name, one file of rows, or ``annotations``.
        method: ``rpo``, ``dro``, ``kto``, ``sft`` or ``dpo``.
        runs_dir: where the runs live.
        sets: overrides ``key=value``; keys of the ``offline`` section go without its name
            (``rpo.tau=2``), all others as in any run (``steps=50``).
        name: name of the new run.
        annotated: ids of the runs that people voted on; asked when the source is ``annotations``.

    Raises:
        ConfigError: a key or value is not allowed.
        ValueError: the source is nothing that can be learned from.
        UnknownRunError: a run is not there.
    """
    sources = [source] if isinstance(source, str) else list(source)
    if not sources:
        raise ValueError(f"source: none given; name runs, a file of rows, or {ANNOTATIONS!r}")
    offline: dict[str, Any] = {"method": method}
    data: dict[str, Any] = {"name": name, "steps": STEPS, "offline": offline}
    files = [s for s in sources if s.lower().endswith(SUFFIXES)]
    if files:
        if len(sources) > 1:
            raise ValueError(f"source: {files[0]!r} is a file, which cannot be mixed with others")
        offline["source"] = {"path": files[0]}
        data |= UNEVALUATED
    else:
        handles = sources
        if ANNOTATIONS in sources:
            handles = list(annotated()) if sources == [ANNOTATIONS] else sources[1:]
            offline["reward"] = {"signal": "votes"}
            if not handles:
                raise ValueError(
                    "source: no run has a rating or a vote yet; the Rate page collects votes"
                )
        paths = [rundir.resolve(runs_dir, handle) for handle in handles]
        offline["source"] = {"runs": [path.name for path in paths]}
        assumed = rundir.read_identity(paths[0]).get("config_assumed")
        data |= UNEVALUATED if assumed else _inherited(rundir.read_config(paths[0]))
    data["logging"] = {"checkpoint_every": 0}
    for item in sets:
        key = item.partition("=")[0].strip().partition(".")[0]
        apply_set(data, f"offline.{item.strip()}" if key in SECTION else item)
    if "probe" not in data:
        data["probe"] = {"every": max(1, int(data["steps"]) // 3)}
    config = validate(data)
    assert config.offline is not None
    if config.offline.reward.conductor is not None:  # refused here, not after minutes in a child
        rundir.resolve(runs_dir, config.offline.reward.conductor.partition("@")[0])
    return config


def _inherited(run: RunConfig) -> dict[str, Any]:
    """What a new run takes over from the run whose rows it learns from."""
    whole = to_dict(run)
    kept = ("max_completion_length", "temperature", "top_p")  # how probes and evaluations sample
    grpo = {name: whole["grpo"][name] for name in kept}
    extra = {n: v for n, v in whole["grpo"]["extra"].items() if n in EVERYWHERE}
    if extra:
        grpo["extra"] = extra
    return {key: whole[key] for key in INHERITED} | {"grpo": grpo}
