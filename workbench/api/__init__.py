"""Workbench: everything that a button, a command or a notebook cell can do."""

from workbench.api.workbench import Workbench

__all__ = ["Workbench"]
