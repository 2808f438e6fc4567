"""How long Chromium takes to paint each page."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path

from workbench.bench.app_serve import app

DRAWN = {
    "launch": "#launch-yaml",
    "runs": "#runs-rewards .plot-container",
    "inspect": ".wb-group tbody tr",
    "compare": "#compare-tables table",
    "rate": ".wb-vote",
}
"""What stands on each page only when its own data does."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def painting(runs_dir: Path, repeats: int) -> tuple[dict[str, dict[str, float]], float]:
    """Seconds to first paint and to the page's own data, page by page; and megabytes afterwards.

    ``paint`` is the browser's own "first contentful paint" of a visit, ``drawn`` the time until the
    data is there, ``switch`` the same after a click on its tab; each time of another run, so that
    nothing about it is known yet. The first visit of a new profile also loads Gradio: ``first``.
    """
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise RuntimeError(f"no browser found; looked for {', '.join(BROWSERS)}")
    found: dict[str, dict[str, list[float]]] = {
        page: {"first": [], "paint": [], "drawn": [], "switch": []} for page in DRAWN
    }
    with app(runs_dir) as started, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=list(FLAGS))
        runs = iter(range(10_000))
        for _ in range(repeats):
            for name, mark in DRAWN.items():
                context = browser.new_context(viewport={"width": 1280, "height": 800})
                page = context.new_page()
                for visit in ("first", "again"):
                    page.goto(f"{started.url}/?tab={name}&run=synthetic-{next(runs) % 100}")
                    page.locator(mark).first.wait_for(timeout=60_000)
                    drawn = float(page.evaluate("performance.now()")) / 1e3
                    paint = float(page.evaluate(FIRST_PAINT)) / 1e3
                    if visit == "first":
                        found[name]["first"].append(drawn)
                    else:
                        found[name]["paint"].append(paint)
                        found[name]["drawn"].append(drawn)
                other = "launch" if name != "launch" else "rate"
                page.goto(f"{started.url}/?tab={other}&run=synthetic-{next(runs) % 100}")
                page.locator(DRAWN[other]).first.wait_for(timeout=60_000)
                began = time.perf_counter()
                page.get_by_role("tab", name=name.capitalize()).click()
                page.locator(mark).first.wait_for(timeout=60_000)
                found[name]["switch"].append(time.perf_counter() - began)
                context.close()
        browser.close()
        megabytes = started.megabytes
    return {
        page: {what: statistics.median(values) for what, values in parts.items()}
        for page, parts in found.items()
    }, megabytes
