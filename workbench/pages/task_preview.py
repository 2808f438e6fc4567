"""The first rows of a task file, so that a wrong column is seen before anything starts."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from markupsafe import Markup

from workbench.config import TaskConfig
from workbench.pages.render import render
from workbench.tasks import load_task
from workbench.tasks.sources import Source
from workbench.tasks.summary import summarise
from workbench.types import Example, Task

ROWS = 5
CUT = 240


def preview_card(
    config: TaskConfig, model: str | None = None, system: str | None = None
) -> Markup | str:
    """What the run would train on, as its model sees it; empty where its task is no file."""
    if config.name != "file" or not config.path:
        return ""
    if _remote(config):  # a page must not wait for a network
        return render("task_preview.html", remote=f"workbench data {config.path}", error="")
    try:
        task = _load(repr(config), _stamps(config), _Box(config))
        found = summarise(task, model, system)
    except (ValueError, OSError) as error:
        return render("task_preview.html", remote="", error=str(error))
    return render(
        "task_preview.html",
        remote="",
        error="",
        sizes=(len(task.train), len(task.calibration), len(task.report)),
        rows=[(e.kind, _text(e)[:CUT], (e.reference or "–")[:CUT]) for e in task.train[:ROWS]],
        facts=found.lines()[2 if found.columns else 1 :],
        seen=found.shown,
        kinds=Counter(e.kind for e in task.train).most_common(12),
    )


def problem_of(config: TaskConfig) -> str:
    """Why the file of the task cannot be read; empty where it can, or where it is elsewhere."""
    if config.name != "file" or not config.path or _remote(config):
        return ""
    try:
        _load(repr(config), _stamps(config), _Box(config))
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def _sources(config: TaskConfig) -> list[Source]:
    return [Source.parse(p) for p in (config.path, config.eval_path) if p]


def _remote(config: TaskConfig) -> bool:
    return any(s.path is None for s in _sources(config))


def _stamps(config: TaskConfig) -> tuple[int, ...]:
    return tuple(s.path.stat().st_mtime_ns for s in _sources(config) if s.path is not None)


class _Box:
    """Carries an unhashable value past a cache whose other arguments already tell it."""

    def __init__(self, config: TaskConfig) -> None:
        self.config = config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Box)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=4)
def _load(key: str, stamps: tuple[int, ...], box: _Box) -> Task:
    return load_task(box.config)


def _text(example: Example) -> str:
    if isinstance(example.prompt, str):
        return example.prompt
    return "\n".join(f"{m['role']}: {m['content']}" for m in example.prompt)
