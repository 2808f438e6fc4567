"""From a question about stored rows, ``(store, id of a run, ...)``, to a method of ``Workbench``.

The method takes the run by id or name; what it does, takes and returns is written at the question.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from workbench.store.reader import Store

P = ParamSpec("P")
T = TypeVar("T")


class Holder(Protocol):
    """What has a store, and knows the ids of runs."""

    @property
    def store(self) -> Store:
        """The store."""
        ...

    def resolve(self, handle: str) -> str:
        """The id of a run given by id or name. Raises UnknownRunError."""
        ...


def of_run(question: Callable[Concatenate[Store, str, P], T]) -> Callable[..., T]:
    """A method that asks about one run."""

    @wraps(question)
    def method(self: Holder, run: str, *args: P.args, **kwargs: P.kwargs) -> T:
        return question(self.store, self.resolve(run), *args, **kwargs)

    return _named(method, question)


def of_runs(question: Callable[Concatenate[Store, Any, P], T]) -> Callable[..., T]:
    """A method that asks about one run or several."""

    @wraps(question)
    def method(self: Holder, run: str | Sequence[str], *args: P.args, **kwargs: P.kwargs) -> T:
        handles = [run] if isinstance(run, str) else run
        return question(self.store, [self.resolve(h) for h in handles], *args, **kwargs)

    return _named(method, question)


def _named(method: Callable[..., T], question: Callable[..., T]) -> Callable[..., T]:
    """Show ``(self, run, ...)`` to ``help`` and to editors."""
    signature = inspect.signature(question)
    rest = list(signature.parameters.values())[2:]
    first = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in ("self", "run")]
    method.__signature__ = signature.replace(parameters=[*first, *rest])  # type: ignore[attr-defined]
    return method
