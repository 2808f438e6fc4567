"""What runs, groups and comparisons look like in a cell; a live kernel follows a live run."""

import re
import urllib.request
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

import nbformat
import pandas as pd
import pytest
from browser import free_port
from nbclient import NotebookClient
from playwright.sync_api import expect

from workbench.analysis.comparison import compare, win_sentences
from workbench.analysis.display import Group, RunTable, in_notebook, run_html, stack
from workbench.api.workbench import Workbench
from workbench.pages import serve
from workbench.runs.rundir import RunInfo

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202e"
NAMES = ("format", "length")


def group() -> Group:
    rows = [
        {
            "kind": "story", "step": 3, "split": "train", "prompt": f"tell {ATTACK}",
            "completion": f"text {i} {ATTACK}", "truncated": i == 1, "action": ("format", None)[i],
            "weights": {"format": 0.75, "length": 0.25}, "rewards": {"format": 1.0, "length": 0.5},
            "advantage": (1.25, -1.25)[i], "judge": float("nan"),
        }
        for i in range(2)
    ]  # fmt: skip
    return Group(rows)


def test_this_is_no_notebook():
    assert not in_notebook()


def test_a_group_shows_text_as_text():
    html = group()._repr_html_()
    assert "<script" not in html and "<img" not in html and "\u202e" not in html
    assert html.count("&lt;script&gt;") == 3  # the prompt and two completions
    assert "\\u202e" in html  # a character that would turn the line around is spelled out


def test_a_group_shows_weights_in_words_and_advantages_with_sign():
    html = group()._repr_html_()
    assert "flex:0.7500" in html and "<small>format 0.75</small>" in html
    assert "+1.25" in html and "−1.25" in html
    assert html.count("✂") == 1 and ">emphasis<" in html
    assert ">judge<" not in html  # nobody asked the judge
    judged = Group(group().assign(judge=0.5))
    assert ">judge<" in judged._repr_html_()


def test_what_is_cut_out_of_a_group_is_an_ordinary_frame():
    cut = group()[["completion", "advantage"]]
    assert type(cut) is pd.DataFrame and "text 0" in cut.to_html()
    assert type(group().head(1)) is pd.DataFrame
    assert "No completions" in Group(group().iloc[:0])._repr_html_()


def test_a_bar_leads_with_its_largest_weight_and_survives_what_is_not_known():
    assert "<small>b 0.7</small>" in stack({"a": 0.3, "b": 0.7}, {"a": "#111111", "b": "#222222"})
    assert stack({"a": float("nan")}, {"a": "#111111"}) == "–"


def test_runs_show_their_progress(tmp_path):
    info = RunInfo("20240101-000000-abcd", "<b>mine</b>", "running", step=3, steps=12)
    html = run_html(info)
    assert '<progress value="3" max="12">' in html and "&lt;b&gt;mine&lt;/b&gt;" in html
    table = RunTable([info.as_dict()])
    assert '<progress value="3" max="12">' in table._repr_html_()
    assert "No runs yet" in Workbench(tmp_path).runs()._repr_html_()
    assert "step" not in RunTable(table[["name", "status"]])._repr_html_()


def evaluation(judges: list[float], sample: str) -> pd.DataFrame:
    rows = [
        {
            "prompt_id": f"p{i}", "kind": "x", "prompt": f"q{i}", "reference": None,
            "completion": sample, "judge": judge, "rewards": {"format": judge, "length": 0.5},
        }
        for i, judge in enumerate(judges)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_comparison_says_who_wins_and_whether_it_could_be_chance():
    found = compare({"a": evaluation([0.2] * 30, "x"), "b": evaluation([0.5] * 30, "y")})
    assert win_sentences(found) == [
        "b is ahead of a by 0.300 of the judge (95 %: 0.300 to 0.300), with 100 % of the prompts "
        "won: a clear difference."
    ]
    even = compare({"a": evaluation([0.2, 0.6], "x"), "b": evaluation([0.6, 0.2], "y")})
    (sentence,) = win_sentences(even)
    assert sentence.startswith("a is ahead of b by 0.000") and sentence.endswith("could be chance.")
    assert "<b>0.5</b>" in found._repr_html_()
    assert repr(found) == "Comparison(a, b; 30 prompts)"
    sides = {name: evaluation([0.1 * i] * 4, "x") for i, name in enumerate("abcd")}
    many = compare(sides)
    assert len(win_sentences(many)) == 6 and len(win_sentences(many, "a")) == 3
    assert many._repr_html_().count(" is ahead of ") == 3


def test_texts_stand_side_by_side_and_whole():
    long = "word " * 40 + "<b>end</b>"
    found = compare({"a": evaluation([0.2, 0.3], long), "b": evaluation([0.5, 0.5], "y")})
    texts = found.side_by_side()
    assert list(texts.columns) == ["prompt", "a", "b"] and list(texts.index) == ["x"]
    assert "&lt;b&gt;end&lt;/b&gt;" in texts._repr_html_() and "<b>end" not in texts._repr_html_()
    assert len(found.side_by_side(per_kind=2)) == 2 and found.side_by_side("z").empty


CELLS = """
import sys
from workbench import Workbench
wb = Workbench({runs!r}, command=[sys.executable, {child!r}])
run = wb.start({{"name": "live", "steps": 30}})
run
%%
info = run.wait()
print(info.status)
%%
wb.runs()
%%
app = wb.app(port={port})
app.close(verbose=False)
print(type(app).__name__)
"""


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A notebook that started a run, watched it, and opened the app."""
    runs = tmp_path_factory.mktemp("live") / "runs"
    child = str(Path(__file__).with_name("cli_child.py"))
    source = CELLS.format(runs=str(runs), child=child, port=free_port())
    cells = [nbformat.v4.new_code_cell(part.strip()) for part in source.split("%%")]
    book = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(book, timeout=240, startup_timeout=240, kernel_name="python3").execute()
    return book


def html_of(cell: nbformat.NotebookNode) -> str:
    return "".join(o.get("data", {}).get("text/html", "") for o in cell.outputs)


def test_a_handle_follows_its_run_while_the_notebook_goes_on(lived):
    # the first cell's display was made before the run had ended, and was told of its end
    assert html_of(lived.cells[0]).count("<progress") == 1
    assert "step 30 of 30" in html_of(lived.cells[0])
    assert "finished" in html_of(lived.cells[1])
    assert "finished" in lived.cells[1].outputs[-1]["text"]
    assert "<b>live</b>" in html_of(lived.cells[2])


def test_the_app_opens_below_a_cell(lived):
    assert re.search(r'<iframe src="http://127\.0\.0\.1:\d+', html_of(lived.cells[3]))
    assert "WorkbenchBlocks" in lived.cells[3].outputs[-1]["text"]


def frame_policy(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        return answer.headers["content-security-policy"].rpartition("frame-ancestors ")[2]


@pytest.mark.browser
def test_an_app_opened_by_a_notebook_shows_inside_its_page(tmp_path, browser):
    running = serve(tmp_path / "runs", port=free_port(), block=False, embed=True)
    (tmp_path / "index.html").write_text(f'<iframe src="{running.local_url}" height=700></iframe>')

    def handler(*args):
        return SimpleHTTPRequestHandler(*args, directory=str(tmp_path))

    with HTTPServer(("127.0.0.1", free_port()), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        try:
            page.goto(f"http://localhost:{server.server_port}/")
            frame = page.frame_locator("iframe")
            expect(frame.get_by_role("tab", name="Launch")).to_be_visible()
        finally:
            page.close()
            server.shutdown()
            running.close(verbose=False)


@pytest.mark.browser
def test_any_other_app_shows_inside_no_page_but_its_own(app):
    assert frame_policy(app.url) == "'self'"
