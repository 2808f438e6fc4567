"""Start, queue, adopt, stop, resume and delete runs: each is a child process with a directory.

The launcher keeps nothing in memory: whoever opens the same runs directory later (a restarted app,
another terminal) sees and steers the same runs. Its own moves are serialised by a lock file, so
that two processes never start one run twice, take one name twice or both fill the last slot.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.config import RunConfig
from workbench.config.io import PRESETS, ConfigError, Problem, load, with_name
from workbench.runs import processes as system
from workbench.runs import rundir
from workbench.runs.rundir import ACTIVE, LauncherError, RunInfo, lock
from workbench.runs.spawn import spawn
from workbench.runs.stopping import request, stop_phases
from workbench.runs.validation import (
    check_allowed,
    check_config,
    check_launch,
    check_readable,
    check_runnable,
    files,
    with_absolute_paths,
)
from workbench.store.annotations import tombstone
from workbench.store.state import read_state, write_atomically, write_state

DIED = "the process ended without a word (killed, or out of memory?): see the end of log.txt"
STARTING_GRACE = 30.0  # seconds between "starting" and the moment the child's number is on disk


class Launcher:
    """Every run of one runs directory.

    Args:
        runs_dir: made on the first start.
        limit: how many runs may be active at once before new ones queue; None: no limit, and
            queued runs are left to those who have one.
        command: beginning of the child's command line, for tests; see ``spawn``.
        allowed_functions: the ``package.module:function`` names a configuration may use
            (``package.*`` allows all below); None: any. With a list, ``trust_remote_code`` is
            refused too.
        allowed_paths: folders whose files and models a configuration may name, beside the runs
            directory itself; None: any.
    """

    def __init__(
        self,
        runs_dir: str | Path = "runs",
        *,
        limit: int | None = None,
        command: Sequence[str] | None = None,
        allowed_functions: Sequence[str] | None = None,
        allowed_paths: Sequence[str | Path] | None = None,
    ) -> None:
        self.runs_dir = Path(runs_dir).absolute()
        self.limit = limit
        self.command = command
        self.allowed_functions = allowed_functions
        self.allowed_paths = allowed_paths
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._ended = 0
        self._phases: dict[str, str] = {}

    # -- starting -------------------------------------------------------------------------------

    def start(
        self,
        config: str | Path | Mapping[str, Any] | RunConfig,
        *,
        token: str | None = None,
        parent: str | None = None,
        launch: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a run, or queue it when the limit is reached; returns its id.

        Args:
            config: a preset, a YAML file, a mapping or a ``RunConfig``.
            token: any text; a second start with the same one returns the first one's id, so that
                a double click starts one run.
            parent: id of the run that this one continues from or copies.
            launch: ``processes`` and ``accelerate_config``; see ``guard.check_launch``.

        Raises:
            ConfigError: the configuration is not allowed.
            LauncherError: its name is taken.
        """
        if isinstance(config, str | Path) and str(config) not in PRESETS:
            self._check_paths([("config", Path(config).absolute())])
        config = with_absolute_paths(load(config))
        self.check(config)
        for handle in config.offline.source.runs if config.offline else ():
            rundir.resolve(self.runs_dir, handle)
        launch = check_launch(config, **(launch or {}))
        if self.allowed_functions is not None and "accelerate_config" in launch:
            # such a file may name a program to start
            raise ConfigError([Problem("accelerate_config", "not allowed here")])
        with lock(self.runs_dir):
            for path in rundir.run_dirs(self.runs_dir) if token else ():
                if rundir.read_identity(path).get("token") == token:
                    return path.name
            taken = rundir.taken_names(self.runs_dir)
            if config.name is None:
                stem = Path(config.task.path).stem if config.task.path else config.task.name
                how = config.offline.method if config.offline else config.scalarizer.name
                name = rundir.free_name(f"{stem}-{how}", taken)
                config = with_name(config, name)
            if config.name in taken:
                raise LauncherError(f"the name {config.name!r} is taken; choose another")
            run_id = rundir.create(
                self.runs_dir, config, token=token, parent=parent, cwd=Path.cwd(), launch=launch
            )
            self._enter(self.runs_dir / run_id)
        return run_id

    def check(self, config: RunConfig) -> None:
        """Refuse what is not allowed here, and what can be seen to fail before anything starts.

        Raises:
            ConfigError: naming every such key.
        """
        check_allowed(config, self.allowed_functions)
        self._check_paths(files(config))
        check_config(config)

    def _check_paths(self, paths: Iterable[tuple[str, Path]]) -> None:
        if self.allowed_paths is not None:
            check_readable(paths, [self.runs_dir, *self.allowed_paths])

    def resume(self, handle: str) -> str:
        """Continue a run that ended before its last step; returns its id.

        Raises:
            LauncherError: it is active, has nothing left to do, or was imported.
            ConfigError: it names code that is not allowed.
        """
        with lock(self.runs_dir):
            path = rundir.resolve(self.runs_dir, handle)
            state = self._looked_at(path)
            if state.get("status") not in ("stopped", "failed"):
                raise LauncherError(
                    f"{self._named(path)} is {state.get('status')}: nothing to resume"
                )
            if system.group(rundir.read_process(path), path):
                raise LauncherError(f"{self._named(path)} still has processes: stop it first")
            check_runnable(path, self.allowed_functions)
            (path / "stop").unlink(missing_ok=True)
            write_state(path, status="queued", message=None, phase=None, eta_seconds=None)
            self._enter(path)
        return path.name

    def _enter(self, path: Path) -> None:
        """Start a queued run now when there is no limit, or else whichever is first in line."""
        if self.limit is None:
            self._spawn(path)
        else:
            self._admit()

    def _admit(self) -> None:
        """Start queued runs, oldest first, while there are free slots. Needs the lock."""
        infos = self._infos()
        free = (self.limit or 0) - sum(info.status in ACTIVE for info in infos)
        waiting = sorted((i for i in infos if i.status == "queued"), key=lambda i: i.heartbeat or 0)
        for info in waiting[: max(free, 0)]:
            self._spawn(self.runs_dir / info.run_id)

    def _spawn(self, path: Path) -> None:
        """Start the child of a queued run. Needs the lock."""
        try:
            child = spawn(path, self.command)
        except OSError as error:
            write_state(path, status="failed", message=f"could not be started: {error}")
            raise LauncherError(f"{self._named(path)} could not be started: {error}") from error
        self._children[child.pid] = child

    # -- ending and keeping house ---------------------------------------------------------------

    def stop(self, handle: str, *, seconds: float | None = None, now: bool = False) -> RunInfo:
        """Stop a run and wait until its whole process group is gone; see ``stop_phases``.

        A run that has ended already is left as it is. Raises LauncherError when a process is left.
        """
        for _ in self.stop_phases(handle, seconds=seconds, now=now):
            pass
        return self.get(handle)

    def stop_phases(
        self, handle: str, *, seconds: float | None = None, now: bool = False
    ) -> Iterator[str]:
        """The same, yielding each phase in words; the last one is the run's status."""
        path = rundir.resolve(self.runs_dir, handle)
        with lock(self.runs_dir):
            state = self._looked_at(path)
            if state.get("status") == "queued":
                write_state(path, status="stopped", message="stopped before it started")
                yield "stopped"
                return
        yield from stop_phases(path, seconds=seconds, now=now)

    def request_stop(self, handle: str) -> str:
        """Ask a run to stop after its current step and return its id at once.

        One that does not hear is terminated, then killed, by a thread of this process; ``list``
        shows how far it is.
        """
        path = rundir.resolve(self.runs_dir, handle)
        if self._looked_at(path).get("status") in ("queued", *ACTIVE):
            request(path)
            threading.Thread(target=self._see_it_end, args=(path,), daemon=True).start()
        return path.name

    def _see_it_end(self, path: Path) -> None:
        try:
            for phase in self.stop_phases(path.name):
                self._phases[path.name] = phase
        except (LauncherError, OSError) as error:  # nobody waits for this thread: the list says it
            self._phases[path.name] = str(error)

    def rename(self, handle: str, name: str) -> str:
        """Give a run another name; returns its id. Raises ConfigError, LauncherError."""
        with lock(self.runs_dir):
            path = rundir.resolve(self.runs_dir, handle)
            identity = json.loads((path / "run.json").read_bytes())
            name = str(with_name(load("quick"), name).name)
            if name != identity["name"] and name in rundir.taken_names(self.runs_dir):
                raise LauncherError(f"the name {name!r} is taken; choose another")
            data = json.dumps(identity | {"name": name}, indent=1)
            write_atomically(path / "run.json", data.encode())
        return path.name

    def delete(self, handle: str) -> str:
        """Delete a run, its rows and its checkpoints for good; returns its id.

        Raises:
            LauncherError: it is active: stop it first.
        """
        with lock(self.runs_dir):
            path = rundir.resolve(self.runs_dir, handle)
            if self._looked_at(path).get("status") in ACTIVE:
                raise LauncherError(f"{self._named(path)} is active: stop it first")
            if system.group(rundir.read_process(path), path):
                raise LauncherError(f"{self._named(path)} still has processes: stop it first")
            tombstone(self.runs_dir, path.name)
            doomed = self.runs_dir / f".deleted-{path.name}"
            path.rename(doomed)
        shutil.rmtree(doomed)
        return path.name

    # -- looking --------------------------------------------------------------------------------

    def list(self) -> list[RunInfo]:
        """Every run, newest first; live children of earlier launchers are adopted as they are.

        Queued runs are started where slots are free, and a run whose process is gone while its
        state says otherwise is put down as failed.
        """
        infos = self._infos()
        waiting = any(info.status == "queued" for info in infos)
        if waiting and self.limit is not None:
            with lock(self.runs_dir, wait=False) as locked:
                if locked:
                    self._admit()
            infos = self._infos()
        return sorted(infos, key=lambda info: info.created, reverse=True)

    def _infos(self) -> list[RunInfo]:
        """Every run, oldest first."""
        return [self.info(path) for path in rundir.run_dirs(self.runs_dir)]

    def take_ended(self) -> int:
        """How many children of this launcher have ended since the last time it was asked."""
        ended, self._ended = self._ended, 0
        return ended

    def get(self, handle: str) -> RunInfo:
        """One run by id or name. Raises UnknownRunError."""
        return self.info(rundir.resolve(self.runs_dir, handle))

    def path(self, handle: str) -> Path:
        """The directory of a run by id or name. Raises UnknownRunError."""
        return rundir.resolve(self.runs_dir, handle)

    def info(self, path: Path) -> RunInfo:
        """What there is to say of a run, its process looked at rather than believed."""
        identity = rundir.read_identity(path)
        state = self._looked_at(path)
        known = RunInfo.__dataclass_fields__
        values = {k: v for k, v in (identity | state).items() if k in known and v is not None}
        if values.get("status") in ("starting", "running") and (path / "stop").exists():
            values |= {"status": "stopping", "message": self._phases.get(path.name)}
        info = RunInfo(**{"status": "failed", **values})
        if "damaged" in identity:
            info = replace(info, message=identity["damaged"])
        return info

    def _looked_at(self, path: Path) -> dict[str, Any]:
        """state.json, corrected when its process is gone."""
        for child in list(self._children.values()):
            if child.poll() is not None:
                self._children.pop(child.pid, None)
                self._ended += 1
        state = read_state(path)
        if state.get("status") not in ACTIVE or self._lives(path, state):
            return state
        state = read_state(path)  # it may have said its last word in the meantime
        if state.get("status") not in ACTIVE:
            return state
        ending = {"status": "failed", "message": DIED, "pid": None, "eta_seconds": None}
        if (path / "stop").exists():
            ending |= {"status": "stopped", "message": "ended when it was asked to stop"}
        with lock(self.runs_dir, wait=False) as locked:
            # nobody resumes it while we hold the lock; without the lock we only look
            if locked and read_state(path) == state:
                return write_state(path, **ending)
        return state | ending

    def _lives(self, path: Path, state: Mapping[str, Any]) -> bool:
        record = rundir.read_process(path)
        if not record:  # its number is not on disk yet, or never will be
            return time.time() - state.get("heartbeat", 0.0) < STARTING_GRACE
        return system.alive(record)

    def _named(self, path: Path) -> str:
        return f"run {rundir.read_identity(path)['name']!r}"
