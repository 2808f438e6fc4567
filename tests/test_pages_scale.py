"""Launch: several processes and a sweep, from the form to what is started."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from workbench import Workbench
from workbench.pages import launch, scale_form
from workbench.pages.page import ActionError


@pytest.fixture
def wb(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path / "runs")


def test_processes_reach_the_run_and_the_command_line(wb: Workbench, monkeypatch: Any) -> None:
    started: list[dict[str, Any]] = []

    def start(config: Any, **options: Any) -> str:
        started.append(options)
        raise ActionError("enough")

    monkeypatch.setattr(wb, "start", start)
    view = {"tab": "launch", "processes": "2", "accelerate": "/tmp/a.yaml"}
    with pytest.raises(ActionError, match="enough"):
        launch.start(wb, dict(view), {"token": "t"})
    assert started == [{"token": "t", "processes": 2, "accelerate_config": "/tmp/a.yaml"}]
    words = shlex.split(launch.command(wb, view))
    assert words[words.index("--processes") + 1] == "2"
    assert words[words.index("--accelerate-config") + 1] == "/tmp/a.yaml"
    assert "--processes" not in launch.command(wb, {"tab": "launch"})
    with pytest.raises(ActionError, match="'two' is not allowed; it must be a whole number"):
        launch.start(wb, {"processes": "two"}, {})
    assert 'value="2"' in scale_form.cards(view)


def test_a_number_that_does_not_divide_is_refused_on_the_page(wb: Workbench) -> None:
    with pytest.raises(ActionError, match="7 processes cannot share"):
        launch.start(wb, {"processes": "7"}, {})


def test_a_sweep_is_started_around_the_form(wb: Workbench, monkeypatch: Any) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr("subprocess.Popen", lambda command, **_: commands.append(command))
    view = {"tab": "launch", "set": "steps=7\nname=mine"}
    values = {
        "sets": "scalarizer.emphasis=0.1,0.3 grpo.beta=0..0.1",
        "seeds": "3, 4",
        "random": "5",
        "jobs": "",
        "early": "1",
    }
    told = launch.sweep(wb, view, {"values": values})
    assert told == "Started sweep mine: 10 runs, 2 at once" and view == {"tab": "runs"}
    plan = wb.sweep("mine").plan
    assert (plan.seeds, plan.random, plan.pruner) == ((3, 4), 5, "median")
    config = plan.config({"scalarizer.emphasis": "0.3", "grpo.beta": 0.05}, 3, 0)
    assert (config.steps, config.scalarizer.emphasis, config.name) == (7, 0.3, "mine-000")
    assert commands[0][-4:-2] == ["--continue", "mine"]
    for wrong in ({"sets": ""}, {"sets": "steps=a,b"}, {"sets": "steps=1,2", "seeds": "x"},
                  {"sets": "steps=1,2", "jobs": "-1"}):  # fmt: skip
        with pytest.raises(ActionError):
            launch.sweep(wb, {"tab": "launch"}, {"values": wrong})
    assert len(commands) == 1
