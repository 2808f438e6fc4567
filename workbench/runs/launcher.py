"""Start, queue, adopt, stop, resume and delete runs: each is a child process with a directory.

The launcher keeps nothing in memory that matters: whoever opens the same runs directory later (a
restarted app, another terminal) sees and steers the same runs. Its own moves are serialised by a
lock file, so that two processes never start one run twice, take one name twice or both fill the
last slot. What a run is doing is for ``status`` to say.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.runs import rundir
from workbench.runs.deletion import bury, collect
from workbench.runs.locks import LAUNCHER, PATIENCE_SECONDS, LockedError, held
from workbench.runs.queue import whose_turn
from workbench.runs.rundir import ACTIVE, LauncherError, RunInfo
from workbench.runs.status import Look
from workbench.runs.stopping import stop_phases
from workbench.runs.watch import Watch
from workbench.store.state import write_atomically, write_state

if TYPE_CHECKING:
    from workbench.config import RunConfig

# what a configuration needs is imported where one is read: most commands only look at runs


class Launcher:
    """Every run of one runs directory.

    Args:
        runs_dir: made on the first start.
        limit: how many runs may be active at once before new ones queue; None: no limit for what
            this launcher starts. A queued run keeps its limit: whoever looks at it starts it when
            its turn has come.
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
        self.runs_dir = Path(runs_dir).expanduser().absolute()
        self.limit = limit
        self.command = command
        self.allowed_functions = allowed_functions
        self.allowed_paths = allowed_paths
        self._watch = Watch(self.runs_dir)

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
        from workbench.config.io import PRESETS, ConfigError, Problem, load, with_name
        from workbench.runs.validation import check_launch, with_absolute_paths

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
        cwd = Path.cwd()
        made_of = rundir.provenance(config, cwd)
        with self._lock():
            if token and (found := self.started_as(token)):
                return found
            taken = rundir.taken_names(self.runs_dir)
            if config.name is None:
                stem = Path(config.task.path).stem if config.task.path else config.task.name
                how = config.offline.method if config.offline else config.scalarizer.name
                name = rundir.free_name(f"{stem}-{how}", taken)
                config = with_name(config, name)
            if config.name in taken:
                raise LauncherError(f"the name {config.name!r} is taken; choose another")
            run_id = rundir.create(
                self.runs_dir,
                config,
                token=token,
                parent=parent,
                cwd=cwd,
                made_of=made_of,
                launch=launch,
                limit=self.limit,
            )
            self._enter(self.runs_dir / run_id)
        collect(self.runs_dir)
        return run_id

    def started_as(self, token: str) -> str | None:
        """Id of the run that was started with this token; None when there is none."""
        for path in rundir.run_dirs(self.runs_dir):
            if rundir.read_identity(path).get("token") == token:
                return path.name
        return None

    def check(self, config: RunConfig, call: bool = True) -> None:
        """Refuse what is not allowed here, and what can be seen to fail before anything starts.

        Args:
            config: with absolute paths.
            call: also call the functions that it names; a form that asks at every change does not.

        Raises:
            ConfigError: naming every such key.
        """
        from workbench.config.io import ConfigError
        from workbench.runs.preflight import problems_of
        from workbench.runs.validation import check_allowed, check_config, files

        check_allowed(config, self.allowed_functions)
        self._check_paths(files(config))
        check_config(config)
        problems = problems_of(config, self.runs_dir, call)
        if problems:
            raise ConfigError(problems)

    def _check_paths(self, paths: Iterable[tuple[str, Path]]) -> None:
        from workbench.runs.validation import check_readable

        if self.allowed_paths is not None:
            check_readable(paths, [self.runs_dir, *self.allowed_paths])

    def resume(self, handle: str) -> str:
        """Continue a run that ended before its last step; returns its id.

        Raises:
            LauncherError: it has processes, has nothing left to do, or was imported.
            ConfigError: it names code that is not allowed.
        """
        from workbench.runs.validation import check_runnable

        with self._lock():
            path = rundir.resolve(self.runs_dir, handle)
            status = self._at_rest(path, self._watch.look()).get("status")
            if status not in ("stopped", "failed"):
                raise LauncherError(f"{self._named(path)} is {status}: nothing to resume")
            check_runnable(path, self.allowed_functions)
            (path / "stop").unlink(missing_ok=True)
            write_state(
                path, status="queued", message=None, phase=None, eta_seconds=None, limit=self.limit
            )
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
        from workbench.runs.validation import check_runnable

        look = self._watch.look()
        states = {path: look.state(path) for path in rundir.run_dirs(self.runs_dir)}
        for path in whose_turn(states, self.limit):
            try:
                check_runnable(path, self.allowed_functions)
                self._spawn(path)
            except (LauncherError, ValueError, OSError) as error:
                # the others in the line are not to suffer from it
                write_state(path, status="failed", message=str(error))

    def _spawn(self, path: Path) -> None:
        """Start the child of a queued run. Needs the lock."""
        from workbench.runs.spawn import spawn

        try:
            child = spawn(path, self.command)
        except OSError as error:
            write_state(path, status="failed", message=f"could not be started: {error}")
            raise LauncherError(f"{self._named(path)} could not be started: {error}") from error
        self._watch.children[path] = child

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
        with self._lock():
            queued = rundir.last_words(path).get("status") == "queued"
            if queued:
                write_state(path, status="stopped", message="stopped before it started")
        if queued:
            yield "stopped"
            return
        yield from stop_phases(path, seconds=seconds, now=now)

    def request_stop(self, handle: str) -> str:
        """Ask a run to stop after its current step and return its id at once.

        One that does not hear is terminated, then killed, by a thread of this process; ``list``
        shows how far it is.
        """
        path = rundir.resolve(self.runs_dir, handle)
        if self._watch.look().state(path).get("status") in ("queued", *ACTIVE):
            (path / "stop").touch()
            threading.Thread(target=self._see_it_end, args=(path,), daemon=True).start()
        return path.name

    def _see_it_end(self, path: Path) -> None:
        try:
            for phase in self.stop_phases(path.name):
                self._watch.phases[path.name] = phase
        except (LauncherError, OSError) as error:  # ``list`` shows what went wrong in this thread
            self._watch.phases[path.name] = str(error)

    def rename(self, handle: str, name: str) -> str:
        """Give a run another name; returns its id. Raises ConfigError, LauncherError."""
        from workbench.config.io import ConfigError, Problem, load, with_name

        if not isinstance(name, str):
            raise ConfigError([Problem("name", f"{name!r} is not allowed; a name is a text")])
        with self._lock():
            path = rundir.resolve(self.runs_dir, handle)
            identity = rundir.read_identity(path)
            if "damaged" in identity:
                raise LauncherError(f"{path}/run.json is damaged: restore it, or delete the run")
            name = str(with_name(load("quick"), name).name)
            if name != identity["name"] and name in rundir.taken_names(self.runs_dir):
                raise LauncherError(f"the name {name!r} is taken; choose another")
            data = json.dumps(identity | {"name": name}, indent=1)
            write_atomically(path / "run.json", data.encode())
        return path.name

    def delete(self, handle: str) -> str:
        """Delete a run, its rows and its checkpoints for good; returns its id.

        Raises:
            LauncherError: it has processes, or is being evaluated.
        """
        with self._lock():
            path = rundir.resolve(self.runs_dir, handle)
            look = self._watch.look()
            self._at_rest(path, look)
            if evaluations := look.evaluations(path):
                raise LauncherError(
                    f"{self._named(path)} is being evaluated (process {evaluations[0]}): wait for "
                    "it, or cancel it first"
                )
            bury(self.runs_dir, path)
        collect(self.runs_dir)
        return path.name

    def _lock(self, seconds: float = PATIENCE_SECONDS) -> AbstractContextManager[None]:
        return held(self.runs_dir / LAUNCHER, seconds)

    def _at_rest(self, path: Path, look: Look) -> dict[str, Any]:
        """The state of a run without processes. Raises LauncherError when it has some."""
        state = look.state(path)
        if state.get("status") in ACTIVE:
            pids = ", ".join(map(str, look.trainers(path)))
            known = f" (process {pids})" if pids else ""
            raise LauncherError(f"{self._named(path)} is {state['status']}{known}: stop it first")
        return state

    # -- looking --------------------------------------------------------------------------------

    def list(self) -> list[RunInfo]:
        """Every run, newest first; live children of earlier launchers are adopted as they are.

        Queued runs are started where slots are free, and a run whose process is gone while its
        state says otherwise is put down as failed.
        """
        with suppress(LockedError, OSError):  # another process is at it, or may
            collect(self.runs_dir, 0.0)
        infos = self._watch.infos()
        if any(info.status == "queued" for info in infos) and self._let_queue_move():
            infos = self._watch.infos()
        return sorted(infos, key=lambda info: info.created, reverse=True)

    def _let_queue_move(self) -> bool:
        """Start queued runs where slots are free, unless another process does just that."""
        try:
            with self._lock(0.0):
                self._admit()
        except (LockedError, OSError):
            return False
        return True

    def take_ended(self) -> int:
        """How many children of this launcher have ended since the last time it was asked."""
        return self._watch.take_ended()

    def get(self, handle: str) -> RunInfo:
        """One run by id or name; a queued one starts if its turn has come.

        Raises:
            UnknownRunError: there is none.
        """
        path = rundir.resolve(self.runs_dir, handle)
        info = self._watch.info(path)
        if info.status == "queued" and self._let_queue_move():
            info = self._watch.info(path)
        return info

    def path(self, handle: str) -> Path:
        """The directory of a run by id or name. Raises UnknownRunError."""
        return rundir.resolve(self.runs_dir, handle)

    def _named(self, path: Path) -> str:
        return f"run {rundir.read_identity(path)['name']!r}"
