"""What many tabs watch is read once: the list of runs, their marks, and the curves of a live run.

Read-only copies of what the store and the run directories say, at most ``FRESH`` seconds old; no
tab's own state is here. A live run's curves grow by the steps that are new since the last look.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import pandas as pd

from workbench.analysis import queries
from workbench.api.workbench import Workbench
from workbench.config import RunConfig
from workbench.config.text import dump
from workbench.pages.long_curves import Growing
from workbench.runs import rundir

LIVE = ("queued", "starting", "running", "stopping")
FRESH = 1.9
SETTLED = 5.0  # seconds after its last sign of life in which an ended run may still publish rows
KEPT = 32

T = TypeVar("T")


class _Answers:
    """The newest answers about one runs directory; whoever asks meanwhile waits for the first."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.known: dict[Hashable, tuple[float, Any]] = {}  # until when, and what


_ANSWERS: WeakKeyDictionary[Workbench, _Answers] = WeakKeyDictionary()


def recent(wb: Workbench, key: Hashable, ask: Callable[[], T], seconds: float = FRESH) -> T:
    """An answer that every tab may share, at most ``seconds`` old."""
    answers = _ANSWERS.setdefault(wb, _Answers())
    with answers.lock:
        now = time.monotonic()
        if key not in answers.known or answers.known[key][0] <= now:
            value = ask()
            answers.known = {k: v for k, v in answers.known.items() if v[0] > now}
            answers.known[key] = now + seconds, value
        return cast(T, answers.known[key][1])


def recent_runs(wb: Workbench) -> pd.DataFrame:
    """Every run, newest first, at most ``FRESH`` seconds old."""
    return recent(wb, "runs", wb.runs)


@lru_cache(maxsize=256)
def _config(runs_dir: Path, run_id: str) -> RunConfig:
    return rundir.read_config(rundir.check_run_dir(runs_dir, run_id))


def config_of(wb: Workbench, run_id: str) -> RunConfig:
    """The configuration of a run, which never changes once it is written, read once.

    Raises:
        UnknownRunError: the run has no directory here.
    """
    return _config(wb.runs_dir, run_id)


@lru_cache(maxsize=256)
def _yaml(runs_dir: Path, run_id: str) -> str:
    return dump(_config(runs_dir, run_id), comments=False)


def yaml_of(wb: Workbench, run_id: str) -> str:
    """The same as YAML without comments, written once.

    Raises:
        UnknownRunError: the run has no directory here.
    """
    return _yaml(wb.runs_dir, run_id)


def forget(wb: Workbench) -> None:
    """Ask everything anew next time: something has just been changed."""
    _ANSWERS.pop(wb, None)


ASKED: dict[str, Callable[[Workbench, str, int], pd.DataFrame]] = {
    "rewards": lambda wb, run_id, since: queries.reward_curves(wb.store, run_id, since),
    "judge": lambda wb, run_id, since: queries.judge_curve(wb.store, run_id, since),
    "health": lambda wb, run_id, since: queries.step_health(wb.store, run_id, since),
    "weights": lambda wb, run_id, since: queries.weights_over_steps(
        wb.store, run_id, "split", "train", since
    ),
}


@dataclass(frozen=True)
class Curves:
    """Curves of one attempt of a run as they are now; of a long run, means over bins of steps.

    Attributes:
        rewards: step, name, value: mean reward per objective.
        judge: the same of the judge on probe prompts.
        health: step, flat_groups, truncated, tokens, kl, entropy.
        weights: step, kind, objective, weight.
        width: steps of a bin; when it changes, pictures are drawn anew.
    """

    rewards: pd.DataFrame
    judge: pd.DataFrame
    health: pd.DataFrame
    weights: pd.DataFrame
    width: int

    @property
    def ends(self) -> dict[str, int]:
        """The newest step that each of them holds; -1 before the first."""
        frames = {name: getattr(self, name) for name in ASKED}
        return {n: int(f["step"].max()) if len(f) else -1 for n, f in frames.items()}


@dataclass
class _Watched:
    """What is known of an attempt of a run, and when it was asked for."""

    lines: dict[str, Growing] = field(default_factory=lambda: {name: Growing() for name in ASKED})
    newest: int = -1
    read: float = 0.0
    final: bool = False


class Feed:
    """Curves of the runs that are being looked at."""

    def __init__(self, wb: Workbench) -> None:
        self._wb = wb
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int], _Watched] = OrderedDict()

    def curves(self, run: dict[str, Any]) -> Curves:
        """The curves of a run, brought up to date when they are old."""
        key = str(run["run_id"]), int(run.get("attempt") or 0)
        with self._lock:
            watched = self._known.setdefault(key, _Watched())
            self._known.move_to_end(key)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
            if not watched.final and time.monotonic() - watched.read > FRESH:
                self._bring_up_to_date(watched, run)
            lines = watched.lines
            return Curves(
                **{name: growing.frame for name, growing in lines.items()},
                width=lines["rewards"].width,
            )

    def _bring_up_to_date(self, watched: _Watched, run: dict[str, Any]) -> None:
        for name, growing in watched.lines.items():
            new = ASKED[name](self._wb, str(run["run_id"]), growing.seen)
            if name == "rewards" and len(new):  # the first that is asked: no other is behind it
                watched.newest = int(new["step"].max())
            growing.add(new, watched.newest)
        watched.read = time.monotonic()
        quiet = time.time() - float(run.get("heartbeat") or 0.0) > SETTLED
        watched.final = run["status"] not in LIVE and quiet
        for growing in watched.lines.values() if watched.final else ():
            growing.end()
