"""A workbench for aligning language models on several conflicting objectives."""

from workbench.version import __version__

__all__ = ["Workbench", "__version__", "watch"]


def __getattr__(name: str) -> object:
    """Import what is asked for on first use, so that ``import workbench`` stays instant."""
    if name == "Workbench":
        from workbench.entry import Workbench

        return Workbench
    if name == "watch":
        from workbench.train.watch import watch

        return watch
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")
