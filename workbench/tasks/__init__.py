"""Tasks: where prompts, references and judges come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from workbench.config import TaskConfig
from workbench.config.registry import Registry
from workbench.types import Task


def load_etudes(config: TaskConfig) -> Task:
    """The seven families that ship with the package."""
    from workbench.tasks import etudes

    return etudes.load(config.seed, config.kinds, config.limit)


def load_chats(config: TaskConfig) -> Task:
    """The same seven kinds in everyday English, for chat models."""
    from workbench.tasks import chats

    return chats.load(config.seed, config.kinds, config.limit)


def load_file(config: TaskConfig) -> Task:
    """Rows of a file, with the judge that the configuration asks for."""
    from workbench.tasks import file

    task = file.load(config)
    if config.judge is None:
        return task
    from workbench.objectives.llm import LlmJudge

    return replace(task, judge=LlmJudge(config.judge))


TASKS: Mapping[str, Callable[[TaskConfig], Task]] = Registry("tasks")
"""Every task by the name that ``task.name`` takes; ``config.registry`` lists them, each module is
imported on first use."""


def load_task(config: TaskConfig) -> Task:
    """Load the task that the configuration names.

    Raises:
        ValueError: The rows or the configuration cannot be used; the message says which.
        FileNotFoundError: A file task's path does not exist.
    """
    return TASKS[config.name](config)
