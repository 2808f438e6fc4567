"""Who can reach the app, and what those who can may start."""

from __future__ import annotations

import gradio as gr
import pytest
from starlette.testclient import TestClient

from workbench.config.io import ConfigError
from workbench.pages import launch
from workbench.pages.app import build_app, publish
from workbench.pages.server import Guard
from workbench.pages.serving import serve

OPEN = ["0.0.0.0", "::", "", "192.168.0.7", "example.org", "127.0.0.1.example.org", "localhost."]


@pytest.mark.parametrize("host", OPEN)
def test_a_public_bind_needs_a_password_by_whatever_door(tmp_path, host):
    with pytest.raises(ValueError, match="give --auth USER:PASSWORD"):
        serve(tmp_path, host=host)
    with pytest.raises(ValueError, match="give --auth USER:PASSWORD"):
        build_app(tmp_path).launch(server_name=host)


def test_a_share_link_needs_a_password(tmp_path):
    with pytest.raises(ValueError, match="a share link is open to others"):
        build_app(tmp_path).launch(share=True)


def launched(monkeypatch, tmp_path, allowed=None, **options):
    """What would be launched, without opening a port."""
    told = {}
    monkeypatch.setattr(gr.Blocks, "launch", lambda self, *a, **k: told.update(k))
    app = build_app(tmp_path, allowed)
    app.launch(**options)
    return app, told


def test_it_binds_to_this_machine_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setenv("GRADIO_SHARE", "True")
    app, told = launched(monkeypatch, tmp_path)
    assert (told["server_name"], told["share"]) == ("127.0.0.1", False)
    assert app.router.wb.launcher.allowed_functions is None
    assert app.router.wb.launcher.allowed_paths is None


@pytest.mark.parametrize("how", [{"server_name": "0.0.0.0"}, {"share": True}])
def test_where_others_come_in_no_function_may_be_named(monkeypatch, tmp_path, how):
    app, _ = launched(monkeypatch, tmp_path, auth=[("ann", "pw")], **how)
    wb = app.router.wb
    own = [{"name": "x", "function": "os:system", "lower": 0, "upper": 1}]
    with pytest.raises(ConfigError, match="'os:system' may not be used: none is allowed here"):
        wb.start({"objectives": own})
    with pytest.raises(ConfigError, match="code of models is not allowed here"):
        wb.start({"policy": {"trust_remote_code": True}})
    assert not list(tmp_path.glob("2*"))
    app, _ = launched(monkeypatch, tmp_path, ["mine.*"], auth=[("ann", "pw")], **how)
    assert app.router.wb.launcher.allowed_functions == ["mine.*"]


@pytest.mark.parametrize("how", [{"server_name": "0.0.0.0"}, {"share": True}])
def test_where_others_come_in_no_file_of_the_machine_may_be_named(monkeypatch, tmp_path, how):
    secret = tmp_path / "home" / "salaries.csv"
    secret.parent.mkdir()
    table = "prompt,reference\n" + "".join(f"{{who}} {i},{i}\n" for i in range(30))
    secret.write_text(table.format(who="Hopper"))
    runs = tmp_path / "runs"
    app, _ = launched(monkeypatch, runs, auth=[("ann", "pw")], **how)
    wb = app.router.wb
    page = {"set": f"task.name=file\ntask.path={secret}"}
    shown = "".join(map(str, launch.show(wb, page, frozenset())))
    assert "may not be used" in shown and "Hopper" not in shown
    for config in (
        {"task": {"name": "file", "path": str(secret)}},
        {"task": {"name": "file", "path": str(tmp_path / "nothing.csv")}},  # it cannot be told
        {"policy": {"model": str(secret.parent)}},
        str(secret.parent / "config.yaml"),
    ):
        with pytest.raises(ConfigError, match=f"may not be used: allowed is what lies in {runs}"):
            wb.start(config)
    link = runs / "uploads" / "link.csv"
    link.parent.mkdir(parents=True)
    link.symlink_to(secret)
    with pytest.raises(ConfigError, match="may not be used"):
        wb.start({"task": {"name": "file", "path": str(link)}})
    assert not list(runs.glob("2*"))
    link.unlink()
    link.write_text(table.format(who="Lovelace"))
    page["set"] = f"task.name=file\ntask.path={link}"
    assert "Lovelace" in "".join(map(str, launch.show(wb, page, frozenset())))
    wb.launcher.allowed_paths = [secret.parent]
    page["set"] = f"task.name=file\ntask.path={secret}"
    assert "Hopper" in "".join(map(str, launch.show(wb, page, frozenset())))


def test_the_json_api_is_behind_the_same_list(tmp_path):
    with gr.Blocks() as blocks:
        wb = build_app(tmp_path, ()).router.wb
        publish(wb)
    (start,) = [f for f in blocks.fns.values() if f.api_name == "start"]
    for config in ({"objectives": [{"name": "x", "function": "subprocess:run"}]},
                   {"policy": {"trust_remote_code": True}}):  # fmt: skip
        with pytest.raises(ConfigError, match="not allowed here|none is allowed here"):
            start.fn(config)


async def _inner(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "localhost.evil.example"},
        {"host": "127.0.0.1@evil.example"},
        {"host": "evil.example:7860#127.0.0.1"},
        {"host": "[::1].evil.example"},
        {"host": "127.1"},
        {"host": "2130706433"},
        {"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:7860.evil.example"},
        {"host": "127.0.0.1:7860", "origin": "http://localhost:7860"},
        {"host": "127.0.0.1:7860", "origin": "file://"},
        {"host": "127.0.0.1:7860", "origin": "null"},
        {"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:7860@evil.example"},
    ],
    ids=lambda h: " from ".join(h.values()),
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_strangers_are_turned_away(headers, method):
    client = TestClient(Guard(_inner), base_url="http://127.0.0.1:7860")
    answer = client.request(method, "/gradio_api/call/start", headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
