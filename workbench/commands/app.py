"""The command that opens the browser workbench."""

from __future__ import annotations

import argparse

from workbench.commands.base import Command


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on")
    parser.add_argument(
        "--auth",
        action="append",
        metavar="USER:PASSWORD",
        help="who may use it; needed for any host but this machine (better: WORKBENCH_AUTH, which "
        "other users of the machine cannot see)",
    )
    parser.add_argument(
        "--allow-objective",
        action="append",
        metavar="MODULE:FUNCTION",
        help="own objectives that runs may name, patterns such as 'mine.*' included; without it "
        "any on this machine, none when others can reach the app",
    )
    parser.add_argument("--open", action="store_true", help="open a browser tab")


def _run(args: argparse.Namespace) -> int:
    import os

    from workbench.pages import serve

    named = args.auth or os.environ.get("WORKBENCH_AUTH", "").split()
    print(f"workbench on http://{args.host}:{args.port} (Ctrl-C ends it; runs go on)", flush=True)
    serve(
        args.runs_dir,
        args.host,
        args.port,
        auth=[_pair(text) for text in named] or None,
        allowed_functions=args.allow_objective,
        open_browser=args.open,
    )
    return 0


def _pair(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not colon or not user or not password:
        raise ValueError("--auth: expected USER:PASSWORD")
    return user, password


APP = Command("open the browser workbench", _arguments, _run)
