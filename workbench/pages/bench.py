"""``python -m workbench.pages.bench``: how fast the app starts and draws, and what watching costs.

Makes a runs directory of 100 runs and a million rollouts, starts the app over it in a process of
its own, and opens every page in Chromium. Then one real run is trained while ten tabs ask for news
of it during every second stretch of time: neighbouring stretches with and without are compared.
The tabs send what the browser's timer sends, at its pace; what a browser costs that runs on the
same machine is not part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from workbench.api import Workbench
from workbench.pages import bench_world

DRAWN = {
    "launch": "#launch-yaml",
    "runs": "#runs-rewards .plot-container",
    "inspect": ".wb-group tbody tr",
    "compare": "#compare-tables table",
    "rate": ".wb-vote",
}
"""What stands on each page only when its own data does."""
TARGETS = {"start": 3.0, "memory": 400.0, "paint": 1.0, "slowdown": 0.02}
TABS = 10
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


@dataclass(frozen=True)
class Started:
    """A running app, and how long its first byte took."""

    port: int
    process: psutil.Process
    seconds: float

    @property
    def megabytes(self) -> float:
        """Resident memory now."""
        return float(self.process.memory_info().rss) / 1e6

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def app(runs_dir: Path) -> Iterator[Started]:
    """The app over a runs directory in a process of its own, from its first byte on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "workbench", "app", "--port", str(port)]
    began = time.perf_counter()
    child = subprocess.Popen([*command, "--runs-dir", str(runs_dir)], stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).read(1)
                break
            except OSError:
                if child.poll() is not None:
                    raise RuntimeError(f"the app ended with status {child.returncode}") from None
                time.sleep(0.01)
        yield Started(port, psutil.Process(child.pid), time.perf_counter() - began)
    finally:
        child.terminate()
        child.wait(30)


def starting(runs_dir: Path, repeats: int) -> dict[str, float]:
    """Median seconds to the first byte and megabytes then; one start before does not count."""
    found = []
    for _ in range(repeats + 1):
        with app(runs_dir) as started:
            found.append((started.seconds, started.megabytes))
    seconds, megabytes = zip(*found[1:], strict=True)
    return {"seconds": statistics.median(seconds), "megabytes": statistics.median(megabytes)}


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


FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


class Tab(threading.Thread):
    """What one open tab asks the app for, as its browser does, while ``on`` is set."""

    def __init__(self, started: Started, run: str, on: threading.Event, delay: float) -> None:
        super().__init__(daemon=True)
        self._connection = HTTPConnection("127.0.0.1", started.port, timeout=60)
        self._view = {"tab": "runs", "run": run}
        self._session = f"bench{id(self)}"
        self._on, self._delay = on, delay
        self._events = events(started)

    def run(self) -> None:
        """Open the page, then ask for news every two seconds."""
        time.sleep(self._delay)
        self._post("go", [], {"view": self._view, "changed": ["*"], "n": 1})
        while True:
            self._on.wait()
            began = time.perf_counter()
            self._post("tick", [{"view": self._view, "n": 1}, None], None)
            time.sleep(max(0.0, 2.0 - (time.perf_counter() - began)))

    def _post(self, event: str, data: list[Any], more: Any) -> None:
        body = {"data": data, "event_data": more, "fn_index": self._events[event]}
        body |= {"session_hash": self._session}
        text = json.dumps(body)
        self._connection.request(
            "POST", "/gradio_api/run/predict", text, {"content-type": "application/json"}
        )
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"the app answered {answer.status}: {answer.read()[:200]!r}")
        answer.read()


def events(started: Started) -> dict[str, int]:
    """The number of each event of the page, as its browser is told."""
    config = json.load(urllib.request.urlopen(f"{started.url}/config", timeout=60))
    return {d["targets"][0][1]: d["id"] for d in config["dependencies"] if d["targets"]}


def watching(runs_dir: Path, pairs: int, seconds: float) -> dict[str, Any]:
    """How much slower a run trains while ten tabs watch it: neighbouring stretches, paired."""
    wb = Workbench(runs_dir)
    sets = ["name=watched", "steps=100000", "evaluation.prompts=0", "logging.checkpoint_every=0"]
    run = wb.start("quick", sets=sets)
    on = threading.Event()
    paces: list[float] = []
    try:
        while wb.state(run)["step"] < 20:
            if wb.state(run)["status"] not in ("queued", "starting", "running"):
                raise RuntimeError(f"the watched run ended: {wb.state(run)['message']}")
            time.sleep(0.5)
        with app(runs_dir) as started:
            for i in range(TABS):
                Tab(started, "watched", on, 0.2 * i).start()
            time.sleep(5.0)
            cpu = -sum(started.process.cpu_times()[:2])
            for stretch in range(2 * pairs):
                on.set() if (stretch // 2 + stretch) % 2 else on.clear()  # A B, B A, A B, ...
                time.sleep(2.0)
                before, began = _steps(wb, run)
                time.sleep(seconds)
                after, ended = _steps(wb, run)
                paces.append((after - before) / (ended - began))
            cpu += sum(started.process.cpu_times()[:2])
    finally:
        wb.stop(run, wait=True)
        wb.delete(run)
    ratios = [
        paces[i] / paces[i + 1] if (i // 2 + i) % 2 == 0 else paces[i + 1] / paces[i]
        for i in range(0, 2 * pairs, 2)
    ]
    return {
        "slowdown": statistics.median(ratios) - 1,
        "low": min(ratios) - 1,
        "high": max(ratios) - 1,
        "pairs": pairs,
        "steps_per_second": statistics.median(paces),
        "app_cpu": cpu / (2 * pairs * (seconds + 2.0)),
    }


def _steps(wb: Workbench, run: str) -> tuple[int, float]:
    """The newest step that is published, and when it was."""
    row = wb.sql(
        "SELECT max(step) AS step, max(time) AS time FROM metrics WHERE run_id = $run "
        "AND split = 'train'",
        {"run": str(run)},
    )
    return int(row["step"].iloc[0]), float(row["time"].iloc[0])


def table(result: dict[str, Any]) -> str:
    """The measurements as Markdown, with their targets."""
    start, paint, watch = result["start"], result["pages"], result["watching"]
    lines = ["| | measured | target |", "|---|--:|--:|"]
    lines.append(f"| app start to first byte | {start['seconds']:.1f} s | 3 s |")
    lines.append(f"| memory then | {start['megabytes']:.0f} MB | 400 MB |")
    lines.append(f"| memory after every page was shown | {result['megabytes']:.0f} MB | |")
    for page, values in paint.items():
        lines.append(
            f"| {page.capitalize()}: first paint, data drawn, after a click on its tab | "
            f"{values['paint']:.2f}, {values['drawn']:.2f}, {values['switch']:.2f} s | 1 s |"
        )
    lines.append(
        f"| ten tabs watching: training slower by | {watch['slowdown']:+.1%} "
        f"[{watch['low']:+.1%}, {watch['high']:+.1%}] | 2 % |"
    )
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table, and keep the numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m workbench.pages.bench", description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path("bench-runs/app"), help="kept for later")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rollouts", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a stretch")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    chosen = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    large = chosen.dir / f"{chosen.runs}-{chosen.rollouts}"
    if not (large / "workbench.duckdb").exists():
        _say(f"making {chosen.runs} runs of {chosen.rollouts:,} rollouts together in {large}")
        bench_world.make(large, chosen.runs, chosen.rollouts)
    _say("starting")
    result: dict[str, Any] = {"start": starting(large, chosen.repeats)}
    _say("drawing")
    result["pages"], result["megabytes"] = painting(large, chosen.repeats)
    _say("watching")
    result["watching"] = watching(chosen.dir / "watched", chosen.pairs, chosen.seconds)
    print(table(result))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1))
    return 0


def _say(text: str) -> None:
    print(f"[bench] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
