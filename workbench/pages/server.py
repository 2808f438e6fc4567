"""Serving the app: its looks, its own static files, and who may talk to it."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import plotly
from starlette.middleware import Middleware
from starlette.responses import FileResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench.pages.gradio_patches import (
    SESSIONS,
    UNPACKED,
    FirstScript,
    SkippingBlocks,
    calm,
    gr,
)
from workbench.pages.router import Router

LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]+)?")
"""A ``Host`` header: name or address, perhaps a port, nothing else."""
ROOT = re.compile(r"(https?://[^/\s]+)?/[^\s\"'<>]*")
"""A path, or an address with one, below which a proxy shows the app."""
PLOTLY_URL = f"/workbench/plotly/{plotly.__version__.replace('.', '-')}"

# Inline script and style are Gradio's; nothing may be fetched from, sent to or framed by others.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
]
NOTEBOOKS = "http://localhost:* http://127.0.0.1:* vscode-webview: vscode-file:"
"""Who else may show the app in a frame when a notebook opened it: Jupyter here, and VS Code."""


def asset(name: str) -> str:
    """The text of a file in ``pages/assets``."""
    return resources.files("workbench.pages").joinpath("assets", name).read_text("utf-8")


def theme() -> gr.themes.Base:
    """Neutral, dense, with the fonts that the machine already has."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]
    mono = ["ui-monospace", "SF Mono", "Menlo", "DejaVu Sans Mono", "monospace"]
    return gr.themes.Base(
        primary_hue="indigo", neutral_hue="slate", text_size="sm", font=fonts, font_mono=mono
    )


class Guard:
    """Answers only those who address this machine by its own name, from a page of its own.

    A browser that was lured to another site cannot use the app: a foreign ``Host`` (DNS rebinding)
    and a foreign ``Origin`` (cross-site request) are refused. Every answer carries ``HEADERS``.
    ``proxy`` is the one other host that a root path has named.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: tuple[str, ...] | None = LOOPBACK,
        frames: str = "",
        proxy: str = "",
    ) -> None:
        self.app = app
        self.hosts = hosts if hosts is None or not proxy else (*hosts, HOST.sub(r"\1", proxy))
        self.proxy = proxy
        policy = POLICY.replace(
            "frame-ancestors 'self'", f"frame-ancestors 'self' {frames}".strip()
        )
        self.headers = [(HEADERS[0][0], policy.encode()), *HEADERS[1:]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        own = (scope.get("client") or ("",))[0] in LOOPBACK
        extra = [*self.headers, UNPACKED] if own else self.headers

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message.get("headers", ())}
                more = [h for h in extra if h[0] not in present]
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        problem = self._problem({k.decode("latin-1"): v for k, v in scope["headers"]})
        if problem:
            refusal = PlainTextResponse(problem + "\n", status_code=403)
            await refusal(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def _problem(self, headers: dict[str, bytes]) -> str:
        host = headers.get("host", b"").decode("latin-1")
        name = HOST.fullmatch(host)
        if self.hosts is not None and (name is None or name[1].lower() not in self.hosts):
            return f"Host {host!r} is not this app"
        origin = headers.get("origin", b"").decode("latin-1")
        if origin and urlsplit(origin).netloc not in (host, self.proxy or host):
            return f"Origin {origin!r} is not this app"
        return ""


def _plotly(request: Any) -> FileResponse:
    path = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    cache = {"cache-control": "public, max-age=31536000, immutable"}
    return FileResponse(path, media_type="text/javascript", headers=cache)


class WorkbenchBlocks(SkippingBlocks):
    """Blocks that bring their own looks and routes to ``launch``.

    Attributes:
        router: answers the events of the one address.
    """

    router: Router

    frames = ""
    """Further pages that may show the app in a frame, as a content security policy names them."""

    def launch(self, *args: Any, **kwargs: Any) -> Any:
        """Launch as Gradio does, on 127.0.0.1 unless told otherwise.

        Takes Gradio's own arguments; what is not given comes from this app: theme, styles, the
        guard on Host and Origin, no share link, no footer. Where others can reach it, runs may
        name no function of their own, and no file but those in the runs directory, unless
        ``build_app`` was given lists.

        Raises:
            ValueError: a public address, or a share link, without ``auth``.
        """
        host = kwargs.setdefault("server_name", "127.0.0.1")
        hosts = LOOPBACK if host in LOOPBACK else None
        if hosts is None or kwargs.get("share"):
            if not (kwargs.get("auth") or kwargs.get("auth_dependency")):
                where = f"host {host!r}" if hosts is None else "a share link"
                raise ValueError(f"{where} is open to others: give --auth USER:PASSWORD")
            launcher = self.router.wb.launcher
            if launcher.allowed_functions is None:
                launcher.allowed_functions = ()
            if launcher.allowed_paths is None:
                launcher.allowed_paths = ()
        root = kwargs.get("root_path") or os.environ.get("GRADIO_ROOT_PATH", "")
        proxy = urlsplit(root).netloc.lower()
        own = {
            "routes": [Route(PLOTLY_URL, _plotly)],
            "middleware": [
                Middleware(Guard, hosts=hosts, frames=self.frames, proxy=proxy),
                Middleware(FirstScript, script=asset("frames.js")),
            ],
        }
        kwargs["app_kwargs"] = {**own, **(kwargs.get("app_kwargs") or {})}
        script = f"<script>{asset('workbench.js')}</script>"
        head = f'<meta name="wb-plotly" content="{PLOTLY_URL}">{script}'
        defaults = {
            "theme": theme(),
            "css": asset("workbench.css"),
            "head": head,
            "share": False,
            "footer_links": [],
            "run_history": False,
            "enable_monitoring": False,
            "ssr_mode": False,
            "mcp_server": False,
            "pwa": False,
            "state_session_capacity": SESSIONS,
        }
        for key, value in defaults.items():
            kwargs.setdefault(key, value)
        calm(self)
        return super().launch(*args, **kwargs)
