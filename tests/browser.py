"""The app as people use it: a process of its own, and a real Chromium looking at it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = int(
    os.environ.get("BROWSER_PATIENCE_MS", "60000")
)  # ms: other tests may share the processor
SERVER = Path(__file__).with_name("app_child.py")
START_SECONDS = 180


@dataclass
class App:
    """A running app: its address, its runs directory, its process."""

    url: str
    runs_dir: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> int:
        """End the app as a terminal would; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_app(runs_dir: Path, fake: bool = False, folder: Path = ROOT, **environment: str) -> App:
    """Start the app over a runs directory and wait for its first byte.

    With ``fake`` what it starts publishes made-up numbers at once instead of training. ``folder``
    is where it is started.
    """
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(runs_dir), str(port), *(["fake"] if fake else [])],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(f"{url}/", timeout=20).read(1)
            return App(url, runs_dir, process)
        except OSError:
            assert process.poll() is None, f"the app ended with status {process.returncode}"
            time.sleep(0.1)
    process.kill()
    raise AssertionError(f"the app did not answer within {START_SECONDS} s")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium with a fresh profile."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as play:
        expect.set_options(timeout=PATIENCE)
        browser = play.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A browser tab and everything it did that a page of ours must not do."""

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def strangers(self) -> list[str]:
        """Addresses outside this machine that the page asked for."""
        own = ("http://127.0.0.1:", "data:", "blob:")
        return [url for url in self.requests if not url.startswith(own)]


def watch(browser: Browser, width: int = 1280, height: int = 800, dark: bool = False) -> Watched:
    """A new tab in a context of its own, watched."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    return watched(context)


def watched(context: BrowserContext) -> Watched:
    """A new tab of a context, watched."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    tab = Watched(page)
    page.on("request", lambda request: tab.requests.append(request.url))
    page.on("pageerror", lambda error: tab.errors.append(str(error)))
    return tab
