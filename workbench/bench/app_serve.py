"""The app in a process of its own, for measuring: how long its start takes, how large it is."""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


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
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return float(sum(self.process.cpu_times()[:2]))

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
    """Median seconds to the first byte, of them on a processor, and megabytes then.

    One start before the others does not count.
    """
    found = []
    for _ in range(repeats + 1):
        with app(runs_dir) as started:
            found.append((started.seconds, started.cpu, started.megabytes))
    names = ("seconds", "cpu", "megabytes")
    return {
        n: statistics.median(v) for n, v in zip(names, zip(*found[1:], strict=True), strict=True)
    }
