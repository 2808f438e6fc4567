"""What a sweep is to try: a configuration, values or ranges of some of its keys, and seeds.

::

    scalarizer.emphasis=0.1,0.3,0.5     three values of a grid
    grpo.learning_rate=1e-5..1e-3:log   a range, for a random search
    objectives=[length,format]          one value: commas inside brackets separate nothing
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench.config.io import load, to_dict, with_name
from workbench.config.text import dump
from workbench.runs.validation import check_config, with_absolute_paths
from workbench.store.state import write_atomically

FOLDER = "sweeps"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}\Z")
RANGE = re.compile(r"(?P<low>[-+.\deE]+?)\.\.(?P<high>[-+.\deE]+)(?P<log>:log)?\Z")
HEADLINE = "headline"
SAMPLERS = ("grid", "random", "tpe")
"""How configurations are chosen: all of them, at random, or near those that did well (Optuna's TPE,
Bergstra et al. 2011)."""
PRUNERS = ("none", "median", "halving", "hyperband")
"""What ends a run early: worse than the median of the others at the same step, or not among the
best part of them (successive halving, Jamieson and Talwalkar 2016; Hyperband, Li et al. 2018)."""
MOST = 10_000
"""Trials that a sweep may have at most."""


class SweepError(ValueError):
    """A sweep that cannot be made; the text names what is wrong and what is allowed."""


@dataclass(frozen=True)
class Axis:
    """One key: its values as they would be typed after ``--set key=``, or a range of numbers."""

    key: str
    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False

    @classmethod
    def parse(cls, item: str) -> Axis:
        """Read ``key=a,b,c`` or ``key=low..high[:log]``. Raises SweepError."""
        key, equals, text = item.partition("=")
        key, text = key.strip(), text.strip()
        if not equals or not key or not text:
            raise SweepError(f"--set {item!r}: expected key=value, key=a,b,c or key=low..high")
        if key in ("name", "seed"):
            raise SweepError(f"--set {key}: a sweep sets it itself; use --name and --seeds")
        match = RANGE.match(text)
        if match is None:
            return cls(key, tuple(split_values(text)))
        try:
            low, high = float(match["low"]), float(match["high"])
        except ValueError as error:
            raise SweepError(f"--set {item!r}: the ends of a range must be numbers") from error
        if not low < high or not math.isfinite(high - low):
            raise SweepError(f"--set {item!r}: the range must go from a lower to a higher number")
        if match["log"] and low <= 0:
            raise SweepError(f"--set {item!r}: a range with :log must lie above 0")
        integer = all(re.fullmatch(r"[-+]?\d+", match[end]) for end in ("low", "high"))
        return cls(key, (), low, high, bool(match["log"]), integer)

    @property
    def is_range(self) -> bool:
        """Whether it is a range rather than a list of values."""
        return self.low is not None


def split_values(text: str) -> list[str]:
    """Split at commas that stand outside of brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += character
    return [part.strip() for part in parts]


@dataclass(frozen=True)
class SweepPlan:
    """A sweep before anything has run.

    ``base`` is the configuration as YAML, with the keys that have one value set. ``random`` is the
    number of configurations to draw, ``sampler`` says how (one of ``SAMPLERS``); None tries the
    whole grid. Every configuration is run once for each seed. ``pruner`` (one of ``PRUNERS``) ends
    runs that fall behind. ``metric`` is ``headline`` (the judge on probes, in the end on held-out
    prompts) or ``SPLIT/NAME`` of the logged metrics; ``processes`` is that of ``workbench run``.
    """

    name: str
    base: str
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    random: int | None = None
    jobs: int = 2
    metric: str = HEADLINE
    minimize: bool = False
    processes: int = 1
    sampler: str = "grid"
    pruner: str = "none"

    @classmethod
    def make(
        cls, name: str, config: Any, sets: Iterable[str], seeds: Sequence[int], **more: Any
    ) -> SweepPlan:
        """Check everything that can be checked before the first trial.

        Args:
            name: Of the sweep; its runs are ``NAME-000`` and so on.
            config: A preset, a YAML file or a mapping.
            sets: ``key=value``, ``key=a,b,c`` or ``key=low..high[:log]``.
            seeds: One run of each configuration per seed.
            **more: The further fields. ``early_stop=True`` is short for ``pruner="median"``; with
                ``random`` the sampler is ``random`` where none is named.

        Raises:
            SweepError: The sweep has nothing to vary, too many trials or a setting out of range.
            ConfigError: A key or one of its values is not allowed.
        """
        axes = [Axis.parse(item) for item in sets]
        fixed = [f"{a.key}={a.values[0]}" for a in axes if len(a.values) == 1]
        varied = tuple(a for a in axes if len(a.values) != 1)
        base = with_absolute_paths(load(config, fixed))
        plan = cls(name, dump(base), varied, tuple(seeds), **_named(more))
        plan.check()
        return plan

    def check(self) -> None:
        """Refuse what cannot be run. Raises SweepError, ConfigError."""
        if not NAME.match(self.name):
            raise SweepError(
                f"--name {self.name!r}: letters, digits, '.', '_' and '-', at most 60, starting "
                "with a letter or a digit"
            )
        for key, value in (("jobs", self.jobs), ("random", self.random), ("processes", 1)):
            if value is not None and value < 1:
                raise SweepError(f"--{key} {value}: must be at least 1")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise SweepError(f"--seeds {list(self.seeds)}: at least one, and none twice")
        keys = [axis.key for axis in self.axes]
        if len(set(keys)) != len(keys):
            raise SweepError(f"--set: {keys} names a key twice; give all of its values at once")
        if not self.axes and len(self.seeds) == 1:
            raise SweepError("nothing varies: give --set a key with several values, or --seeds")
        ranges = [axis.key for axis in self.axes if axis.is_range]
        if ranges and self.random is None:
            raise SweepError(f"{ranges[0]} is a range: say with --random N how many to draw")
        if self.metric != HEADLINE and "/" not in self.metric:
            raise SweepError(f"--metric {self.metric!r}: 'headline', or SPLIT/NAME (train/reward)")
        for key, given, known in (
            ("sampler", self.sampler, SAMPLERS),
            ("pruner", self.pruner, PRUNERS),
        ):
            if given not in known:
                raise SweepError(f"--{key} {given!r}: allowed are {', '.join(known)}")
        if (self.sampler == "grid") != (self.random is None):
            raise SweepError(
                f"--sampler {self.sampler}: a grid tries everything; with --random N one of "
                f"{', '.join(SAMPLERS[1:])} draws"
            )
        if self.count > MOST:
            raise SweepError(f"{self.count:,} trials; at most {MOST:,}. Draw some with --random N")
        for config in self.each_value():  # a bad one is named before anything starts
            check_config(config)

    @property
    def points(self) -> int:
        """Configurations, each of which every seed runs."""
        return self.random or math.prod(len(axis.values) for axis in self.axes)

    @property
    def count(self) -> int:
        """Trials, seeds included."""
        return self.points * len(self.seeds)

    def grid(self) -> list[dict[str, Any]]:
        """Every combination of the values, the last key changing fastest."""
        keys = [axis.key for axis in self.axes]
        combined = itertools.product(*(axis.values for axis in self.axes))
        return [dict(zip(keys, values, strict=True)) for values in combined]

    def each_value(self) -> Iterator[Any]:
        """A RunConfig for every value of every key and both ends of ranges. Raises ConfigError."""
        for axis in self.axes:
            for value in [axis.low, axis.high] if axis.is_range else axis.values:
                yield load(self._base, [f"{axis.key}={self._typed(axis, value)}"])

    def config(self, values: dict[str, Any], seed: int, number: int) -> Any:
        """The RunConfig of one trial. Raises ConfigError where values do not fit together."""
        sets = [f"{a.key}={self._typed(a, values[a.key])}" for a in self._ordered()]
        return with_name(load(self._base, [*sets, f"seed={seed}"]), self.run_name(number))

    def run_name(self, number: int) -> str:
        """Name of a trial's run."""
        return f"{self.name}-{number:03d}"

    def _ordered(self) -> list[Axis]:
        """Choosing a scalarizer starts from its defaults, so that comes before its keys."""
        return sorted(self.axes, key=lambda axis: axis.key != "scalarizer.name")

    @cached_property
    def _base(self) -> dict[str, Any]:
        from workbench.config.yamlio import parse

        data = parse(self.base)
        return {key: value for key, value in data.items() if key != "name"}

    @staticmethod
    def _typed(axis: Axis, value: Any) -> str:
        if axis.is_range:
            return str(int(value)) if axis.integer else repr(float(value))
        return str(value)

    def save(self, runs_dir: Path) -> Path:
        """Write the plan; returns the sweep's folder. Raises SweepError when the name is taken."""
        folder = runs_dir / FOLDER / self.name
        if (folder / "plan.json").exists():
            raise SweepError(f"a sweep {self.name!r} exists; choose another name, or --continue it")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "plan.json", json.dumps(asdict(self), indent=1).encode())
        return folder

    @classmethod
    def read(cls, runs_dir: Path, name: str) -> SweepPlan:
        """A plan that was saved. Raises SweepError when there is none of that name."""
        path = runs_dir / FOLDER / name / "plan.json"
        if not NAME.match(name) or not path.is_file():
            raise SweepError(f"no sweep {name!r}; there are {names(runs_dir) or 'none'}")
        data = json.loads(path.read_text("utf-8"))
        data["axes"] = tuple(Axis(**a | {"values": tuple(a["values"])}) for a in data["axes"])
        return cls(**_named(data) | {"seeds": tuple(data["seeds"])})

    def values_of(self, config: Any) -> dict[str, Any]:
        """What the keys of this sweep are in a run's configuration, as ``config`` takes them.

        Raises:
            SweepError: a value that this sweep does not try.
        """
        return {axis.key: self._value_of(axis, config) for axis in self.axes}

    def _value_of(self, axis: Axis, config: Any) -> Any:
        found = _at(to_dict(config), axis.key)
        if axis.is_range:
            return found
        for value in axis.values:
            if _at(to_dict(load(self._base, [f"{axis.key}={value}"])), axis.key) == found:
                return value
        raise SweepError(f"run {config.name!r} has {axis.key} {found!r}: sweep {self.name!r} has "
                         f"{', '.join(axis.values)}")  # fmt: skip


def _named(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a plan, with sampler and pruner by name where they are only implied."""
    fields = dict(fields)
    if fields.pop("early_stop", False):
        fields.setdefault("pruner", "median")
    if fields.get("random") is not None and fields.get("sampler") is None:
        fields["sampler"] = "random"
    return {k: v for k, v in fields.items() if (k, v) != ("sampler", None)}


def _at(data: Any, key: str) -> Any:
    """The value under a dotted key of a configuration as plain data."""
    for part in key.split("."):
        data = data[int(part)] if isinstance(data, list | tuple) else data[part]
    return data


def names(runs_dir: Path) -> list[str]:
    """Names of the sweeps of a runs directory."""
    return sorted(path.parent.name for path in (runs_dir / FOLDER).glob("*/plan.json"))


def read_trials(folder: Path) -> list[dict[str, Any]]:
    """What a sweep has tried so far, from its folder; the fields of ``sweep_driver.Trial``."""
    path = folder / "trials.json"
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.is_file() else []
    return found
