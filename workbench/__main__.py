"""The command line: ``python -m workbench COMMAND``, also installed as ``workbench``."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from workbench.bench import cli as bench
from workbench.commands import (
    analysis,
    app,
    data,
    inspect,
    marks,
    offline,
    runs,
    store,
    sweep,
)  # fmt: skip
from workbench.commands.base import Command, UsageError
from workbench.version import __version__

COMMANDS: dict[str, Command] = {
    "run": runs.RUN,
    "list": runs.LIST,
    "show": runs.SHOW,
    "stop": runs.STOP,
    "resume": runs.RESUME,
    "delete": runs.DELETE,
    "rename": marks.RENAME,
    "duplicate": marks.DUPLICATE,
    "annotate": marks.ANNOTATE,
    "inspect": inspect.INSPECT,
    "sweep": sweep.SWEEP,
    "offline": offline.OFFLINE,
    "data": data.DATA,
    "evaluate": analysis.EVALUATE,
    "compare": analysis.COMPARE,
    "whatif": analysis.WHATIF,
    "query": store.QUERY,
    "schema": store.SCHEMA,
    "export": store.EXPORT,
    "import": store.IMPORT,
    "archive": store.ARCHIVE,
    "doctor": store.DOCTOR,
    "bench": Command("measure every weighting on the etudes", bench.arguments, bench.run),
    "app": app.APP,
}
"""Every command by name, in the order of the help."""


class _Parser(argparse.ArgumentParser):
    """Refuses with one line instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n")


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; ``only`` one is given its arguments where one is named."""
    parser = _Parser(
        prog="workbench",
        description="Align language models on several conflicting objectives: train, weigh, "
        "inspect, compare.",
    )
    parser.add_argument("--version", action="version", version=f"workbench {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = subparsers.add_parser(name, help=command.help, description=command.help)
        if only not in (None, name):
            continue
        if command.runs_dir:
            sub.add_argument("--runs-dir", default="runs", help="where runs live (default: runs)")
        command.arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    Errors that a person can mend end with one line and status 1 (2: the command line itself);
    ``WORKBENCH_DEBUG=1`` shows the traceback instead.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    named = next((word for word in words if word in COMMANDS), None)
    args = build_parser(named).parse_args(words)
    args.own_process = argv is None  # not called by a test or a notebook
    warnings.showwarning = _show_warning
    try:
        return COMMANDS[args.command].run(args)
    except BrokenPipeError:  # `workbench list | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except UsageError as error:
        return _refused(args.command, error, 2)
    except _user_errors() as error:
        if os.environ.get("WORKBENCH_DEBUG"):
            raise
        return _refused(args.command, error, 1)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """What an answer lacks (``StoreWarning``), and every other warning, as one line."""
    print(f"note: {' '.join(str(message).split())}", file=sys.stderr)


def _refused(command: str, error: BaseException, status: int) -> int:
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"workbench {command}: {text}", file=sys.stderr)
    return status


def _user_errors() -> tuple[type[Exception], ...]:
    """What a person can mend: refused values, missing files and runs, a store that cannot."""
    from workbench.runs.rundir import LauncherError, UnknownRunError
    from workbench.store.errors import StoreError

    return (ValueError, OSError, LauncherError, UnknownRunError, StoreError)


if __name__ == "__main__":
    sys.exit(main())
