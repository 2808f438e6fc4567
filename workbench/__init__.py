"""A workbench for aligning language models on several conflicting objectives."""

from importlib import import_module

from workbench.version import __version__

__all__ = ["MaestroConfig", "MaestroTrainer", "Workbench", "__version__", "watch"]

_WHERE = {
    "Workbench": "workbench.entry",
    "MaestroConfig": "workbench.train.for_trl",
    "MaestroTrainer": "workbench.train.for_trl",
    "watch": "workbench.train.watch",
}


def __getattr__(name: str) -> object:
    """Import what is asked for on first use, so that ``import workbench`` stays instant."""
    if name not in _WHERE:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
