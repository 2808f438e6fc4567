"""Inspect as people use it: what it shows is what the store holds, and no text is ever markup."""

import re

import duckdb
import pytest
from browser import App, Watched, watch
from playwright.sync_api import Browser, expect

from workbench.analysis.queries import matrix
from workbench.api.workbench import Workbench
from workbench.core.advantages import aggregate
from workbench.formatting import num

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


POINT = """id => {
    const box = document.querySelector('#inspect-map .wb-plot');
    const { xaxis, yaxis } = box._fullLayout, at = box.getBoundingClientRect();
    for (const trace of box.data) {
        const i = (trace.customdata || []).findIndex((d) => d.prompt === id);
        if (i >= 0) return [at.x + xaxis._offset + xaxis.l2p(trace.x[i]),
                            at.y + yaxis._offset + yaxis.l2p(trace.y[i])];
    }
}"""
"""Where on the screen a prompt's point lies."""


def group_of(app: App, prompt: str, step: int, name: str = "maestro"):
    wb = Workbench(app.runs_dir)
    run = wb.resolve(name)
    rows = wb.rollouts(run, split="train", step=step, prompt_id=prompt)
    return wb, run, rows


def test_the_group_that_is_shown_is_the_one_in_the_store(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=inspect&run=maestro&prompt=p2&step=5")
    rows = page.locator(".wb-group tbody tr:not(.wb-mean)")
    expect(rows).to_have_count(8)
    _, _, stored = group_of(app, "p2", 5)
    for i, row in enumerate(stored.itertuples()):
        shown = rows.nth(i)
        assert shown.locator(".wb-text").inner_text().removesuffix(" ✂") == row.completion
        label = shown.locator(".wb-stack").get_attribute("aria-label")
        for name, weight in row.weights.items():
            assert f"{name} {num(weight)}" in label
        advantage = float(shown.locator("[data-advantage]").get_attribute("data-advantage"))
        assert advantage == pytest.approx(row.advantage, rel=1e-8)
        assert shown.locator(".wb-act").inner_text() == row.action


def test_markup_in_a_completion_is_text_and_runs_nothing(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=inspect&run=maestro&prompt=p0&step=3&shade=1")
    cell = page.locator(".wb-group tbody tr").first.locator(".wb-text")
    expect(cell).to_contain_text("<script>window.pwned=1</script>")
    expect(cell).to_contain_text("${window.pwned=1} {{constructor}}")
    expect(cell).to_contain_text("\\u202egnp.exe")
    expect(page.locator(".wb-prompts")).to_contain_text("my friend is sad <b>today</b>")
    assert page.evaluate("window.pwned") is None
    assert page.locator(".wb-group img, .wb-group script").count() == 0


def test_markup_in_a_log_is_text_and_runs_nothing(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=runs&run=maestro")
    log = page.locator(".wb-log[data-tail]")
    expect(log).to_contain_text("reward 0.40 <b>not bold</b>")
    expect(log).to_contain_text("<script>window.pwned=1</script> ${window.pwned=1} {{constructor}}")
    expect(log).to_contain_text("\\u202egnp.exe")
    assert page.evaluate("window.pwned") is None
    assert log.locator("*").count() == 0


def test_moving_a_slider_recomputes_the_advantages(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=inspect&run=maestro&prompt=p1&step=7")
    slider = page.get_by_role("slider", name="length")
    expect(slider).to_be_visible()
    slider.evaluate("e => { e.value = 1; e.dispatchEvent(new Event('input', {bubbles: true})); }")
    expect(page).to_have_url(re.compile(r"w=[^&]*1(?:%2C|,)"))
    asked = re.search(r"[?&]w=([^&]*)", page.url)[1].replace("%2C", ",")
    wb, run, rows = group_of(app, "p1", 7)
    step = wb.rollouts(run, split="train", step=7)
    names = list(rows["rewards"].iloc[0])
    weights = [[float(w) for w in asked.split(",")]] * len(step)
    total = sum(weights[0])
    _, wanted = aggregate(
        matrix(step["rewards"], names), [[w / total for w in row] for row in weights], 8
    )
    inside = (step["prompt_id"] == "p1").to_numpy()
    cells = page.locator(".wb-group [data-whatif]")
    expect(cells.first).to_have_attribute("data-whatif", f"{wanted[inside][0]:.9g}")
    shown = [float(c.get_attribute("data-whatif")) for c in cells.all()]
    assert shown == pytest.approx(wanted[inside].tolist(), rel=1e-7, abs=1e-9)
    flips = (wanted[inside] * rows["advantage"].to_numpy() < 0).sum()
    expect(page.locator(".wb-group td.wb-flip")).to_have_count(int(flips))


def test_another_scalarizer_can_be_asked(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=inspect&run=maestro&prompt=p1&step=7")
    page.get_by_label("another scalarizer").select_option("single:format")
    wb, run, _ = group_of(app, "p1", 7)
    step = wb.rollouts(run, split="train", step=7)
    _, wanted = aggregate(matrix(step["rewards"], ["format"]), [[1.0]] * len(step), 8)
    first = wanted[(step["prompt_id"] == "p1").to_numpy()][0]
    expect(page.locator(".wb-group [data-whatif]").first).to_have_attribute(
        "data-whatif", f"{first:.9g}"
    )


def test_a_point_of_the_weight_map_opens_its_prompt(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=inspect&run=maestro&prompt=p0&step=23")
    expect(page.locator("#inspect-map .scatterlayer .point").first).to_be_visible()
    page.locator("#inspect-map").scroll_into_view_if_needed()
    others = [p for p in ("p4", "p5") if page.evaluate(POINT, p)]
    assert others, "every prompt of the run is a point"
    x, y = page.evaluate(POINT, others[0])
    for shift in (3, 2, 1, 3, 2, 1):  # a chart answers a click on what the mouse has hovered over
        page.mouse.move(x - shift, y - shift)
        page.wait_for_timeout(100)
        page.mouse.click(x, y)
        if f"prompt={others[0]}" in page.url:
            break
    expect(page).to_have_url(re.compile(f"prompt={others[0]}"))
    expect(page.locator(".wb-head .q")).to_contain_text({"p4": "a hen", "p5": "is sad"}[others[0]])


def test_an_address_opens_the_same_view_for_somebody_else(app: App, browser: Browser, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=inspect&run=maestro")
    page.locator(".wb-prompt").nth(3).click()
    row = page.locator(".wb-group tbody tr").first
    expect(row).to_be_visible()
    page.get_by_label("standardised").check()
    expect(page).to_have_url(re.compile("std=1"))
    expect(row.locator(".wb-heat").first).to_have_text(re.compile("^[+−]"))  # z-scores have signs
    question = page.locator(".wb-head .q").inner_text()
    first = row.inner_text()
    other = watch(browser)
    other.page.goto(page.url)
    expect(other.page.locator(".wb-head .q")).to_have_text(question)
    expect(other.page.get_by_label("standardised")).to_be_checked()
    elsewhere = other.page.locator(".wb-group tbody tr").first
    expect(elsewhere).to_have_text(first, use_inner_text=True)
    page.reload()
    expect(page.locator(".wb-head .q")).to_have_text(question)
    page.go_back()
    expect(page.get_by_label("standardised")).not_to_be_checked()
    other.page.context.close()


def test_two_people_look_at_different_runs(app: App, browser: Browser, tab: Watched):
    other = watch(browser)
    tab.page.goto(f"{app.url}/?tab=inspect&run=maestro")
    other.page.goto(f"{app.url}/?tab=inspect&run=equal")
    for page, name in ((tab.page, "maestro"), (other.page, "equal")):
        page.locator(".wb-prompt").nth(2).click()
        expect(page.locator("#inspect-top select")).to_have_value(name)
    expect(tab.page.locator(".wb-group th", has_text="sampled emphasis")).to_have_count(1)
    expect(other.page.locator(".wb-group th", has_text="sampled emphasis")).to_have_count(0)
    other.page.context.close()


def test_the_keyboard_walks_through_prompts_and_steps(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=inspect&run=maestro&prompt=p0&step=23")
    expect(page.locator(".wb-prompt.sel")).to_have_count(1)
    first = page.locator(".wb-head .q").inner_text()
    page.keyboard.press("j")
    expect(page.locator(".wb-head .q")).not_to_have_text(first)
    page.keyboard.press("k")
    expect(page.locator(".wb-head .q")).to_have_text(first)
    page.keyboard.press("h")
    expect(page).to_have_url(re.compile("step=22"))
    expect(page.locator(".wb-head").first).to_contain_text("step 22")
    page.keyboard.press("l")
    expect(page).to_have_url(re.compile("step=23"))
    page.keyboard.press("/")
    page.keyboard.type("hen")
    expect(page).to_have_url(re.compile("q=hen"))


def test_filters_ask_the_store(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=inspect&run=maestro")
    page.get_by_label("kind", exact=True).select_option("story")
    expect(page.locator(".wb-foot").first).to_contain_text("of 24 groups")
    page.get_by_label("reward range").fill("format < 0.6")
    page.keyboard.press("Enter")
    wb = Workbench(app.runs_dir)
    count = len(
        wb.sql(
            "SELECT DISTINCT group_id FROM rollouts WHERE run_id = $run AND split = 'train' "
            "AND kind = 'story' AND rewards['format'] < 0.6",
            {"run": wb.resolve("maestro")},
        )
    )
    assert 0 < count < 24
    expect(page.locator(".wb-foot").first).to_contain_text(f"of {count} groups")
    page.get_by_label("reward range").fill("sweetness < 0.3")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("'sweetness' is unknown; there are")


def test_what_is_shown_can_be_taken_away(app: App, tab: Watched, tmp_path):
    page = tab.page
    page.goto(f"{app.url}/?tab=inspect&run=maestro&prompt=p0&step=3")
    with page.expect_download() as csv:
        page.get_by_role("button", name="CSV").click()
    with page.expect_download() as parquet:
        page.get_by_role("button", name="Parquet").click()
    csv.value.save_as(tmp_path / "rows.csv")
    parquet.value.save_as(tmp_path / "rows.parquet")
    _, _, stored = group_of(app, "p0", 3)
    read = duckdb.sql(f"FROM '{tmp_path}/rows.parquet'").df()
    assert read["advantage"].tolist() == stored["advantage"].tolist()
    text = (tmp_path / "rows.csv").read_text()
    assert text.count("\n") == 9
    assert "\n=" not in text and ",=" not in text, "no cell starts a formula"
