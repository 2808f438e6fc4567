"""A plugin: children that train or evaluate are forked from one server for all of the tests.

Importing the trainer costs a child 6 s of a core; a hundred children of the suite pay it once. The
server is the one of ``workbench bench``; it is used by whatever the tests start, commands in
processes of their own and notebooks too. ``test_runs_forkserver.py`` compares with a fresh child.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from workbench.runs.forkserver import preloaded

MODULES = ("workbench.train.child", "workbench.train.evaluate")
IMPORTS = ("workbench.bench.warm", "workbench.train.monitor", "workbench.train.offline_child",
           "workbench.train.offline_trainer")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Start the server where the session begins, not again in each of its workers."""
    if not hasattr(config, "workerinput"):
        running = ExitStack()
        running.enter_context(preloaded(MODULES, IMPORTS, {"HF_HUB_OFFLINE": "1"}))
        config.add_cleanup(running.close)
