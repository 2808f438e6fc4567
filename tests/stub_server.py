"""A local HTTP server that does what a list says, request by request, and then behaves."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[Any], Any]


@dataclass
class Stub:
    """What was asked, and what the next answers are.

    ``plan`` holds one entry for each coming request, used up in order: a status, ``slow`` (seconds
    of silence), ``hang up``, raw ``bytes``, or anything else, which is sent as JSON. When it is
    empty, ``answer`` makes the JSON from the request's.
    """

    answer: Answer
    url: str = ""
    plan: list[Any] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most: int = 0  # requests in flight at once
    now: int = 0
    lock: Any = field(default_factory=threading.Lock)


@contextmanager
def stub_server(answer: Answer, plan: Sequence[Any] = ()) -> Iterator[Stub]:
    """Serve on a free port of this machine until the block ends."""
    stub = Stub(answer, plan=list(plan))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with stub.lock:
                stub.seen.append(payload)
                stub.headers.append(dict(self.headers))
                stub.now += 1
                stub.most = max(stub.most, stub.now)
                step = stub.plan.pop(0) if stub.plan else None
            try:
                self._behave(step, payload)
            except BrokenPipeError:
                pass  # the client has stopped waiting, as it should
            finally:
                with stub.lock:
                    stub.now -= 1

        def _behave(self, step: Any, payload: Any) -> None:
            if isinstance(step, tuple) and step[0] == "slow":
                time.sleep(step[1])
                step = None
            if step == "hang up":
                self.close_connection = True
                return
            if isinstance(step, int):
                self.send_response(step)
                self.end_headers()
                self.wfile.write(b"the stub is in a mood")
                return
            found = stub.answer(payload) if step is None else step
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
