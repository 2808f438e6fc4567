"""The command line: ``python -m workbench COMMAND``, also installed as ``workbench``."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from workbench.formatting import visible
from workbench.version import __version__

if TYPE_CHECKING:
    from workbench.commands.base import Command

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("runs:RUN", "train a policy: CONFIG.yaml or a preset"),
    "list": ("runs:LIST", "list every run with its live status"),
    "show": ("runs:SHOW", "show one run: outcome, configuration, log, recipe"),
    "stop": ("runs:STOP", "stop a run: ask, terminate, kill; verified"),
    "resume": ("runs:RESUME", "continue a run that ended before its last step"),
    "delete": ("runs:DELETE", "delete a run, its rows and checkpoints"),
    "rename": ("marks:RENAME", "give a run another name"),
    "duplicate": ("marks:DUPLICATE", "start a run with the settings of another"),
    "annotate": ("marks:ANNOTATE", "tag, note, vote, grade; who agrees with whom"),
    "inspect": ("inspect:INSPECT", "prompts with the weights they got; one group"),
    "sweep": ("sweep:SWEEP", "a grid or a random search over keys and seeds"),
    "offline": ("offline:OFFLINE", "learn from logged rollouts, votes or a file of rows"),
    "data": ("data:DATA", "look at rows and check them all"),
    "evaluate": ("analysis:EVALUATE", "evaluate a checkpoint on held-out prompts"),
    "compare": ("analysis:COMPARE", "runs or checkpoints side by side on the same prompts"),
    "whatif": ("analysis:WHATIF", "recompute advantages of logged rows under other weights"),
    "query": ("store:QUERY", "ask the store with SQL, while runs write"),
    "schema": ("store:SCHEMA", "list every view and column with its meaning"),
    "export": ("store:EXPORT", "write runs to files of their own"),
    "import": ("store:IMPORT", "bring in runs from elsewhere"),
    "archive": ("store:ARCHIVE", "move segments into native tables"),
    "doctor": ("store:DOCTOR", "tell the state of the store in one screen"),
    "bench": ("bench:BENCH", "measure every weighting on the etudes"),
    "app": ("app:APP", "open the browser workbench"),
}
"""Every command by name, in the order of the help: where it is in ``commands``, its line of help.

A command's module is imported when it is named: the help of all needs none of them.
"""


class _Parser(argparse.ArgumentParser):
    """Refuses with one line instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2."""
        self.exit(2, visible(f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n"))


def command(name: str) -> Command:
    """A command, its module imported."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found: Command = getattr(import_module(f"workbench.commands.{module}"), attribute)
    return found


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; only the one that is named is given its arguments."""
    parser = _Parser(
        prog="workbench",
        description="Align language models on several conflicting objectives: train, weigh, "
        "inspect, compare.",
    )
    parser.add_argument("--version", action="version", version=f"workbench {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, text) in COMMANDS.items():
        sub = subparsers.add_parser(name, help=text, description=text)
        if name != only:
            continue
        chosen = command(name)
        if chosen.runs_dir:
            sub.add_argument("--runs-dir", default="runs", help="where runs live (default: runs)")
        chosen.arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    Errors that a person can mend end with one line and status 1 (2: the command line itself);
    ``WORKBENCH_DEBUG=1`` shows the traceback instead.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    named = next((word for word in words if word in COMMANDS), None)
    warnings.showwarning = _show_warning
    args = build_parser(named).parse_args(words)
    args.own_process = argv is None  # not called by a test or a notebook
    try:
        return command(args.command).run(args)
    except BrokenPipeError:  # `workbench list | head`: the reader has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except _user_errors() as error:
        if os.environ.get("WORKBENCH_DEBUG"):
            raise
        return _refused(args.command, error)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """What an answer lacks (``StoreWarning``), and every other warning, as one line."""
    print(visible(f"note: {' '.join(str(message).split())}"), file=sys.stderr)


def _refused(name: str, error: BaseException) -> int:
    from workbench.commands.base import UsageError

    text = " ".join(str(error).split()) or type(error).__name__
    print(visible(f"workbench {name}: {text}"), file=sys.stderr)
    return 2 if isinstance(error, UsageError) else 1


def _user_errors() -> tuple[type[Exception], ...]:
    """What a person can mend: refused values, missing files and runs, a store that cannot."""
    from workbench.commands.base import UsageError
    from workbench.runs.rundir import LauncherError, UnknownRunError
    from workbench.store.errors import StoreError

    return (UsageError, ValueError, OSError, LauncherError, UnknownRunError, StoreError)


if __name__ == "__main__":
    sys.exit(main())
