"""Call every function that a run names once, on one row with a made-up completion.

Other people's code is called in a process of its own, with a time limit, before anything starts::

    python -m workbench.runs.tryout < request.json

The answer is one JSON object on the last line: the problem of each key that has one. ``try_out``
asks it from outside.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

TRY_SECONDS = 60.0
"""Longest that all functions together may take, their imports included."""
TEXT = "This answer was made up to try the function out: 4."
TOKENS = [3, 4, 5, 6, 7, 8]
SHOWN = 300


@dataclass(frozen=True)
class Wanted:
    """One function to call: the key that names it, ``package.module:function``, its parameters."""

    key: str
    function: str
    params: Mapping[str, Any]


def try_out(
    wanted: Sequence[Wanted],
    prompt: Any,
    columns: Mapping[str, Any],
    steps: int,
    seconds: float = TRY_SECONDS,
) -> dict[str, str]:
    """What is wrong with each function, by its key; empty when all answer as they should.

    Args:
        wanted: The functions.
        prompt: Text or chat messages of one row.
        columns: The row's columns.
        steps: Policy updates of the run, for ``trainer_state``.
        seconds: The limit.
    """
    if not wanted:
        return {}
    request = {
        "functions": [[w.key, w.function, dict(w.params)] for w in wanted],
        "prompt": prompt if isinstance(prompt, str) else [dict(m) for m in prompt],
        "columns": dict(columns),
        "steps": steps,
    }
    command = [sys.executable, "-m", "workbench.runs.tryout"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request, default=str),
            capture_output=True,
            text=True,
            timeout=seconds,
            env=os.environ | {"HF_HUB_DISABLE_TELEMETRY": "1"},
        )
    except subprocess.TimeoutExpired:
        names = ", ".join(w.function for w in wanted)
        return {wanted[0].key: f"{names}: no answer within {seconds:g} s on one row"}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        return {wanted[0].key: f"calling {wanted[0].function!r} ended the process: {said[:SHOWN]}"}
    found: dict[str, str] = json.loads(lines[-1])
    return found


def made_up_scores(answered: bool) -> SimpleNamespace:
    """What a scoring pass finds, for one row of made-up tokens."""
    logps = np.linspace(-2.0, -0.5, len(TOKENS))
    return SimpleNamespace(
        hidden=np.zeros((1, 8), np.float32),
        token_logps=[logps],
        token_entropies=[-logps],
        truncated=np.array([False]),
        max_completion_length=2 * len(TOKENS),
        answer_logps=[logps[:3] if answered else None],
        reference_token_logps=[logps - 0.1],
        sampling_logps=None,
        policy_logp=np.array([logps.sum()]),
        behaviour_logp=np.array([logps.sum()]),
        reference_logp=np.array([logps.sum() - 0.6]),
        kl=np.array([0.01]),
        graph=None,
    )


def problem_of(key: str, name: str, params: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """What is wrong with one function; empty when it answers as it should."""
    from workbench.objectives import NEEDS, imported
    from workbench.objectives.signature import RewardRows, accepted, as_reward

    prompt, columns = request["prompt"], request["columns"]
    reply = TEXT if isinstance(prompt, str) else [{"role": "assistant", "content": TEXT}]
    state = SimpleNamespace(
        global_step=0, max_steps=request["steps"], epoch=0.0, log_history=[], is_training=True
    )
    rows = RewardRows(
        [prompt],
        [reply],
        [TOKENS],
        {column: [value] for column, value in columns.items()},
        {
            "scores": made_up_scores(columns.get("reference") is not None),
            "trainer_state": state,
            "log_metric": lambda name, value: None,
            "log_extra": lambda column, values: None,
        },
    )
    try:
        found = imported(name, key)
        asked = set(getattr(found, "needs", ()))  # optional, see workbench.objectives
        if not asked <= NEEDS:
            return f"{name!r}: needs {sorted(asked - NEEDS)} unknown; allowed are {sorted(NEEDS)}"
        function = as_reward(found, key)
        called = partial(function, **params) if params else function
        values = called(**accepted(called, rows.keywords))
        if inspect.iscoroutine(values):
            values = asyncio.run(values)
    except ValueError as error:
        return str(error).removeprefix(f"{key}: ")
    except Exception as error:  # whatever it raises is what it would raise in the run
        return f"{name!r} raised {type(error).__name__}: {error} (on one row, {TEXT!r})"[:SHOWN]
    counted = isinstance(values, Iterable) and isinstance(values, Sized)
    if not counted or isinstance(values, str | Mapping):
        return f"{name!r} returned a {type(values).__name__}; it must return a list"
    if len(values) != 1:
        return f"{name!r} returned {len(values)} values for 1 completion"
    value = next(iter(values))
    try:
        number = math.nan if value is None else float(value)
    except (TypeError, ValueError):
        number = math.inf
    if math.isinf(number):
        return f"{name!r} returned {value!r}, which is neither a finite number nor None"
    return ""


def main() -> int:
    """Read a request, answer it."""
    warnings.simplefilter("ignore", DeprecationWarning)  # the run itself says it once
    from workbench.config.credentials import resolve

    request = json.load(sys.stdin)
    answer, output = {}, sys.stdout
    sys.stdout = sys.stderr  # whatever a function prints is not the answer
    for key, name, params in request["functions"]:
        problem = problem_of(key, name, resolve(params), request)
        if problem:
            answer[key] = problem
    print(json.dumps(answer), file=output, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
