"""remote: rewards from an HTTP endpoint of one's own.

One request for each batch of rows::

    POST url
    {"prompts": ["..."], "completions": ["..."], "columns": {"reference": ["..."], "kind": ["..."]}}

    200
    {"rewards": [0.7]}          or the bare list; null: "does not apply to this row"

Prompts and completions are sent as they are: texts, or lists of chat messages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from workbench.objectives.http import Endpoint, Unusable


def make_remote(
    url: str,
    name: str = "remote",
    *,
    batch_size: int = 32,
    parallel: int = 4,
    timeout: float = 30.0,
    patience: float = 600.0,
    columns: Sequence[str] = ("reference", "kind", "prompt_id"),
    api_key: str | None = None,
) -> Callable[..., list[float | None]]:
    """An objective that asks ``url``.

    Args:
        url: Where to ask.
        name: Name of the objective, for messages.
        batch_size: Rows in one request.
        parallel: Requests in flight at once.
        timeout: Seconds until a request counts as lost.
        patience: Seconds of failing requests before the run gives up.
        columns: The example's columns that are sent along.
        api_key: Sent as ``Authorization: Bearer``; ``env:NAME`` in a configuration.

    Raises:
        ValueError: A setting is out of range, or ``url`` is no address.
    """
    if batch_size < 1 or parallel < 1:
        raise ValueError(f"objectives.{name}.params: batch_size and parallel must be at least 1")
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    endpoint = Endpoint(url, f"objective {name!r}", timeout, patience, headers)

    def remote(
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        **known: Any,
    ) -> list[float | None]:
        """Rewards from an HTTP endpoint."""
        sent = {column: known[column] for column in columns if column in known}

        def ask(start: int) -> list[float | None]:
            rows = slice(start, start + batch_size)
            payload = {
                "prompts": list(prompts[rows]),
                "completions": list(completions[rows]),
                "columns": {column: list(values[rows]) for column, values in sent.items()},
            }
            return endpoint.ask(payload, lambda found: _rewards(found, len(payload["prompts"])))

        with ThreadPoolExecutor(max_workers=parallel) as pool:
            parts = list(pool.map(ask, range(0, len(prompts), batch_size)))
        return [value for part in parts for value in part]

    return remote


def _rewards(found: Any, rows: int) -> list[float | None]:
    """The numbers of an answer. Raises Unusable."""
    values = found.get("rewards") if isinstance(found, dict) else found
    if not isinstance(values, list) or len(values) != rows:
        count = f"{len(values)} rewards" if isinstance(values, list) else "no list of rewards"
        raise Unusable(f"{count} for {rows} rows")
    for row, value in enumerate(values):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value)):
            raise Unusable(f"reward {row} is {value!r}, neither a finite number nor null")
    return values
