"""Tasks: where prompts, references and judges come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from workbench.config import TaskConfig
from workbench.types import Task


def _etudes(config: TaskConfig) -> Task:
    from workbench.tasks import etudes

    return etudes.load(config.seed, config.kinds, config.limit)


def _file(config: TaskConfig) -> Task:
    from workbench.tasks import file

    task = file.load(config)
    if config.judge is None:
        return task
    from workbench.objectives.llm import LlmJudge

    return replace(task, judge=LlmJudge(config.judge))


TASKS: dict[str, Callable[[TaskConfig], Task]] = {"etudes": _etudes, "file": _file}
"""Every task by the name that ``task.name`` takes; each module is imported on first use."""


def load_task(config: TaskConfig) -> Task:
    """Load the task that the configuration names.

    Raises:
        ValueError: The rows or the configuration cannot be used; the message says which.
        FileNotFoundError: A file task's path does not exist.
    """
    return TASKS[config.name](config)
