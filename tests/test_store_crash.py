"""kill -9 at random moments: no published row lost, none doubled, no reader sees an error."""

from __future__ import annotations

import pytest
from store_crash import crash_test


def check(figures):
    print(figures)
    assert figures["wrong"] == []
    assert all(figures["kills"].values())
    assert figures["queries"] >= 2 and figures["final_rows"] > 0
    assert figures["attempts"] > 1


@pytest.mark.timeout(240)
def test_kills_at_random_moments_lose_and_double_nothing(tmp_path):
    check(crash_test(tmp_path, seconds=18))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_kills_lose_and_double_nothing(tmp_path):
    check(crash_test(tmp_path, seconds=600, seed=1))
