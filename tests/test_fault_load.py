"""A small share of ``make load`` and ``make soak``: some runs, some tabs, some calls, no error."""

import pytest
from browser import App
from load import measure, report
from playwright.sync_api import Browser
from soak import verdict

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def test_runs_tabs_and_calls_at_once(app: App, browser: Browser) -> None:
    found = measure(app, browser, runs=2, open_tabs=3, count=40)
    print(report(found))
    assert {t.name: t.errors for t in found if t.errors} == {}
    assert {t.name: len(t.seconds) for t in found}["API call"] == 40


def test_what_counts_as_flat() -> None:
    flat = [(float(i), 300.0 + i % 3) for i in range(60)]
    assert verdict(flat)[2]
    assert verdict([(0.0, 100.0)] * 12 + flat)[2], "warming up is not growth"
    assert not verdict([(float(i), 300.0 + 2 * i) for i in range(60)])[2]
