"""Fixtures that more than one file of tests needs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import App, Watched, chromium, start_app, watch, watched
from fork_children import pytest_configure  # noqa: F401 - a hook
from pages_world import make_world
from playwright.sync_api import Browser, BrowserContext

from workbench.runs import processes
from workbench.runs.rundir import read_process


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runs directory whose processes are gone when the test ends."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    yield tmp_path / "runs"
    for path in (tmp_path / "runs").glob("*/process.json"):
        processes.end_group(read_process(path.parent), path.parent, signal.SIGKILL, 5)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory with two finished runs; tests read it and may add to it."""
    return make_world(tmp_path_factory.mktemp("world") / "runs")


@pytest.fixture(scope="session")
def app(world: Path) -> Iterator[App]:
    """The app over ``world``; what it starts is a child that publishes made-up numbers at once."""
    # an evaluation is looked for among the app's own children, where a forked one is not
    running = start_app(world, fake=True, WORKBENCH_FORK_SERVER="")
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all browser tests."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def profile(browser: Browser) -> BrowserContext:
    """What one person's browser keeps: Gradio's files are loaded once for all tests."""
    first = watch(browser)
    first.page.close()
    return first.page.context


@pytest.fixture
def tab(profile: BrowserContext) -> Iterator[Watched]:
    """A new tab; it must not have left this machine nor raised anything."""
    tab = watched(profile)
    yield tab
    tab.page.close()
    assert tab.strangers == []
    assert tab.errors == []
