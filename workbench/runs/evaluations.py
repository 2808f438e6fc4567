"""Evaluations of checkpoints: a child process each, to be waited for or cancelled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from workbench.config.environment import EVALUATION
from workbench.runs import forkserver
from workbench.runs.locks import LAUNCHER, held
from workbench.runs.rundir import check_run_dir
from workbench.runs.spawn import environment

MODULE = "workbench.train.evaluate"
CANCEL_SECONDS = 5.0
PROGRESS = "progress: "
"""How a line of the child's stderr begins that says how far it is."""
WARNING = "warning: "
"""How a line of the child's stderr begins that says what could not be stored."""
TAIL = 4096


class Evaluation:
    """An evaluation that runs in a process group of its own; its rows go to the store.

    Args:
        run_dir: directory of the run; it cannot be deleted meanwhile.
        options: options of ``python -m workbench.train.evaluate``; None leaves one out.

    Raises:
        UnknownRunError: the run was deleted.
    """

    def __init__(self, run_dir: Path, options: dict[str, Any]) -> None:
        self._output = tempfile.TemporaryFile()
        self._errors = tempfile.TemporaryFile()
        given = [
            word
            for name, value in options.items()
            if value is not None
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]
        with held(run_dir.parent / LAUNCHER):  # whoever deletes the run sees this process, or us it
            check_run_dir(run_dir.parent, run_dir.name)
            self._process = forkserver.start(
                [sys.executable, "-m", MODULE, str(run_dir), "--json", *given],
                cwd=None,
                env=environment(run_dir, EVALUATION),
                stdout=self._output,
                stderr=self._errors,
            )

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._process.poll() is not None

    @property
    def progress(self) -> str:
        """How far it is, in its own last words; empty before the first."""
        said = [line for line in self._lines() if line.startswith(PROGRESS)]
        return said[-1].removeprefix(PROGRESS) if said else ""

    def _lines(self) -> list[str]:
        """The end of what the child wrote to stderr; read at an offset, not where it writes."""
        number = self._errors.fileno()
        size = os.fstat(number).st_size
        text = os.pread(number, TAIL, max(0, size - TAIL)).decode("utf-8", "replace")
        return [line for line in text.splitlines() if line]

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for its means: ``{phase, step, means: {kind: {name: mean}}, problems: [text]}``.

        ``problems`` says what could not be stored: those rows are in no view.

        Raises:
            ValueError: it could not be done; the text says why.
            TimeoutError: it has not ended in time; it goes on.
        """
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"the evaluation takes longer than {timeout:g} s") from error
        if status != 0:
            raise ValueError(self._last_words(status))
        self._output.seek(0)
        text = self._output.read().decode()
        result: dict[str, Any] = json.loads(text[text.index("{") :])
        problems = [line for line in self._lines() if line.startswith(WARNING)]
        told = [f"not everything was stored: {p.removeprefix(WARNING)}" for p in problems]
        for problem in told:
            warnings.warn(problem, stacklevel=2)
        return result | {"problems": told}

    def _last_words(self, status: int) -> str:
        if status < 0:
            return f"the evaluation was ended by {signal.Signals(-status).name}"
        lines = [line for line in self._lines() if not line.startswith(PROGRESS)]
        last = lines[-1] if lines else f"the evaluation ended with status {status}"
        return last.removeprefix("error: ")

    def cancel(self) -> None:
        """End it now; rows that it has published stay."""
        if self.done:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(CANCEL_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
