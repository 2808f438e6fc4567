"""Asking an HTTP endpoint for JSON: one that fails is waited for, and never answers for itself.

A request that is lost (no connection, time-out, status 408, 425, 429 or 5xx) or answered with
something unusable is sent again after 1, 2, 4 ... 60 seconds, as long as ``patience`` lasts; a
``Retry-After`` of the server is honoured. Other statuses (401, 404, ...) cannot mend themselves and
end the run at once. No reward is ever made up. Standard library only.
"""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from workbench.config.environment import stop_file

Answer = TypeVar("Answer")
AGAIN = frozenset({408, 425, 429})
LONGEST_PAUSE = 60.0
SHOWN = 200  # characters of a bad answer that an error quotes
LARGEST = 32 * 2**20  # bytes of an answer; more than that is no answer


class EndpointError(RuntimeError):
    """An endpoint that cannot be used; the text names it and what it did last."""


class StoppedWaiting(EndpointError):
    """The run was asked to stop while it waited for an endpoint."""


class Unusable(ValueError):
    """An answer that arrived and is not what was asked for."""


@dataclass(frozen=True)
class Endpoint:
    """One address that takes and gives JSON.

    Args:
        url: ``http://`` or ``https://``.
        what: Who asks, for messages: ``objective 'helpful'``.
        timeout: Seconds until a request counts as lost.
        patience: Seconds of failures in a row before giving up.
        headers: Further headers; they appear in no message.
        say: Prints a line to the log.
        spend: Called before every request, the repeated ones too; may raise to forbid it.
    """

    url: str
    what: str
    timeout: float = 30.0
    patience: float = 600.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    say: Callable[[str], None] = print
    spend: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError(f"{self.what}: {self.url!r} does not start with http:// or https://")

    def ask(self, payload: Any, read: Callable[[Any], Answer]) -> Answer:
        """Send ``payload`` until ``read`` makes something of the answer.

        Args:
            payload: Becomes the JSON body.
            read: Turns the decoded JSON into the result; raises Unusable when it cannot.

        Raises:
            EndpointError: The patience is spent, or the server says that asking again is useless.
            StoppedWaiting: The run was asked to stop in the meantime.
        """
        began, pause = time.monotonic(), 1.0
        while True:
            problem, wished = "", 0.0
            try:
                return read(self._post(payload))
            except urllib.error.HTTPError as error:
                with error:
                    problem = f"status {error.code}"
                    if error.code < 500 and error.code not in AGAIN:
                        said = error.read(SHOWN).decode("utf-8", "replace")
                        raise EndpointError(f"{self._name}: {problem}: {said!r}") from None
                wished = _seconds(error.headers.get("Retry-After"))
            except (OSError, http.client.HTTPException) as error:  # URLError and time-outs too
                problem = f"{type(error).__name__}: {error}"
            except Unusable as error:
                problem = f"an answer that cannot be used: {error}"
            spent = time.monotonic() - began
            wait = max(pause * random.uniform(0.75, 1.25), min(wished, LONGEST_PAUSE))
            if spent + wait > self.patience:
                raise EndpointError(
                    f"{self._name}: {problem}, still after {spent:.0f} s; resume the run when the "
                    "endpoint answers again"
                )
            self.say(f"{self._name}: {problem}; the run waits {wait:.0f} s and asks again")
            _wait(wait, self._name)
            pause = min(2 * pause, LONGEST_PAUSE)

    @property
    def _name(self) -> str:
        parts = urlsplit(self.url)  # a query may hold a secret
        return f"{self.what} at {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def _post(self, payload: Any) -> Any:
        self.spend()
        request = urllib.request.Request(
            self.url,
            data=json.dumps(payload).encode(),
            headers={"Content-Type": "application/json", **self.headers},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            body = response.read(LARGEST + 1)
        if len(body) > LARGEST:
            raise Unusable(f"it is longer than {LARGEST:,} bytes")
        try:
            return json.loads(body)
        except ValueError as error:
            raise Unusable(f"no JSON: {body[:SHOWN].decode('utf-8', 'replace')!r}") from error


def _seconds(header: str | None) -> float:
    """A ``Retry-After`` in seconds; 0 for none and for a date."""
    return float(header) if header is not None and header.strip().isdigit() else 0.0


def _wait(seconds: float, name: str) -> None:
    """Sleep, but not past the run's wish to stop."""
    stop = stop_file()
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if stop is not None and stop.exists():
            raise StoppedWaiting(f"stopped on request while {name} did not answer")
        time.sleep(min(0.2, left))
