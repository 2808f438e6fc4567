"""What watches a training: findings told once, self-stops, progress, and the webhook."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_runs import Recorder, tiny_config
from transformers import TrainerControl, TrainerState

from workbench.runs.notify import post
from workbench.train.monitor import RunMonitor
from workbench.train.watch_memory import WatchMemory

COLLAPSED = {"collapsed_prompts": 0.9, "audit_error": 0.0, "weights_entropy": 0.1}
HEALTHY = {"collapsed_prompts": 0.0, "audit_error": 0.0, "weights_entropy": 0.8}


class Watched:
    """A monitor over a trainer that is only numbers."""

    def __init__(self, tmp_path: Path, wish: str | None = None, **logging: Any) -> None:
        self.recorder, self.lines, self.noted = Recorder(), [], []
        config = tiny_config(tmp_path, steps=40, logging={"checkpoint_every": 7, **logging})
        self.trainer = SimpleNamespace(
            memory=WatchMemory(),
            state=TrainerState(),
            config=config,
            publisher=self.recorder,
            accelerator=SimpleNamespace(is_main_process=True, num_processes=1),
            diagnostics={},
            latest={},
            headline=None,
            reference=None,
            checkpoint_dir=tmp_path / "checkpoints",
        )
        self.monitor = RunMonitor(
            self.trainer,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            [],
            lambda: wish,
            self.lines.append,
            self.noted.append,
        )
        self.state = TrainerState(max_steps=40)
        self.control = TrainerControl()
        self.monitor.on_train_begin(None, self.state, self.control)  # type: ignore[arg-type]

    def steps(self, count: int, diagnostics: dict[str, float], **latest: float) -> list[int]:
        """Steps until the training stops; those that were saved."""
        saved = []
        for _ in range(count):
            self.state.global_step += 1
            self.control.should_save = False
            self.trainer.diagnostics, self.trainer.latest = diagnostics, latest
            self.monitor.on_step_end(None, self.state, self.control)  # type: ignore[arg-type]
            if self.control.should_save:
                saved.append(self.state.global_step)
            if self.control.should_training_stop:
                break
        return saved


def test_checkpoints_come_at_their_step_and_at_the_end(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert watched.steps(40, HEALTHY) == [7, 14, 21, 28, 35, 40]
    assert watched.monitor.stopped is None and watched.recorder.warnings == []
    last = watched.recorder.states[-1]
    assert (last["step"], last["steps"], last["weights_entropy"]) == (40, 40, 0.8)
    assert last["steps_per_second"] > 0 and last["eta_seconds"] == 0


def test_a_wish_to_stop_saves_first(tmp_path: Path) -> None:
    watched = Watched(tmp_path, wish="stopped on request")
    assert watched.steps(40, HEALTHY) == [1]
    assert watched.control.should_training_stop
    assert watched.monitor.stopped == "stopped on request"
    assert {"status": "stopping", "phase": "saving"} in watched.recorder.states


def test_a_finding_is_told_once_and_again_when_it_returns(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.steps(15, COLLAPSED)
    assert [w[:2] for w in watched.recorder.warnings] == [(10, "collapse")]
    assert [f.code for f in watched.noted] == ["collapse"]
    assert any(line.startswith("warning [collapse]") for line in watched.lines)
    watched.steps(10, HEALTHY)
    watched.steps(15, COLLAPSED)
    assert [w[1] for w in watched.recorder.warnings] == ["collapse", "collapse"]


@pytest.mark.parametrize(
    ("stop_on", "diagnostics", "latest", "step", "reason"),
    [
        ("collapse", COLLAPSED, {}, 10, "collapsed onto one objective"),
        ("divergence", HEALTHY, {"loss": float("nan")}, 1, "diverged"),
        ("divergence", HEALTHY, {"grad_norm": float("inf")}, 1, "diverged"),
    ],
)
def test_runs_stop_by_themselves_when_told_to(
    tmp_path: Path,
    stop_on: str,
    diagnostics: dict[str, float],
    latest: dict[str, float],
    step: int,
    reason: str,
) -> None:
    watched = Watched(tmp_path, stop_on=[stop_on])
    watched.steps(40, diagnostics, **latest)
    assert watched.state.global_step == step and reason in str(watched.monitor.stopped)
    untold = Watched(tmp_path)
    untold.steps(40, diagnostics, **latest)
    assert untold.monitor.stopped is None


def test_a_full_disk_stops_a_run_that_watches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1.5e8))
    watched = Watched(tmp_path, stop_on=["disk"])
    watched.steps(40, HEALTHY)
    assert watched.monitor.stopped == "stopped by itself: 150 MB left on the disk"
    assert watched.state.global_step == 5


def test_a_webhook_gets_a_note_and_its_failure_is_only_told() -> None:
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - the library's name
            size = int(self.headers["Content-Length"])
            received.append(json.loads(self.rfile.read(size)))
            self.send_response(204 if self.path == "/good" else 500)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        assert post(f"{address}/good", {"status": "finished", "step": 4}) is None
        assert received == [{"status": "finished", "step": 4}]
        assert "500" in str(post(f"{address}/bad", {}))
    finally:
        server.shutdown()
        server.server_close()
    assert post(f"{address}/gone", {}) is not None  # nobody listens there any more
    assert "http://" in str(post("file:///etc/passwd", {}))
