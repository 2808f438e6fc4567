"""Who may talk to the app, what it sends along, and what it must never import."""

import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from browser import App
from starlette.testclient import TestClient

from workbench.pages.first_script import FirstScript
from workbench.pages.page import parse_view
from workbench.pages.server import Guard, plotly_address, serve

with_app = pytest.mark.xdist_group("browser")
"""Tests of the running app share one with the browser tests."""


async def _inner(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


@pytest.fixture
def guarded() -> TestClient:
    return TestClient(Guard(_inner), base_url="http://127.0.0.1:7860")


def _answering(kind, *parts, **headers):
    named = [(b"content-type", kind), *((k.encode(), v.encode()) for k, v in headers.items())]

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": named})
        for i, part in enumerate(parts):
            more = i + 1 < len(parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})

    return TestClient(FirstScript(app, "1 < 2"))


def test_a_page_gets_its_script_before_all_others():
    """In two parts, as it may come; the length is that of what is sent."""
    page = b"<html><head><script>2</script></head><body>\xc3\xa9 <head></body></html>"
    client = _answering(b"text/html; charset=utf-8", page[:9], page[9:], **{"content-length": "1"})
    answer = client.get("/")
    wanted = page.decode().replace("<head>", "<head><script>1 < 2</script>", 1)
    assert (answer.text, int(answer.headers["content-length"])) == (wanted, len(answer.content))


@pytest.mark.parametrize(
    ("kind", "headers"), [(b"application/json", {}), (b"text/html", {"content-encoding": "x"})]
)
def test_what_is_no_page_or_is_packed_goes_through_as_it_comes(kind, headers):
    assert _answering(kind, b"<he", b"ad>", **headers).get("/").content == b"<head>"


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


@pytest.mark.parametrize(
    ("root", "found"),
    [
        (None, "workbench/plotly/"),
        ("/wb", "/wb/workbench/plotly/"),
        ("https://hub.example.com/a/wb/", "/a/wb/workbench/plotly/"),
    ],
)
def test_charts_are_asked_for_below_the_path_of_a_proxy(root, found):
    assert plotly_address(root or "").startswith(found)


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
    assert parse_view({"tab": "../etc"}) == {}
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
