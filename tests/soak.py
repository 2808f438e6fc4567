"""Does the app stay as small as it is, while tabs watch a run for an hour?

``python tests/soak.py --minutes 60`` starts an app and a run that publishes twice a second, opens
tabs on it and reads the app's memory. The first fifth of the time is warming up; from then on the
memory of the last third is held against that of the first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil
from browser import chromium, start_app, watch
from load import start_runs
from pages_world import make_world
from playwright.sync_api import expect

from workbench.api.workbench import Workbench

VIEWS = ("tab=runs&run=load-0", "tab=runs&run=load-0", "tab=inspect&run=load-0", "tab=compare")
ALLOWED = 0.10
"""Share by which the memory may have grown."""


def verdict(samples: list[tuple[float, float]]) -> tuple[float, float, bool]:
    """Median MB of the first and of the last third after warming up, and whether that is flat."""
    warm = [mb for _, mb in samples[len(samples) // 5 :]]
    third = max(1, len(warm) // 3)
    first, last = median(warm[:third]), median(warm[-third:])
    return first, last, last <= first * (1 + ALLOWED)


def soak(minutes: float, tabs: int) -> list[tuple[float, float]]:
    """(seconds, MB) of the app while ``tabs`` watch a live run."""
    samples: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        app = start_app(make_world(Path(folder) / "runs"), fake=True)
        (name,) = start_runs(app.runs_dir, 1, steps=10**6, pause=0.5)
        wb = Workbench(app.runs_dir)
        try:
            process = psutil.Process(app.process.pid)
            watching = [watch(browser) for _ in range(tabs)]
            for i, tab in enumerate(watching):
                tab.page.goto(f"{app.url}/?{VIEWS[i % len(VIEWS)]}")
                expect(tab.page.locator(".wb-card").first).to_be_visible()
            started = time.monotonic()
            pause = max(1.0, minutes * 60 / 120)
            while (now := time.monotonic() - started) < minutes * 60:
                samples.append((now, process.memory_info().rss / 1e6))
                watching[0].page.wait_for_timeout(1000 * pause)
                if len(samples) % 10 == 0:
                    step = wb.run(name).info.step
                    print(f"{now / 60:6.1f} min  {samples[-1][1]:7.1f} MB  step {step}", flush=True)
            errors = [e for tab in watching for e in tab.errors]
            assert not errors, errors[:3]
        finally:
            wb.stop(name, now=True)
            app.stop()
    return samples


def main() -> int:
    """Print the memory and the verdict; 1 when it grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--tabs", type=int, default=4)
    chosen = parser.parse_args()
    first, last, flat = verdict(soak(chosen.minutes, chosen.tabs))
    print(f"{chosen.minutes:g} minutes, {chosen.tabs} tabs: {first:.1f} MB after warming up, "
          f"{last:.1f} MB at the end ({100 * (last / first - 1):+.1f} %): "
          f"{'flat' if flat else 'GREW'}")  # fmt: skip
    return int(not flat)


if __name__ == "__main__":
    sys.exit(main())
