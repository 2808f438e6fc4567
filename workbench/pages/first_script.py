"""A script that a page runs before Gradio's own, which its ``head`` argument cannot do.

Gradio adds what it is given as ``head`` when its modules have been loaded. What they take from
the window while they load can only be changed in the page itself.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD = b"<head>"


class FirstScript:
    """Puts a script at the beginning of the head of every page that passes."""

    def __init__(self, app: ASGIApp, script: str) -> None:
        self.app = app
        self.tag = f"<script>{script}</script>".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything but a page goes through as it comes."""
        start: Message | None = None
        page = bytearray()

        async def send_with_script(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_page(message):
                start = message
                return
            if start is None or message["type"] != "http.response.body":
                await send(message)
                return
            page.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            body = bytes(page).replace(HEAD, HEAD + self.tag, 1)
            length = (b"content-length", str(len(body)).encode())
            headers = [h for h in start["headers"] if h[0].lower() != length[0]]
            await send({**start, "headers": [*headers, length]})
            await send({**message, "body": body})

        await self.app(scope, receive, send_with_script)


def _is_page(start: Message) -> bool:
    headers = {name.lower(): value for name, value in start.get("headers", ())}
    return headers.get(b"content-type", b"").startswith(b"text/html") and (
        headers.get(b"content-encoding", b"identity") == b"identity"
    )
