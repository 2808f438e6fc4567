"""Runs, Compare and Rate as people use them."""

import re
from pathlib import Path
from urllib.parse import parse_qs

import psutil
import pytest
from browser import App, Watched
from playwright.sync_api import Page, Route, expect

from workbench.api.workbench import Workbench
from workbench.bench.app_paint import DRAWN
from workbench.pages.server import asset

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def test_two_checkpoints_side_by_side(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=compare&sides=maestro@before,maestro@after")
    expect(page.locator("#compare-means .plot-container")).to_be_visible()
    found = Workbench(app.runs_dir).compare(["maestro@before", "maestro@after"])
    wins = found.wins.iloc[0]
    table = page.locator("#compare-tables")
    expect(table).to_contain_text(f"{100 * wins['rate']:.0f} %")
    expect(table).to_contain_text("The settings are the same.")
    expect(page.locator(".wb-texts ins").first).to_be_visible()
    equal = page.get_by_role("row").filter(has=page.get_by_text("equal", exact=True))
    equal.get_by_role("button", name="before").click()
    expect(page).to_have_url(re.compile("equal%40before"))
    expect(table).to_contain_text("scalarizer.name")
    page.get_by_label("reference point").select_option("worst")
    expect(page).to_have_url(re.compile("at=worst"))
    page.get_by_label("preference", exact=True).fill("0.25")
    page.keyboard.press("Tab")
    expect(page).to_have_url(re.compile("ref="))
    sides = ["maestro@before", "maestro@after", "equal@before"]
    asked = [float(v) for v in parse_qs(page.url.partition("?")[2])["ref"][0].split(",")]
    assert asked[-1] == 0.25
    names = list(found.reference)
    again = Workbench(app.runs_dir).compare(sides, reference=dict(zip(names, asked, strict=True)))
    expect(table).to_contain_text(f"{again.volume['hypervolume'].iloc[1]:.3g}")


def test_an_evaluation_says_how_far_it_is_and_can_be_cancelled(app: App, tab: Watched):
    """The real child: it loads the policy, and is gone when it is cancelled."""
    page = tab.page
    page.goto(f"{app.url}/?tab=compare&sides=maestro@before,maestro@after")
    form = page.locator("#compare-ask [data-form]").first
    form.get_by_label("run").select_option("maestro")
    form.get_by_label(re.compile("^checkpoint")).fill("base")
    form.get_by_label("split").select_option("calibration")
    form.get_by_role("button", name="Evaluate").click()
    job = page.locator(".wb-jobs tbody tr").first
    expect(job).to_be_visible()
    own: list[psutil.Process] = []
    while not own:  # it takes seconds to load what it needs, and may be quick from then on
        page.wait_for_timeout(100)
        children = psutil.Process(app.process.pid).children()
        own = [c for c in children if "workbench.train.evaluate" in c.cmdline()]
    expect(job).to_contain_text(re.compile("loading|sampling|scoring"))
    assert len(own) == 1
    job.get_by_role("button", name="cancel").click()
    expect(job).to_contain_text("cancelled")
    psutil.wait_procs(own, timeout=10)
    assert not own[0].is_running() or own[0].status() == psutil.STATUS_ZOMBIE


def test_a_vote_is_stored_and_can_be_taken_back(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=rate&run=maestro&rater=ann")
    expect(page.locator(".wb-vote")).to_have_count(8)
    expect(page.locator(".wb-desk")).not_to_contain_text("advantage")
    first = page.locator(".wb-vote .wb-text").first.inner_text()
    page.keyboard.press("1")
    expect(page.locator(".wb-desk")).to_contain_text("1 judged")
    wb = Workbench(app.runs_dir)
    votes = wb.annotations("maestro")
    vote = votes[votes["rater"] == "ann"].iloc[0]
    chosen = wb.sql(  # a prompt may have a group in each split of its step
        "SELECT completion FROM rollouts WHERE run_id = $run AND group_id = $group "
        "AND sample = $sample",
        {"run": wb.resolve("maestro"), "group": vote["group_id"], "sample": int(vote["sample"])},
    )
    assert chosen["completion"].tolist() == [first]
    expect(page.locator("#rate-agreement")).to_contain_text("ann")
    page.keyboard.press("u")
    expect(page.locator(".wb-desk")).to_contain_text("0 judged")
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile("skip="))


def test_grades_are_stored_one_by_one_from_the_keyboard(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=rate&run=maestro&rater=bob&mode=scores")
    expect(page.locator(".wb-score.here")).to_have_count(1)
    first = page.locator(".wb-score.here .wb-text").inner_text()
    page.keyboard.press("4")
    expect(page.locator(".wb-score.here .wb-text")).not_to_have_text(first)
    expect(page.locator(".wb-score .wb-switch.on")).to_have_text("4")
    marks = Workbench(app.runs_dir).annotations("maestro")
    grade = marks[(marks["type"] == "rating") & (marks["rater"] == "bob")].iloc[0]
    assert grade["score"] == 0.75
    for _ in range(7):
        place = page.locator(".wb-score .wb-switch.on").count()
        page.keyboard.press("2")
        if place < 7:
            expect(page.locator(".wb-score .wb-switch.on")).to_have_count(place + 1)
    expect(page.locator(".wb-desk")).to_contain_text("1 judged")


def test_a_run_can_be_tagged_noted_and_found(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=runs&run=equal")
    dialog = page.locator(".wb-dialog")

    def answer(button: str, text: str) -> None:
        page.get_by_role("button", name=button, exact=True).click()
        dialog.locator("input, textarea").fill(text)
        dialog.get_by_role("button", name="OK").click()
        expect(dialog).to_have_count(0)

    answer("Tag", "<i>keep</i>")
    expect(page.locator("#runs-list .wb-tag")).to_have_text("<i>keep</i>")
    answer("Note", "the baseline")
    expect(page.locator(".wb-note-text")).to_have_text("the baseline")
    page.get_by_role("button", name="remove tag <i>keep</i>").click()
    expect(page.locator("#runs-list .wb-tag")).to_have_count(0)
    page.get_by_role("button", name="Delete").click()
    expect(dialog).to_contain_text("Delete equal, its rows and its checkpoints for good?")
    dialog.get_by_role("button", name="Cancel").click()
    answer("Rename", "same")
    expect(page).to_have_url(re.compile("run=same"))
    Workbench(app.runs_dir).rename("same", "equal")


def test_a_run_can_be_duplicated_onto_the_form(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=runs&run=equal")
    page.get_by_role("button", name="Duplicate").click()
    expect(page.get_by_role("tab", name="Launch")).to_have_attribute("aria-selected", "true")
    expect(page.locator("[id='f-scalarizer.name']")).to_have_value("static")
    expect(page.locator("#launch-yaml")).to_contain_text("steps: 24")


def test_a_run_that_goes_on_is_seen_to_go_on(app: App, tab: Watched):
    page = tab.page
    wb = Workbench(app.runs_dir)
    page.goto(f"{app.url}/?tab=launch&set=name%3Dwatched%0Asteps%3D60")
    page.get_by_role("button", name="Launch run").click()
    row = page.locator(".wb-runs tbody tr", has_text="watched")
    expect(row).to_contain_text("finished")
    page.wait_for_function(
        "document.querySelector('#runs-rewards .wb-plot').data?.[0]?.x.at(-1) === 59"
    )
    written = wb.run("watched").log()[0].rstrip()
    expect(page.locator(".wb-log[data-tail]")).to_have_text(written, use_inner_text=True)
    wb.delete("watched")


def test_unknown_things_in_an_address_are_said_and_lead_on(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=inspect&run=<b>gone</b>")
    expect(page.get_by_text("No run '<b>gone</b>' here")).to_be_visible()
    page.get_by_role("button", name="See all runs").click()
    expect(page.locator(".wb-runs")).to_be_visible()
    page.goto(f"{app.url}/?tab=inspect&run=maestro&prompt=nobody")
    expect(page.get_by_text("This prompt is not in this run")).to_be_visible()


WIDTHS = (1920, 1280, 800)
NAMELESS = """() => [...document.querySelectorAll('.wb-page :is(input, select, button)')]
    .filter(e => !(e.labels && [...e.labels].some(l => l.textContent.trim())) &&
        !e.getAttribute('aria-label') && !e.textContent.trim() && !e.title)
    .map(e => e.outerHTML.slice(0, 120))"""
FAINT = Path(__file__).with_name("contrast.js").read_text("utf-8").strip().removesuffix(";")


@pytest.mark.parametrize("name", DRAWN)
def test_a_page_fits_its_window_names_its_controls_and_can_be_read(app: App, tab: Watched, name):
    page = tab.page
    page.goto(f"{app.url}/?tab={name}&run=maestro")
    expect(page.locator(DRAWN[name]).first).to_be_visible()
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(FAINT) == []
    page.evaluate("document.body.classList.add('dark')")
    assert page.evaluate(FAINT) == []


COUNT = (
    "window.frames_asked = 0; const ask = window.requestAnimationFrame;"
    "window.requestAnimationFrame = (f) => { window.frames_asked += 1; return ask(f); };"
)


def frames_at_rest(page: Page, url: str) -> int:
    """Frames that a page asks for in two seconds, once it has been there for six."""
    page.add_init_script(COUNT)
    page.goto(url)
    expect(page.locator(".wb-vote").first).to_be_visible()
    page.wait_for_timeout(6000)
    before = page.evaluate("window.frames_asked")
    page.wait_for_timeout(2000)
    return page.evaluate("window.frames_asked") - before


def test_a_tab_at_rest_asks_for_next_to_no_frames(app: App, tab: Watched):
    """Gradio's loader alone would ask for 60 a second, for as long as the tab is open."""
    assert 0 <= frames_at_rest(tab.page, f"{app.url}/?tab=rate&run=maestro") <= 10


def test_gradio_alone_still_asks_for_frames_all_the_time(app: App, tab: Watched):
    """The same page without the script that stands first in it: when this fails, take it out."""

    def without(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(asset("frames.js"), ""))

    tab.page.route(re.compile(r"/\?tab="), without)
    assert frames_at_rest(tab.page, f"{app.url}/?tab=rate&run=maestro") > 20
