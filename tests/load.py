"""Many runs, many tabs, many calls at once: latencies and errors.

``python tests/load.py`` lets 20 runs write into one store while 50 browser tabs watch them and a
script makes 1,000 calls of the JSON API, and prints what each kind of request took. ``--json`` too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from browser import App, chromium, start_app, watch
from pages_world import make_world
from playwright.sync_api import Browser, expect

from workbench.api.workbench import Workbench

CHILD = (sys.executable, str(Path(__file__).with_name("cli_child.py")))
MOVED = 5
"""Of how many tabs one is asked for another page: all of them would go on to watch a live run."""
VIEWS = ("tab=runs&run=load-0", "tab=inspect&run=maestro", "tab=compare", "tab=runs", "tab=rate")


class Timed:
    """Latencies and errors of one kind of request."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds: list[float] = []
        self.errors: list[str] = []

    def __call__(self, ask: Callable[[], Any]) -> None:
        started = time.monotonic()
        try:
            ask()
        except Exception as error:  # every failure is a figure of this report
            self.errors.append(f"{type(error).__name__}: {str(error)[:200]}")
        self.seconds.append(time.monotonic() - started)

    def row(self) -> dict[str, Any]:
        ordered = sorted(self.seconds) or [0.0]
        at = {p: ordered[min(len(ordered) - 1, int(p / 100 * len(ordered)))] for p in (50, 95)}
        return {
            "what": self.name, "count": len(self.seconds), "errors": len(self.errors),
            "p50": at[50], "p95": at[95], "max": ordered[-1],
        }  # fmt: skip


def call(url: str, name: str, arguments: Sequence[Any]) -> Any:
    """One call of the JSON API: ask, then read the stream until its last word."""
    body = json.dumps({"data": list(arguments)}).encode()
    address = f"{url}/gradio_api/call/{name}"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{address}/{event}", timeout=120) as stream:
        text = stream.read().decode()
    last = text.strip().rpartition("event: ")[2]
    kind, _, data = last.partition("\ndata: ")
    if kind != "complete":
        raise RuntimeError(f"{name}: {kind} {data}")
    return json.loads(data)[0]


def start_runs(runs_dir: Path, count: int, steps: int, pause: float) -> list[str]:
    """Runs that publish real rows with made-up numbers, a step every ``pause`` seconds."""
    os.environ["FAKE_STEP"] = str(pause)
    os.environ["PYTHONPATH"] = f"{Path(__file__).parents[1]}{os.pathsep}{Path(__file__).parent}"
    wb = Workbench(runs_dir, limit=None, command=CHILD)
    names = [f"load-{i}" for i in range(count)]
    for name in names:
        wb.start({"name": name, "steps": steps, "objectives": ["format", "length", "entropy"]})
    return names


def calls(url: str, names: Sequence[str], count: int, threads: int = 8) -> Timed:
    """``count`` calls: states of runs, and every tenth time the whole list."""
    timed = Timed("API call")

    def one(i: int) -> None:
        whole = i % 10 == 0
        timed(
            lambda: call(
                url, "runs" if whole else "state", [] if whole else [names[i % len(names)]]
            )
        )

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(count)))
    return timed


def say(what: str, i: int) -> None:
    """How far it is, every tenth time."""
    if i % 10 == 9:
        print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def tell(timed: Timed) -> None:
    """A figure as soon as it is known: the others may take long, or never come."""
    print(report([timed]), file=sys.stderr, flush=True)


def queries(runs_dir: Path, until: threading.Event) -> Timed:
    """A notebook that asks the store again and again while all this goes on."""
    timed = Timed("SQL query over all rows")
    wb = Workbench(runs_dir)
    while not until.is_set():
        timed(lambda: wb.sql("SELECT run_id, count(*), avg(advantage) FROM rollouts GROUP BY 1"))
        until.wait(0.5)
    return timed


def tabs(browser: Browser, url: str, count: int, between: Callable[[], None]) -> list[Timed]:
    """Open tabs that stay open; then, with all of them watching, show another page in some."""
    opened, moved, oddities = (
        Timed("tab opened"),
        Timed("page changed in a tab"),
        Timed("tab error"),
    )
    watched = []
    for i in range(count):
        tab = watch(browser)
        watched.append(tab)

        def show(tab: Any = tab, i: int = i) -> None:
            tab.page.goto(f"{url}/?{VIEWS[i % len(VIEWS)]}")
            expect(tab.page.locator(".wb-card").first).to_be_visible()

        opened(show)
        say(f"{i + 1} of {count} tabs open", i)
    tell(opened)
    between()
    for tab in watched[::MOVED]:

        def move(tab: Any = tab) -> None:
            tab.page.get_by_role("tab", name="Runs").click()
            expect(tab.page.locator("#runs-list, .wb-table").first).to_be_visible()

        moved(move)
    tell(moved)
    for tab in watched:
        oddities.errors += [*tab.errors, *(f"asked {u}" for u in tab.strangers)]
        tab.page.context.close()
    return [opened, moved, oddities]


def measure(app: App, browser: Browser, runs: int, open_tabs: int, count: int) -> list[Timed]:
    """Everything at once, over a running app."""
    names = start_runs(app.runs_dir, runs, steps=100_000, pause=4)
    wb = Workbench(app.runs_dir)
    done, results = threading.Event(), {}

    def ask() -> None:
        results["sql"] = queries(app.runs_dir, done)

    def script() -> None:
        results["api"] = calls(app.url, names, count)
        tell(results["api"])

    asking, scripting = threading.Thread(target=ask), threading.Thread(target=script)
    try:
        deadline = time.monotonic() + 120
        while any(wb.run(n).info.step < 1 for n in names) and time.monotonic() < deadline:
            time.sleep(0.2)
        asking.start()
        scripting.start()
        pages = tabs(browser, app.url, open_tabs, scripting.join)
    finally:
        done.set()
        for name in names:
            (wb.launcher.path(name) / "stop").touch()
    asking.join()
    lost = Timed("run that lost a row")
    for name in names:
        wb.stop(name, wait=True)
        known = wb.run(name).info.step
        found = wb.sql(
            "SELECT count(DISTINCT step) AS n, count(*) AS rows FROM rollouts "
            "WHERE run_id = $run AND split = 'train'", {"run": wb.resolve(name)},
        )  # fmt: skip
        lost.seconds.append(0.0)
        if (int(found.n[0]), int(found.rows[0])) != (known, 8 * known):
            lost.errors.append(f"{name}: {known} steps said, {found.to_dict('records')} found")
    return [results["api"], *pages, results["sql"], lost]


def report(timed: Iterable[Timed]) -> str:
    """The figures as text."""
    lines = [f"{'':<26}{'count':>7}{'errors':>8}{'median s':>10}{'95 % s':>9}{'max s':>8}"]
    for row in (t.row() for t in timed):
        lines.append(f"{row['what']:<26}{row['count']:>7,}{row['errors']:>8}{row['p50']:>10.3f}"
                     f"{row['p95']:>9.3f}{row['max']:>8.2f}")  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    """Print the figures; 1 when there was an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--tabs", type=int, default=50)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        app = start_app(make_world(Path(folder) / "runs"), fake=True)
        try:
            found = measure(app, browser, chosen.runs, chosen.tabs, chosen.calls)
        finally:
            app.stop()
    print(json.dumps([t.row() for t in found], indent=1) if chosen.json else report(found))
    for timed in found:
        for error in sorted(set(timed.errors))[:5]:
            print(f"{timed.name}: {error}", file=sys.stderr)
    return int(any(t.errors for t in found))


if __name__ == "__main__":
    sys.exit(main())
