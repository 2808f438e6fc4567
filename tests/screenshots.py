"""Pictures of every page, light and dark, for the README.

Usage::

    python tests/screenshots.py .github/images                     # of two made-up runs
    python tests/screenshots.py .github/images --runs-dir runs --run demo
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from browser import App, chromium, start_app, watch
from pages_world import make_world
from playwright.sync_api import Browser

PAGES = {
    "launch": "",
    "runs": "",
    "inspect": "&sort=judge&shade=1",
    "compare": "",
    "rate": "",
}
SETTLED = 2500  # ms after the first card: charts are drawn last


def shoot(
    browser: Browser, app: App, out: Path, run: str, pages: list[str], width: int, height: int
) -> list[Path]:
    """One picture a page and theme; returns the files written."""
    written = []
    for dark in (False, True):
        tab = watch(browser, width, height, dark)
        for name in pages:
            theme = "dark" if dark else "light"
            tab.page.goto(f"{app.url}/?tab={name}&run={run}{PAGES[name]}&__theme={theme}")
            tab.page.locator(".wb-card").locator("visible=true").first.wait_for()
            tab.page.wait_for_timeout(SETTLED)
            path = out / f"{name}{'-dark' if dark else ''}.png"
            tab.page.screenshot(path=path)
            written.append(path)
        tab.page.context.close()
    return written


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs-dir", type=Path, help="of real runs; default: two made-up ones")
    parser.add_argument("--run", default="maestro", help="the run to show")
    parser.add_argument("--pages", default=",".join(PAGES), help="which, with commas between")
    parser.add_argument("--size", default="1440x930", help="width x height")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        runs_dir = (arguments.runs_dir or make_world(Path(folder) / "runs")).resolve()
        app = start_app(
            runs_dir, folder=runs_dir.parent
        )  # so that no path of ours is in the picture
        try:
            with chromium() as browser:
                pages = arguments.pages.split(",")
                for path in shoot(browser, app, arguments.out, arguments.run, pages, width, height):
                    print(path)
        finally:
            app.stop()


if __name__ == "__main__":
    main()
