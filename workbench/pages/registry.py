"""The pages by name, in the order of their tabs: a new one is one file and one line here.

A package of somebody else adds one under the entry points ``workbench.pages``: a name, and a
function ``build(wb) -> Page``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from workbench.api.workbench import Workbench
from workbench.pages import compare, inspect, launch, rate, runs
from workbench.pages.page import Page

PAGES: dict[str, Callable[[Workbench], Page]] = {
    "launch": launch.build,
    "runs": runs.build,
    "inspect": inspect.build,
    "compare": compare.build,
    "rate": rate.build,
}


def builders() -> dict[str, Callable[[Workbench], Page]]:
    """The pages of this package, then those of others, by name."""
    others = {e.name: e.load() for e in entry_points(group="workbench.pages")}
    return PAGES | {name: build for name, build in others.items() if name not in PAGES}
