"""A JSON note to a URL of the user's when a run ends or warns; it can never stop the run."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 5.0


def post(url: str, note: Mapping[str, Any]) -> str | None:
    """Send a note; returns what went wrong, None when it arrived."""
    target = urlsplit(url)  # a webhook's path and query are its secret: they are never logged
    if target.scheme not in ("http", "https"):
        return "the address does not start with http:// or https://"
    request = urllib.request.Request(
        url,
        data=json.dumps(dict(note)).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT):
            return None
    except (OSError, ValueError) as error:
        return f"{target.hostname}: {error}"
