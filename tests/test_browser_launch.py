"""From a click to a weight: a real child process, started, watched, stopped and resumed."""

import json
import re
import time
from pathlib import Path

import psutil
import pytest
from browser import App, Watched, start_app
from playwright.sync_api import Page, expect

from workbench.api.workbench import Workbench
from workbench.runs import rundir

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


# as a person does, by its summary: what was opened so stays open when the form is drawn anew
UNFOLD = """field => {
  for (let fold = field.closest("details"); fold; fold = fold.parentElement.closest("details"))
    if (!fold.open) fold.querySelector("summary").click();
}"""


def fill(page: Page, key: str, text: str) -> None:
    """Type into a field of the form and leave it."""
    field = page.locator(f"[id='f-{key}']")
    field.evaluate(UNFOLD)
    field.fill(text)
    field.press("Tab")


def test_a_run_started_by_a_click_shows_its_weights_on_inspect(tmp_path, tab: Watched):
    """The whole chain: form, child process with the real trainer, store, page."""
    app = start_app(tmp_path / "runs")
    try:
        page = tab.page
        page.goto(app.url)
        expect(page.get_by_role("tab", name="Launch")).to_have_attribute("aria-selected", "true")
        fill(page, "name", "first")
        fill(page, "steps", "2")
        fill(page, "evaluation.prompts", "0")
        fill(page, "probe.prompts", "7")
        command = page.locator("#launch-command")
        expect(command).to_contain_text("--set probe.prompts=7")
        page.get_by_role("button", name="Launch run").dblclick()
        row = page.locator(".wb-runs tbody tr")
        expect(row).to_contain_text("first")
        expect(row).to_contain_text("finished", timeout=180_000)
        expect(row).to_have_count(1)
        expect(page.locator("#runs-rewards .plot-container")).to_be_visible()
        page.get_by_role("button", name="Inspect").click()
        expect(page.locator(".wb-group tbody tr:not(.wb-mean)")).to_have_count(8)
        wb = Workbench(app.runs_dir)
        assert wb.config("first").steps == 2
        query = dict(part.split("=") for part in page.url.partition("?")[2].split("&"))
        stored = wb.rollouts("first", step=int(query["step"]), prompt_id=query["prompt"])
        shown = page.locator(".wb-group tbody .wb-stack i").first
        name, _, number = shown.get_attribute("title").rpartition(" ")
        assert float(number) == pytest.approx(stored["weights"].iloc[0][name], abs=0.005)
    finally:
        app.stop()


def test_a_wrong_value_is_refused_beside_its_field(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=launch")
    fill(page, "steps", "-3")
    field = page.locator("[id='f-steps']")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[id='f-steps-error']")).to_contain_text("-3")
    expect(page.get_by_role("button", name="Launch run")).to_be_disabled()
    fill(page, "steps", "12")
    expect(page.get_by_role("button", name="Launch run")).to_be_enabled()
    expect(page.locator("#launch-yaml")).to_contain_text("steps: 12")
    page.reload()
    expect(page.locator("[id='f-steps']")).to_have_value("12")


def test_a_task_file_of_ones_own_is_handed_over_and_previewed(app: App, tab: Watched, tmp_path):
    rows = [{"prompt": f"name {i} <b>rivers</b>", "kind": "lists"} for i in range(40)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    page = tab.page
    page.goto(f"{app.url}/?tab=launch")
    page.locator("[data-section=task] > summary").click()
    page.get_by_label("your own prompts").set_input_files(tmp_path / "mine.jsonl")
    preview = page.locator("#launch-result")
    expect(preview).to_contain_text("rivers</b>")
    expect(preview).to_contain_text("to train")
    expect(page.locator("[data-section=task]")).to_have_attribute("open", "")
    kept = Path(page.locator("[id='f-task.path']").input_value())
    assert kept.parent == app.runs_dir / "uploads"
    assert kept.read_bytes() == (tmp_path / "mine.jsonl").read_bytes()
    expect(page.get_by_role("button", name="Launch run")).to_be_enabled()


def test_choosing_another_scalarizer_brings_its_own_fields(app: App, tab: Watched):
    page = tab.page
    page.goto(f"{app.url}/?tab=launch")
    page.get_by_label("scalarizer", exact=True).select_option("random")
    expect(page.locator("[id='f-scalarizer.concentration']")).to_have_value("1.0")
    expect(page.locator("[id='f-scalarizer.emphasis']")).to_have_count(0)
    expect(page.locator("#launch-command")).to_contain_text("scalarizer.name=random")


def test_the_app_can_be_restarted_under_a_run_and_the_run_stopped_and_resumed(
    tmp_path, tab: Watched
):
    slow = {"FAKE_STEP": "0.2"}
    app = start_app(tmp_path / "runs", fake=True, **slow)
    page = tab.page
    page.goto(f"{app.url}/?tab=launch&set=name%3Dlong%0Asteps%3D400")
    page.get_by_role("button", name="Launch run").click()
    row = page.locator(".wb-runs tbody tr")
    expect(row).to_contain_text(re.compile(r"running.*[1-9]\d*/400", re.S))
    run_dir = next(rundir.run_dirs(app.runs_dir))
    child = rundir.read_process(run_dir)
    assert app.stop() == 0
    assert psutil.pid_exists(child["pid"]), "the run outlives the app"

    again = start_app(tmp_path / "runs", fake=True, **slow)
    try:
        page.goto(f"{again.url}/?tab=runs&run=long")
        expect(row).to_contain_text("running")
        page.get_by_role("button", name="Stop").click()
        expect(row).to_contain_text("stopped")
        _gone(child["pid"])
        page.get_by_role("button", name="Resume").click()
        expect(row).to_contain_text("running")
        wb = Workbench(again.runs_dir)
        wb.stop("long", wait=True)
        expect(row).to_contain_text("stopped")
        page.get_by_role("button", name="Delete").click()
        page.locator(".wb-dialog").get_by_role("button", name="Delete").click()
        expect(page.get_by_text("No runs yet")).to_be_visible()
        assert list(rundir.run_dirs(again.runs_dir)) == []
    finally:
        again.stop()


def _gone(pid: int) -> None:
    """Wait until no process of that number is left but perhaps a zombie of ours."""
    for _ in range(300):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} is still there")
