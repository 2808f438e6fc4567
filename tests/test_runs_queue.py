"""The one queue, and what stands in it: evaluations that hold their run, jobs of the app."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_batches import make_run
from test_launcher_life import wait_for

from workbench.__main__ import main
from workbench.api import Workbench
from workbench.pages.jobs import Jobs
from workbench.runs import evaluations
from workbench.runs.queue import Queue, whose_turn
from workbench.runs.rundir import LauncherError, UnknownRunError
from workbench.store.state import write_state


class Piece:
    """Work that ends at its nth look."""

    def __init__(self, name: str, looks: int, log: list[str]) -> None:
        self.name, self.looks, self.log = name, looks, log

    def start(self) -> None:
        self.log.append(f"start {self.name}")

    def ended(self) -> bool:
        self.looks -= 1
        if self.looks == 0:
            self.log.append(f"end {self.name}")
        return self.looks <= 0

    def cancel(self) -> None:
        self.log.append(f"cancel {self.name}")


def test_work_goes_on_in_order_and_no_more_of_it_than_allowed() -> None:
    """Two at once; a ends at its second look, then c starts beside b."""
    log: list[str] = []
    line = [Piece("a", 2, log), Piece("b", 3, log), Piece("c", 1, log)]
    Queue(lambda: line.pop(0) if line else None, limit=2).run(0)
    assert log == ["start a", "start b", "end a", "start c", "end b", "end c"]


def test_what_comes_later_is_started_too_and_a_stop_cancels() -> None:
    log: list[str] = []
    line: list[Piece] = []
    queue: Queue[Piece] = Queue(lambda: line.pop(0) if line else None, limit=1)
    assert not queue.step()
    line += [Piece("a", 9, log), Piece("b", 9, log)]
    assert queue.step()
    queue.run(0, wants_stop=lambda: True)
    assert log == ["start a", "cancel a"] and not queue.active


def test_a_failing_look_cancels_what_is_at_work() -> None:
    log: list[str] = []

    class Bad(Piece):
        def ended(self) -> bool:
            raise ValueError("no")

    line: list[Piece] = [Piece("a", 9, log), Bad("b", 9, log)]
    with pytest.raises(ValueError, match="no"):
        Queue(lambda: line.pop(0) if line else None, limit=2).run(0)
    assert log == ["start a", "start b", "cancel a", "cancel b"]


def test_whose_turn_it_is() -> None:
    """Two active; the queued ones were queued at 5, 3 and 4 with limits 4, 3 and none."""
    states = {
        Path("run"): {"status": "running"},
        Path("end"): {"status": "stopping"},
        Path("old"): {"status": "finished"},
        Path("c"): {"status": "queued", "heartbeat": 5.0, "limit": 4},
        Path("a"): {"status": "queued", "heartbeat": 3.0, "limit": 3},
        Path("b"): {"status": "queued", "heartbeat": 4.0},
    }
    assert list(whose_turn(states, None)) == [Path("a"), Path("b")]
    assert list(whose_turn(states, 3)) == [Path("a")]
    assert list(whose_turn(states, 2)) == []
    assert list(whose_turn(states, 9)) == [Path("a"), Path("b"), Path("c")]


# -- evaluations ------------------------------------------------------------------------------


@pytest.fixture
def wb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    """One finished run, and evaluations that measure nothing."""
    run = make_run(tmp_path / "runs", name="one")
    write_state(run, status="finished")
    (run / "config.yaml").write_text("name: one\nsteps: 3\n")
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent.parent}:{Path(__file__).parent}")
    monkeypatch.setattr(evaluations, "MODULE", "evaluation_child")
    return Workbench(tmp_path / "runs")


def test_a_run_is_not_deleted_while_it_is_evaluated(wb, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "60")
    evaluation = wb.evaluate("one")
    try:
        assert wb.run("one").status == "finished", "an evaluation is no training"
        with pytest.raises(LauncherError, match=r"'one' is being evaluated \(process \d+\): wait"):
            wb.delete("one")
    finally:
        evaluation.cancel()
    wb.delete("one")
    with pytest.raises(UnknownRunError):
        evaluations.Evaluation(wb.runs_dir / "20260101-000000-abcd", {})


def test_an_evaluation_that_could_not_be_stored_says_so_everywhere(wb, monkeypatch, capfd) -> None:
    monkeypatch.setenv("FAKE_PROBLEM", "No space left on device")
    with pytest.warns(UserWarning, match="not everything was stored: No space left"):
        result = wb.evaluate("one").wait()
    assert result["problems"] == ["not everything was stored: No space left on device"]
    jobs = Jobs(wb)
    with pytest.warns(UserWarning, match="No space left"):
        job = jobs.add("one, last", "one", checkpoint="last")
        wait_for(lambda: not jobs.active)
    assert (job.status, job.message) == ("done", result["problems"][0])
    assert main(["evaluate", "one", "--runs-dir", str(wb.runs_dir), "--json"]) == 1
    said = capfd.readouterr()
    assert '"problems": ["not everything' in said.out and "was stored: No space" in said.err


def test_the_apps_evaluations_stand_in_line(wb, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "60")
    jobs = Jobs(wb)
    first = jobs.add("first", "one", checkpoint="last")
    second = jobs.add("second", "one", checkpoint="best")
    third = jobs.add("third", "nothing", checkpoint="best")
    assert jobs.add("again", "one", checkpoint="best") is second
    wait_for(lambda: first.progress == "half")
    assert [j.status for j in jobs.list()] == ["waiting", "waiting", "running"]
    jobs.cancel(second.identity)
    monkeypatch.setenv("FAKE_SECONDS", "0")
    jobs.cancel(first.identity)
    wait_for(lambda: not jobs.active)
    assert (third.status, "no run 'nothing'" in third.message) == ("failed", True)
    assert [j.status for j in (first, second)] == ["cancelled", "cancelled"]
    again = jobs.add("again", "one", checkpoint="best")
    wait_for(lambda: not jobs.active)
    assert again.status == "done" and again.message == "" and again.seconds > 0
    with pytest.raises(LookupError, match="no evaluation 99"):
        jobs.cancel(99)
