"""Everything that can be added, by kind and name: the one list that the whole package reads.

Adding one is one file and one line: the file anywhere in the package, its line in ``SHIPPED``.
Another package writes the same line as an entry point in its own ``pyproject.toml``::

    [project.entry-points."workbench.objectives"]
    vowels = "mine.vowels:vowels"

Names are known without an import; what a name stands for is imported when it is first asked for.
What each kind stands for:

* ``objectives``: a function with TRL's reward signature (see ``workbench.objectives``)
* ``scalarizers``: a frozen pydantic dataclass, the settings; see ``config.scalarizers``
* ``tasks``: a function ``(TaskConfig) -> Task``
* ``figures``: a function ``(DataFrame, **options) -> plotly Figure``; with an attribute
  ``of = "run"`` it gets ``(Workbench, run, **options)`` instead
* ``pages``: a function ``(Workbench) -> Page``
* ``learners``: a trainer of logged rows, a subclass of ``workbench.train.offline_trainer``'s
  ``RowTraining``
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from importlib import import_module
from typing import Any

SHIPPED: dict[str, dict[str, str]] = {
    "objectives": {
        "perplexity": "workbench.objectives:PERPLEXITY",
        "format": "workbench.objectives:FORMAT",
        "entropy": "workbench.objectives:ENTROPY",
        "length": "workbench.objectives:LENGTH",
        "preference": "workbench.objectives:PREFERENCE",
    },
    "scalarizers": {
        "static": "workbench.config.scalarizers:Static",
        "single": "workbench.config.scalarizers:Single",
        "random": "workbench.config.scalarizers:Random",
        "oracle": "workbench.config.scalarizers:Oracle",
        "saw": "workbench.config.scalarizers:Saw",
        "dvao": "workbench.config.scalarizers:Dvao",
        "gd2po": "workbench.config.scalarizers:Gd2po",
        "ctwa": "workbench.config.scalarizers:Ctwa",
        "sa_mrpo": "workbench.config.scalarizers:SaMrpo",
        "hypervolume": "workbench.config.scalarizers:Hypervolume",
        "conductor": "workbench.config.scalarizers:Conductor",
        "custom": "workbench.config.scalarizers:Custom",
    },
    "tasks": {
        "etudes": "workbench.tasks:load_etudes",
        "chats": "workbench.tasks:load_chats",
        "file": "workbench.tasks:load_file",
    },
    "figures": {
        "curves": "workbench.plots.figures:curves",
        "weight_area": "workbench.plots.figures:weight_area",
        "weights_by_kind": "workbench.plots.figures:weights_by_kind",
        "weight_map": "workbench.plots.weight_map:weight_map",
        "means_with_intervals": "workbench.plots.figures:means_with_intervals",
        "pareto": "workbench.plots.figures:pareto",
        "parallel": "workbench.plots.sweeps:parallel",
        "group": "workbench.plots.group_figures:group",
        "whatif": "workbench.plots.group_figures:whatif",
        "run_lines": "workbench.plots.run_lines:run_lines",
        "self_favouring": "workbench.plots.group_figures:self_favouring",
        "methods": "workbench.plots.benchmark:methods",
        "families": "workbench.plots.benchmark:families",
        "sensitivity": "workbench.plots.benchmark:sensitivity",
        "worlds": "workbench.plots.benchmark:worlds",
    },
    "pages": {
        "launch": "workbench.pages.launch:build",
        "runs": "workbench.pages.runs:build",
        "inspect": "workbench.pages.inspect:build",
        "compare": "workbench.pages.compare:build",
        "rate": "workbench.pages.rate:build",
    },
    "learners": {
        "rpo": "workbench.train.offline_trainer:PartitionTrainer",
        "dro": "workbench.train.offline_trainer:PartitionTrainer",
        "kto": "workbench.train.offline_trl:KtoRows",
        "sft": "workbench.train.offline_trl:SftRows",
        "dpo": "workbench.train.offline_trl:DpoRows",
    },
}
"""Kind -> name -> ``package.module:attribute``; the order is that of lists and forms."""


class PluginError(ValueError):
    """What a name stands for cannot be used; the message names it, its package and the reason."""


class PluginWarning(UserWarning):
    """Something of another package was left out, and why."""


@cache
def entries(kind: str) -> dict[str, tuple[str, str]]:
    """Name -> (``package.module:attribute``, the package that brings it; empty: this one)."""
    from importlib.metadata import entry_points  # slow to import, and not needed for --help

    known = {name: (value, "") for name, value in SHIPPED[kind].items()}
    for point in sorted(entry_points(group=f"workbench.{kind}")):
        package = point.dist.name if point.dist is not None else "an unnamed package"
        taken = known.setdefault(point.name, (point.value, package))
        if taken != (point.value, package):
            by = f"the package {taken[1]}" if taken[1] else "the workbench"
            warnings.warn(
                f"{kind} {point.name!r} of the package {package} is left out: {by} has one of "
                "this name",
                PluginWarning,
                stacklevel=2,
            )
    return known


class Registry(Mapping[str, Any]):
    """One kind of thing by name, those of this package first; each is imported on first use.

    Args:
        kind: a key of ``SHIPPED``; other packages use the entry points ``workbench.KIND``.
        make: turns what was imported into what the registry answers with; may raise TypeError or
            ValueError when it is not of this kind.
    """

    def __init__(self, kind: str, make: Callable[[str, Any], Any] = lambda name, thing: thing):
        self.kind = kind
        self.make = make
        self.found: dict[str, Any] = {}
        self.broken: dict[str, PluginError] = {}

    @cached_property
    def addresses(self) -> dict[str, tuple[str, str]]:
        """What ``entries`` knows of this kind."""
        return entries(self.kind)

    def __getitem__(self, name: str) -> Any:
        """What a name stands for. Raises KeyError, or PluginError when it cannot be used."""
        if name in self.broken:
            raise self.broken[name]
        if name not in self.found:
            address, package = self.addresses[name]
            try:
                self.found[name] = self.make(name, _imported(address))
            except Exception as error:  # code of others may fail in any way when it is imported
                if not package:
                    raise
                self.broken[name] = PluginError(
                    f"{self.kind} {name!r} ({address}) of the package {package} cannot be used: "
                    f"{type(error).__name__}: {error}"
                )
                raise self.broken[name] from error
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.addresses)

    def __len__(self) -> int:
        return len(self.addresses)

    def __contains__(self, name: object) -> bool:
        return name in self.addresses

    def usable(self) -> dict[str, Any]:
        """All of them by name; one that cannot be used is left out with a ``PluginWarning``."""
        everything = {}
        for name in self:
            try:
                everything[name] = self[name]
            except PluginError as error:
                warnings.warn(f"{error}; it is left out", PluginWarning, stacklevel=2)
        return everything


def _imported(address: str) -> Any:
    module, _, attribute = address.partition(":")
    thing: Any = import_module(module)
    for part in attribute.split("."):
        thing = getattr(thing, part)
    return thing
