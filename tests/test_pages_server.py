"""Who may talk to the app, what it sends along, and what it must never import."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from browser import App
from starlette.testclient import TestClient

from workbench.pages.page import parse_view
from workbench.pages.server import Guard
from workbench.pages.serving import serve

with_app = pytest.mark.xdist_group("browser")
"""Tests of the running app share one with the browser tests."""


async def _inner(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


@pytest.fixture
def guarded() -> TestClient:
    return TestClient(Guard(_inner), base_url="http://127.0.0.1:7860")


def test_a_proxy_that_a_root_path_names_is_answered():
    """It hands on its own Host, or its own Origin; another one is refused as ever."""
    client = TestClient(
        Guard(_inner, proxy="hub.example.com:8443"), base_url="http://hub.example.com:8443"
    )
    origin = {"Origin": "https://hub.example.com:8443"}
    assert client.get("/", headers=origin).status_code == 200
    assert client.get("/", headers=origin | {"Host": "127.0.0.1:7860"}).status_code == 200
    assert client.get("/", headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize("root", ["wb", "hub.example.com/wb", "/w b", '/"'])
def test_a_root_path_that_is_none_is_refused(tmp_path, root):
    with pytest.raises(ValueError, match="write /PATH or https://HOST/PATH"):
        serve(tmp_path, root_path=root)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "localhost"])
def test_this_machines_own_names_are_answered(guarded, host):
    assert guarded.get("/", headers={"host": host}).text == "fine"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:7860", "10.0.0.5", ""])
def test_a_foreign_host_is_refused(guarded, host):
    """DNS rebinding: a name that leads here is not a name of ours."""
    answer = guarded.get("/", headers={"host": host})
    assert (answer.status_code, "is not this app" in answer.text) == (403, True)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://localhost:9999", "null", "https://127.0.0.1:1"]
)
def test_a_foreign_origin_is_refused(guarded, origin):
    assert guarded.post("/", headers={"origin": origin}).status_code == 403


def test_our_own_origin_is_answered(guarded):
    answer = guarded.post("/", headers={"origin": "http://127.0.0.1:7860"})
    assert answer.status_code == 200
    assert "connect-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_public_address_needs_a_password(tmp_path):
    with pytest.raises(ValueError, match="open to others"):
        serve(tmp_path, host="0.0.0.0")


@with_app
def test_the_running_app_is_guarded(app: App):
    request = urllib.request.Request(app.url, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request)
    page = urllib.request.urlopen(app.url).read().decode()
    for stranger in ("googleapis", "cdnjs", "jsdelivr", "huggingface.co/"):
        assert f'src="https://{stranger}' not in page


@with_app
@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/file=/etc/passwd",
        "/workbench/plotly/..%2f..%2f..%2fetc%2fpasswd",
        "/static/..%2f..%2f..%2fetc%2fpasswd",
    ],
)
def test_no_file_of_the_machine_is_served(app: App, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(app.url + path)
    assert refused.value.code in (403, 404)


@with_app
def test_no_file_of_the_runs_is_served(app: App):
    config = next(app.runs_dir.glob("*/config.yaml"))
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{app.url}/gradio_api/file={config}")


def test_pages_import_no_training_library():
    code = (
        "import sys, json, workbench.api, workbench.pages.app, workbench.pages.server; "
        "print(json.dumps([m for m in ('torch', 'trl', 'transformers', 'datasets') "
        "if m in sys.modules]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == []


def test_an_address_is_short_text_and_nothing_else():
    raw = {
        "tab": "inspect",
        "run": "a",
        "step": 3,
        "x": None,
        "y": {"z": 1},
        "q": "",
        "n": "a" * 9999,
    }
    view = parse_view(raw)
    assert view == {"tab": "inspect", "run": "a", "step": "3", "n": "a" * 4000}
    assert parse_view("nonsense") == {}


@with_app
def test_the_json_api_starts_and_follows_a_run(app: App):
    from gradio_client import Client

    client = Client(app.url, verbose=False, analytics_enabled=False)
    run_id = client.predict({"name": "by-api", "steps": 3}, api_name="/start")
    for _ in range(200):
        state = client.predict(run_id, api_name="/state")
        if state["status"] == "finished":
            break
    assert (state["status"], state["step"], state["name"]) == ("finished", 3, "by-api")
    assert "by-api" in [r["name"] for r in client.predict(api_name="/runs")]


def test_a_page_of_another_package_is_a_tab_and_an_address(tmp_path, monkeypatch):
    """One entry point: its tab stands last, its address is kept, its widgets are filled."""
    from workbench.pages import app
    from workbench.pages.page import Page, html

    def build(wb):
        return Page("notes", [html("notes-all")], lambda wb, view, changed: ["<p>here</p>"])

    own = app.PAGES.usable()
    monkeypatch.setattr(app, "PAGES", SimpleNamespace(usable=lambda: own | {"notes": build}))
    router = app.build_app(tmp_path / "runs").router
    assert list(router.pages)[-1] == "notes"

    class Event:
        view, changed, n = {"tab": "notes"}, ["tab"], 1

    answer, tabs, _, *values, notices = router.go(Event())
    assert answer["view"]["tab"] == tabs.selected == "notes"
    assert values[-1] == "<p>here</p>"


def test_a_page_that_fails_says_why_in_its_first_part(tmp_path, monkeypatch):
    from dataclasses import replace

    from workbench.pages.app import build_app

    router = build_app(tmp_path / "runs").router

    def broken(wb, view, changed):
        raise ValueError("segment <1> is damaged")

    router.pages["runs"] = replace(router.pages["runs"], show=broken)

    class Event:
        view, changed, n = {"tab": "runs"}, ["tab"], 1

    answer, _, _, *values = router.go(Event())
    assert answer["bad"] and "segment <1> is damaged" in answer["toast"]
    assert any(isinstance(v, str) and "segment &lt;1&gt; is damaged" in v for v in values)
