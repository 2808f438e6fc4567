"""Run: the id of a run, which can also be waited for, watched and stopped."""

from __future__ import annotations

import codecs
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.runs.launcher import Launcher
from workbench.runs.rundir import ENDED, RunInfo, UnknownRunError

POLL_SECONDS = 0.3


class Run(str):
    """A run's id with the run's own verbs; wherever an id is taken, so is this.

    As the last line of a notebook cell it shows the run's progress and follows it while the
    notebook goes on. A copy is the same run; so is what another process unpickles.
    """

    launcher: Launcher
    watched: Callable[[RunInfo], Any] | None = None
    """Where ``watch`` shows the run."""

    def __new__(cls, run_id: str, launcher: Launcher) -> Run:
        """Make the handle of an existing run."""
        run = super().__new__(cls, run_id)
        run.launcher = launcher
        return run

    def __copy__(self) -> Run:
        """The same run."""
        return Run(self, self.launcher)

    def __deepcopy__(self, memo: dict[int, Any]) -> Run:
        """The same run."""
        return Run(self, self.launcher)

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process needs: the id, and how runs are started here."""
        launcher = self.launcher
        how = {
            name: getattr(launcher, name)
            for name in ("limit", "command", "allowed_functions", "allowed_paths")
        }
        return _unpickled, (str(self), launcher.runs_dir, how)

    @property
    def info(self) -> RunInfo:
        """Everything known of the run now."""
        return self.launcher.get(self)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.info.name

    @property
    def status(self) -> str:
        """queued, starting, running, stopping, stopped, finished or failed."""
        return self.info.status

    def wait(
        self,
        progress: bool | Callable[[RunInfo], None] = True,
        timeout: float | None = None,
    ) -> RunInfo:
        """Wait until the run has ended, showing how it goes; returns what it ended as.

        Args:
            progress: True shows a line that follows the run (in a notebook: a bar that
                updates); False is silent; a function is called with each new ``RunInfo``.
            timeout: seconds after which to give up waiting; the run goes on.

        Raises:
            TimeoutError: the run has not ended in time.
        """
        show = _shown() if progress is True else progress or None
        deadline = None if timeout is None else time.monotonic() + timeout
        last = None
        while True:
            info = self.info
            if show and info != last:
                show(info)
            last = info
            if info.status in ENDED:
                if show and self.watched:
                    self.watched(info)  # the bar further up ends with this one, not a moment later
                return info
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"run {info.name!r} is {info.status} after {timeout:g} s")
            time.sleep(POLL_SECONDS)

    def watch(self) -> threading.Thread:
        """Show how the run goes and return at once; the display follows in the background."""
        self.watched = show = _shown()
        show(self.info)
        follower = threading.Thread(target=self._follow, args=(show,), daemon=True)
        follower.start()
        return follower

    def _follow(self, show: Callable[[RunInfo], Any]) -> None:
        try:
            self.wait(show)
        except UnknownRunError:
            return  # deleted meanwhile: there is nothing left to follow

    def stop(self, wait: bool = True) -> str:
        """Stop after the current step; see ``Workbench.stop``."""
        if wait:
            return self.launcher.stop(self).run_id
        return self.launcher.request_stop(self)

    def resume(self) -> Run:
        """Continue; see ``Workbench.resume``."""
        return Run(self.launcher.resume(self), self.launcher)

    def log(self, offset: int = 0, limit: int = 1 << 20) -> tuple[str, int]:
        """The run's output from a byte offset on, and the offset to ask from next time.

        Empty where there is none, as of a run that was imported.
        """
        path = self.launcher.path(self) / "log.txt"
        if not path.exists():
            return "", offset
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(limit)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(data)  # a character that is not whole yet comes next time
        return text, offset + len(data) - len(decoder.getstate()[0])

    def _ipython_display_(self) -> None:
        from workbench.analysis.display import in_notebook

        if in_notebook():
            self.watch()
        else:
            print(repr(self))

    def _repr_html_(self) -> str:
        from workbench.analysis.display import run_html

        return run_html(self.info)


def _unpickled(run_id: str, runs_dir: Path, how: dict[str, Any]) -> Run:
    return Run(run_id, Launcher(runs_dir, **how))


def _shown() -> Callable[[RunInfo], Any]:
    """How progress is shown here: a bar that updates in a notebook, else one line."""
    from workbench.analysis.display import Live, in_notebook

    if in_notebook():
        return Live()
    from workbench.runs.progress import line

    return _LastLine(line)


class _LastLine:
    """Writes over its own line."""

    def __init__(self, text: Callable[[RunInfo], str]) -> None:
        self.text = text

    def __call__(self, info: RunInfo) -> None:
        end = "\n" if info.status in ENDED else ""
        print(f"\r\x1b[K{self.text(info)}", end=end, flush=True)
