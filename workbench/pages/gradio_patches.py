"""Everything that the pages change in Gradio 6, each with its reason and a test.

``tests/test_pages_gradio.py`` has one test for each that fails once Gradio no longer needs it.

* ``gr``: Gradio, imported without rewriting its type stubs.
* ``FirstScript``: a script of a page that runs before Gradio's own.
* ``SkippingBlocks``: outputs that an event skips cost nothing and leave nothing behind.
* ``calm``: an empty queue is not looked into a thousand times a second.
* ``UNPACKED``: answers to this machine itself are not compressed.
* ``SESSIONS``: how many tabs' state is kept.
"""

from __future__ import annotations

import inspect
import os
import sys
from copy import copy
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_getfile = inspect.getfile


def _no_file_for_stubs(thing: Any) -> str:
    """On import Gradio parses the source of each component, twice, to write ``.pyi`` files.

    That is two thirds of the time. A class without a source file is passed over, so for the length
    of the import Gradio is told that there is none.
    """
    if sys._getframe(1).f_globals.get("__name__") == "gradio.component_meta":
        raise OSError("no stubs are written here")
    return _getfile(thing)


inspect.getfile = _no_file_for_stubs
try:
    import gradio as gr
finally:
    inspect.getfile = _getfile

__all__ = ["SESSIONS", "UNPACKED", "FirstScript", "SkippingBlocks", "calm", "gr"]

HEAD = b"<head>"
QUEUE_SECONDS = 0.05
UNPACKED = (b"content-encoding", b"identity")
"""Compressing for the machine itself only costs time, and 5 MB of it block every other answer: an
encoding that is already named keeps Gradio from adding one."""
SESSIONS = 200
"""Tabs whose state is kept; Gradio keeps 10,000, of closed tabs too. One that was let go and comes
back is shown as if it had just been opened."""


def calm(blocks: gr.Blocks) -> None:
    """Let the queue rest: Gradio looks into it a thousand times a second while it is empty.

    Training would pay for that; only calls of the JSON API wait in it.
    """
    blocks._queue.sleep_when_free = QUEUE_SECONDS


class FirstScript:
    """Puts a script at the beginning of the head of every page that passes.

    Gradio adds what it is given as ``head`` when its modules have been loaded. What they take from
    the window while they load (``assets/frames.js``: animation frames, of which a loader that is
    off the page asks for 60 a second) can only be changed in the page itself.
    """

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


class SkippingBlocks(gr.Blocks):
    """Blocks that hand Gradio only those outputs of an event that have a value.

    Gradio answers a skipped output by building the component anew under a new id. The next value
    for that output then goes into the session's table under the new id, where it stays, so a page
    that is watched live keeps some of its values for good: 5 kB a step of a run, for every tab.
    """

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """What the browser is sent for each output; a skipped one is an update of nothing."""
        if not isinstance(predictions, (list, tuple)) or len(block_fn.outputs) < 2:
            return await super().postprocess_data(block_fn, predictions, state)
        self.validate_outputs(block_fn, list(predictions))
        given = [i for i, value in enumerate(predictions) if not _skipped(value)]
        answer = [None if block.stateful else gr.skip() for block in block_fn.outputs]
        if not given:
            return answer
        fewer = copy(block_fn)
        fewer.outputs = [block_fn.outputs[i] for i in given]
        values: Any = [predictions[i] for i in given]
        if len(given) == 1:
            (values,) = values
        sent = await super().postprocess_data(fewer, values, state)
        for i, value in zip(given, sent, strict=True):
            answer[i] = value
        return answer


def _skipped(value: Any) -> bool:
    return isinstance(value, dict) and value == gr.skip()
