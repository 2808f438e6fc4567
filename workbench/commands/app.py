"""The command that opens the browser workbench."""

from __future__ import annotations

import argparse
import os
import sys

from workbench.commands.base import Command


def _arguments(parser: argparse.ArgumentParser) -> None:
    from workbench.runs.spawn import MAX_ACTIVE

    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on")
    parser.add_argument(
        "--auth",
        action="append",
        metavar="USER:PASSWORD",
        help="who may use it; needed for any host but this machine. Or set WORKBENCH_AUTH, which "
        "no shell history keeps",
    )
    parser.add_argument(
        "--allow-objective",
        action="append",
        metavar="MODULE:FUNCTION",
        help="own objectives that runs may name, patterns such as 'mine.*' included; without it "
        "any on this machine, none when others can reach the app",
    )
    parser.add_argument(
        "--allow-path",
        action="append",
        metavar="FOLDER",
        help="folders whose task files and models runs may name, beside the runs directory; "
        "without it any on this machine, none when others can reach the app",
    )
    parser.add_argument(
        "--max-runs",
        type=int,
        default=MAX_ACTIVE,
        metavar="N",
        help="runs that may be active at once before new ones queue; 0: no limit",
    )
    parser.add_argument(
        "--root-path",
        metavar="PATH",
        help="the path below which a proxy shows the app, e.g. /wb; or its whole address, "
        "https://HOST/wb, where the proxy hands on its own Host",
    )
    parser.add_argument("--open", action="store_true", help="open a browser tab")


def _run(args: argparse.Namespace) -> int:
    if args.max_runs < 0:
        raise ValueError(f"--max-runs {args.max_runs}: at least 1, or 0 for no limit")
    if args.auth:
        _start_again_without(args)
    from workbench.pages import serve
    from workbench.runs.spawn import AUTH

    named = os.environ.pop(AUTH, "").split()  # popped: no child of the app is told
    print(f"workbench on http://{args.host}:{args.port} (Ctrl-C ends it; runs go on)", flush=True)
    serve(
        args.runs_dir,
        args.host,
        args.port,
        auth=[_pair(text) for text in named] or None,
        allowed_functions=args.allow_objective,
        allowed_paths=args.allow_path,
        max_runs=args.max_runs or None,
        open_browser=args.open,
        root_path=args.root_path,
    )
    return 0


def _start_again_without(args: argparse.Namespace) -> None:
    """Become the same command with the passwords in the environment.

    Every user of a machine can read the words of its processes; only its owner, their environment.
    """
    from workbench.runs.spawn import AUTH

    for text in args.auth:
        _pair(text)
    words = ["app", "--host", args.host, "--port", str(args.port), "--runs-dir", args.runs_dir]
    words += [w for name in args.allow_objective or () for w in ("--allow-objective", name)]
    words += [w for name in args.allow_path or () for w in ("--allow-path", name)]
    words += ["--max-runs", str(args.max_runs)] + ["--open"] * args.open
    words += ["--root-path", args.root_path] if args.root_path else []
    sys.stdout.flush()
    os.execve(
        sys.executable,
        [sys.executable, "-m", "workbench", *map(str, words)],
        os.environ | {AUTH: " ".join(args.auth)},
    )


def _pair(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not colon or not user or not password or text.split() != [text]:
        raise ValueError("--auth: expected USER:PASSWORD, without blanks")
    return user, password


APP = Command(_arguments, _run)
