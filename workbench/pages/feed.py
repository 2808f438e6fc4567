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

from workbench.api import Workbench
from workbench.config import RunConfig
from workbench.config.text import dump
from workbench.pages import queries
from workbench.running import rundir

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
    """Ask everything anew next time: somebody has just changed something."""
    _ANSWERS.pop(wb, None)


@dataclass
class Curves:
    """Curves of one attempt of a run, each a DataFrame with a column ``step``.

    Attributes:
        rewards: step, name, value: mean reward per objective, and the judge on probe prompts.
        health: step, flat_groups, truncated, tokens, kl, entropy.
        weights: step, kind, objective, weight.
    """

    rewards: pd.DataFrame = field(default_factory=pd.DataFrame)
    judge: pd.DataFrame = field(default_factory=pd.DataFrame)
    health: pd.DataFrame = field(default_factory=pd.DataFrame)
    weights: pd.DataFrame = field(default_factory=pd.DataFrame)
    read: float = 0.0
    final: bool = False

    @property
    def last(self) -> int:
        """The newest step; -1 before the first."""
        return _last(self.rewards)


class Feed:
    """Curves of the runs that somebody looks at."""

    def __init__(self, wb: Workbench) -> None:
        self._wb = wb
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int], Curves] = OrderedDict()

    def curves(self, run: dict[str, Any]) -> Curves:
        """The curves of a run, brought up to date when they are old."""
        key = str(run["run_id"]), int(run.get("attempt") or 0)
        with self._lock:
            curves = self._known.setdefault(key, Curves())
            self._known.move_to_end(key)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
            if not curves.final and time.monotonic() - curves.read > FRESH:
                self._extend(curves, key[0])
                quiet = time.time() - float(run.get("heartbeat") or 0.0) > SETTLED
                curves.final = run["status"] not in LIVE and quiet
        return curves

    def _extend(self, curves: Curves, run_id: str) -> None:
        wb = self._wb
        for name, ask in (
            ("rewards", queries.reward_curves),
            ("judge", queries.judge_curve),
            ("health", queries.step_health),
        ):
            old = getattr(curves, name)
            setattr(curves, name, _joined(old, ask(wb, run_id, _last(old))))
        new = queries.weights_over_steps(wb, run_id, "split", "train", _last(curves.weights))
        curves.weights = _joined(curves.weights, new)
        curves.read = time.monotonic()


def _last(frame: pd.DataFrame) -> int:
    return int(frame["step"].max()) if len(frame) else -1


def _joined(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    if not len(old):
        return new
    return pd.concat([old, new], ignore_index=True) if len(new) else old
