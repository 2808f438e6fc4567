"""Running the app: serve it until it is told to end."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from workbench.api.workbench import Workbench
from workbench.pages.app import build_app
from workbench.pages.gradio_patches import gr
from workbench.pages.server import LOOPBACK, NOTEBOOKS, ROOT
from workbench.runs.spawn import MAX_ACTIVE


def serve(
    runs_dir: str | Path | Workbench = "runs",
    host: str = "127.0.0.1",
    port: int = 7860,
    *,
    auth: list[tuple[str, str]] | None = None,
    allowed_functions: Sequence[str] | None = None,
    allowed_paths: Sequence[str | Path] | None = None,
    max_runs: int | None = MAX_ACTIVE,
    open_browser: bool = False,
    block: bool = True,
    embed: bool = False,
    root_path: str | None = None,
) -> gr.Blocks:
    """Serve the app; on SIGTERM or Ctrl-C it ends at once and leaves every run running.

    Args:
        runs_dir: where runs live; or a ``Workbench`` of one's own.
        host: address to listen on; anything but loopback needs ``auth``.
        port: the first port to try; a taken one is an error.
        auth: pairs of user name and password.
        allowed_functions: which ``package.module:function`` a run may name; None: any on
            loopback, none elsewhere.
        allowed_paths: folders whose files and models a run may name, beside the runs directory;
            None: any on loopback, none elsewhere.
        max_runs: how many runs may be active at once before new ones queue; None: no limit.
        open_browser: open a tab on it.
        block: stay until told to end; False returns the app at once (a notebook).
        embed: let notebooks on this machine, and VS Code, show it below a cell.
        root_path: the path below which a proxy shows the app, e.g. ``/wb``, or its whole address,
            ``https://hub.example.com/wb``, where the proxy hands on its own Host or Origin.

    Raises:
        ValueError: a public address without ``auth``, or a root path that is none.
        OSError: the port is taken.
    """
    if root_path is not None and not ROOT.fullmatch(root_path):
        raise ValueError(f"root path {root_path!r}: write /PATH or https://HOST/PATH")
    if host not in LOOPBACK and not auth:  # refused before anything is built
        raise ValueError(f"host {host!r} is open to others: give --auth USER:PASSWORD")
    ended = end_on_signal() if block else None  # before the app can be seen to be up
    app = build_app(runs_dir, allowed_functions, max_runs, allowed_paths)
    # no daemon: Python must not end while it is inside DuckDB, which would abort the process
    threading.Thread(target=app.router.warm_up, name="warm-up").start()
    if embed:
        app.frames = NOTEBOOKS
    app.launch(
        server_name=host,
        server_port=port,
        auth=auth,
        inbrowser=open_browser,
        prevent_thread_lock=True,
        quiet=True,
        inline=embed,
        height=800,
        root_path=root_path,
    )
    if ended is not None:
        wait_for_end(app, ended)
    atexit.register(app.close, verbose=False)  # a script that ends lets no request go on
    return app


def end_on_signal() -> threading.Event:
    """An event that SIGTERM, SIGINT and Ctrl-C set."""
    ended = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: ended.set())
    return ended


def wait_for_end(app: gr.Blocks, ended: threading.Event) -> None:
    """Stay until the event is set, then close the server; runs are not touched."""
    while not ended.wait(0.5):
        pass
    threading.Timer(2.0, os._exit, [0]).start()  # open connections must not hold the process
    app.close(verbose=False)
    os._exit(0)
