"""A JSON note to a URL of the user's when a run ends or warns; it can never stop the run."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

TIMEOUT = 5.0


def post(url: str, note: Mapping[str, Any]) -> str | None:
    """Send a note; returns what went wrong, None when it arrived."""
    if not url.startswith(("http://", "https://")):
        return f"{url!r} is not an http address"
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
        return f"{url}: {error}"
