"""What ten tabs that watch a run cost its training."""

from __future__ import annotations

import json
import statistics
import threading
import time
import urllib.request
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from workbench.api.workbench import Workbench
from workbench.bench.app_serve import Started, app

TABS = 10


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
            if not self._on.is_set():
                self._connection.close()  # the server drops what is idle; the next call reopens it
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
    """How much slower a run trains while ten tabs watch it: neighbouring stretches, paired.

    ``slowdown`` is of steps per second, with its range over the pairs; ``step_cpu`` of the
    processor time of a step, which says more where other work shares the machine; ``app_cpu`` is
    what the app itself takes of one core while it is watched.
    """
    wb = Workbench(runs_dir)
    sets = ["name=watched", "steps=100000", "evaluation.prompts=0", "logging.checkpoint_every=0"]
    run = wb.start("quick", sets=sets)
    on = threading.Event()
    paces: list[float] = []
    spent: dict[bool, list[float]] = {True: [0.0, 0.0], False: [0.0, 0.0]}
    try:
        while wb.state(run)["step"] < 20:
            if wb.state(run)["status"] not in ("queued", "starting", "running"):
                raise RuntimeError(f"the watched run ended: {wb.state(run)['message']}")
            time.sleep(0.5)
        trainer = psutil.Process(int(wb.state(run)["pid"]))
        with app(runs_dir) as started:
            tabs = [Tab(started, "watched", on, 0.2 * i) for i in range(TABS)]
            for tab in tabs:
                tab.start()
            time.sleep(5.0)
            cpu = -started.cpu
            for stretch in range(2 * pairs):
                on.set() if (stretch // 2 + stretch) % 2 else on.clear()  # A B, B A, A B, ...
                time.sleep(2.0)
                before, began = _steps(wb, run)
                work = -sum(trainer.cpu_times()[:2])
                time.sleep(seconds)
                after, ended = _steps(wb, run)
                work += sum(trainer.cpu_times()[:2])
                paces.append((after - before) / (ended - began))
                spent[on.is_set()][0] += work
                spent[on.is_set()][1] += after - before
            cpu += started.cpu
            if not all(tab.is_alive() for tab in tabs):
                raise RuntimeError("a tab was refused: what it said stands above")
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
        "step_cpu": spent[True][0] / spent[True][1] / (spent[False][0] / spent[False][1]) - 1,
        "app_cpu": cpu / (pairs * (seconds + 2.0)),
    }


def _steps(wb: Workbench, run: str) -> tuple[int, float]:
    """The newest step that is published, and when it was."""
    row = wb.sql(
        "SELECT max(step) AS step, max(time) AS time FROM metrics WHERE run_id = $run "
        "AND split = 'train'",
        {"run": str(run)},
    )
    return int(row["step"].iloc[0]), float(row["time"].iloc[0])
