"""The log on Runs: its end once, then only what is new."""

from pathlib import Path

import pytest

from workbench.api.workbench import Workbench
from workbench.pages import log_view


@pytest.fixture
def log(world, tmp_path) -> tuple[Workbench, str, Path]:
    wb = Workbench(world)
    run = wb.resolve("maestro")
    path = wb.launcher.path(run) / "log.txt"
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(b"")
    yield wb, run, path
    path.unlink() if before is None else path.write_bytes(before)


def test_only_new_bytes_travel(log):
    wb, run, path = log
    assert log_view.tail(wb, run) == {"text": "", "size": 0}
    path.write_bytes("eins\nzwölf\n".encode())
    assert log_view.since(wb, run, -1) == {"text": "eins\nzwölf\n", "size": 12}
    assert log_view.since(wb, run, 5) == {"more": "zwölf\n", "from": 5, "size": 12}
    assert log_view.since(wb, run, 12) is None


def test_a_character_that_is_half_written_waits_for_its_end(log):
    wb, run, path = log
    whole = "aö".encode()
    path.write_bytes(whole[:-1])
    assert log_view.since(wb, run, 0) == {"more": "a", "from": 0, "size": 1}
    assert log_view.since(wb, run, 1) is None
    path.write_bytes(whole)
    assert log_view.since(wb, run, 1) == {"more": "ö", "from": 1, "size": 3}


def test_a_log_begun_anew_or_far_ahead_is_sent_as_its_tail(log):
    wb, run, path = log
    path.write_bytes(b"short")
    assert log_view.since(wb, run, 900) == {"text": "short", "size": 5}
    path.write_bytes(b"x" * (log_view.TAIL + 7))
    assert log_view.since(wb, run, 0) == {"text": "x" * log_view.TAIL, "size": log_view.TAIL + 7}
