"""Chat completions in a real browser: folded, opened on demand, merged, searched."""

import re

import pytest
from browser import App, Watched, start_app
from chat_world import HUGE, make_chats
from playwright.sync_api import expect

from workbench.api.workbench import Workbench

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    app = start_app(make_chats(tmp_path_factory.mktemp("chats") / "runs", runs=2, steps=3))
    yield app
    app.stop()


def test_a_long_completion_is_folded_and_opened_where_it_stands(chats: App, tab: Watched):
    page = tab.page
    page.goto(f"{chats.url}/?tab=inspect&run=chat-0&prompt=c0&step=3")
    rows = page.locator(".wb-group tbody tr:not(.wb-mean)")
    expect(rows).to_have_count(16)
    assert max(row.bounding_box()["height"] for row in rows.all()) < 140, "a few lines each"
    answer = rows.nth(1).locator("[data-text$=':answer']")
    assert len(answer.inner_text()) < 2000
    rows.nth(1).get_by_role("button", name="show all").click()
    page.wait_for_function(
        "n => document.querySelectorAll('.wb-group [data-text$=answer]')[1].textContent.length > n",
        arg=int(0.9 * HUGE),
    )
    page.get_by_label("standardised").check()  # the page is drawn anew: what was opened stays open
    expect(page).to_have_url(re.compile("std=1"))
    expect(rows.nth(1).locator(".wb-heat").first).to_have_text(re.compile("^[+−]"))
    assert len(answer.text_content()) > 0.9 * HUGE
    rows.nth(1).get_by_role("button", name="show less").click()
    assert len(answer.text_content()) < 2000


def test_the_same_text_stands_once_and_the_verdict_first(chats: App, tab: Watched):
    page = tab.page
    page.goto(f"{chats.url}/?tab=inspect&run=chat-0&prompt=c1&step=2")
    expect(page.locator(".wb-group tbody tr:not(.wb-mean)")).to_have_count(2)
    expect(page.locator(".wb-count")).to_have_text("7×")
    note, table = page.locator(".wb-note").first, page.locator(".wb-group")
    assert note.bounding_box()["y"] < table.bounding_box()["y"]
    page.get_by_label("each copy").check()
    expect(page.locator(".wb-group tbody tr:not(.wb-mean)")).to_have_count(8)
    page.locator(".wb-chat summary").click()
    expect(page.locator(".wb-message.system")).to_contain_text("a small public library")


def test_the_split_that_is_asked_for_stays(chats: App, tab: Watched):
    page = tab.page
    page.goto(f"{chats.url}/?tab=inspect&run=chat-0&prompt=c1&step=2")
    page.get_by_label("split", exact=True).select_option("probe")
    expect(page).to_have_url(re.compile("split=probe"))
    expect(page.locator(".wb-head").first).to_contain_text("· probe ·")
    expect(page.get_by_label("split", exact=True)).to_have_value("probe")


def test_a_search_marks_what_it_found(chats: App, tab: Watched):
    page = tab.page
    page.goto(f"{chats.url}/?tab=inspect&run=chat-0&prompt=c0&step=2&q=renew")
    expect(page.locator(".wb-prompts mark").first).to_have_text("renew")
    expect(page.locator(".wb-group mark").first).to_have_text(re.compile("renew", re.IGNORECASE))


def test_runs_are_sorted_picked_and_drawn_together(chats: App, tab: Watched):
    page = tab.page
    page.goto(f"{chats.url}/?tab=runs&run=chat-0")
    expect(page.locator("#runs-several .plot-container")).to_be_visible()
    page.get_by_role("button", name="held-out judge").click()
    expect(page).to_have_url(re.compile("rsort=-held"))
    page.get_by_label("draw chat-1").check()
    page.get_by_label("metrics", exact=True).fill("loss")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("metric=loss"))
    page.wait_for_function(
        "document.querySelector('#runs-several .wb-plot').data.map(t => t.name).join() === 'chat-1'"
    )
    expect(page.locator(".wb-hero")).to_contain_text("held-out prompts")


def test_a_judgement_counts_for_all_copies_of_a_text(chats: App, tab: Watched):
    page = tab.page
    wb = Workbench(chats.runs_dir)
    run = wb.resolve("chat-0")
    skipped = ",".join(
        sorted(set(wb.sql("SELECT DISTINCT group_id FROM rollouts WHERE prompt_id <> 'c1' "
                          "AND run_id = $run", {"run": run})["group_id"]))
    )  # fmt: skip
    page.goto(f"{chats.url}/?tab=rate&run=chat-0&rater=eve&mode=scores&skip={skipped}")
    expect(page.locator(".wb-score")).to_have_count(2)
    copies = page.locator(".wb-score", has=page.locator(".wb-count"))
    copies.get_by_label("grade 4").click()
    expect(copies.locator(".wb-switch.on")).to_have_text("4")
    marks = wb.annotations(run)
    assert (marks[marks["rater"] == "eve"]["score"] == 0.75).sum() == 7
    page.get_by_role("button", name="undo (u)").click()  # while the group is not done
    expect(copies.locator(".wb-switch.on")).to_have_count(0)
    assert len(wb.annotations(run).query("rater == 'eve'")) == 0
