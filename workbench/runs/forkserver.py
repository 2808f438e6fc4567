"""Children that start at once: forked from one process that has imported the heavy libraries.

Importing the trainer takes 6 s of a core; a fork takes milliseconds. ``workbench bench`` and the
tests start their children in this way. A run that a person starts is a fresh interpreter all the
same: it inherits nothing (no threads, no GPU, no modules that have changed on disk since).

::

    with preloaded(["workbench.train.child"], ["workbench.train.maestro"]):
        Launcher(...).start(...)          # and whatever this process or its children start

The server listens on a socket in a folder of its own, which only its user can enter, and ends with
the process that started it; what it has forked goes on. A child is told from others by its mark as
any other process of a run is, so the mark is written where the system shows it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from workbench.config.environment import MARK, ROLE

SERVER = "WORKBENCH_FORK_SERVER"
"""``SOCKET:MODULE,MODULE``, for all that is started while a server runs."""
_ROOM = {MARK: 4096, ROLE: 32}
"""Bytes that the server's own environment keeps free for a child's."""
_HEAD = 8
"""Bytes of a number that goes over the socket."""
_REST = b"\0_="
"""What a value does not fill becomes a variable of no meaning: an empty one would end the list."""


@contextlib.contextmanager
def preloaded(
    modules: Sequence[str],
    imports: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a server as long as this holds; the modules are imported when the first child comes.

    Args:
        modules: children that are started as ``python -m MODULE`` are forked.
        imports: what they import later, on demand.
        environment: variables that these libraries read when they are imported.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-fork-") as folder:
        room = {name: " " * size for name, size in _ROOM.items()}
        server = subprocess.Popen(
            [sys.executable, "-m", __name__, f"{folder}/socket", *modules, *imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | dict(environment or {}) | room,
        )
        assert server.stdin is not None and server.stdout is not None
        server.stdout.readline()  # it listens
        before = os.environ.get(SERVER)
        os.environ[SERVER] = f"{folder}/socket:{','.join(modules)}"
        try:
            yield
        finally:
            os.environ.pop(SERVER, None)
            os.environ.update({SERVER: before} if before else {})
            server.stdin.close()
            server.stdout.close()
            server.wait()


class Forked:
    """A forked child; what ``subprocess.Popen`` tells of one."""

    def __init__(self, server: socket.socket, pid: int) -> None:
        self._server = server
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its exit code. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            said = self._server.recv(32)
            self.returncode = int(said) if said else -signal.SIGHUP  # the server is gone
            self._server.close()
        return self.returncode


def start(
    words: Sequence[str],
    *,
    cwd: Path | None,
    env: Mapping[str, str],
    stdout: IO[bytes],
    stderr: IO[bytes],
) -> Forked | subprocess.Popen[bytes]:
    """Start a command in a session of its own: forked where a server has its module, else spawned.

    Raises:
        OSError: it cannot be started.
    """
    address, _, modules = os.environ.get(SERVER, "").rpartition(":")
    fits = all(len(os.fsencode(env.get(name, "")) + _REST) <= size for name, size in _ROOM.items())
    if address and fits and words[:2] == [sys.executable, "-m"] and words[2] in modules.split(","):
        return _fork(address, words[2:], cwd or Path.cwd(), env, stdout, stderr)
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=env,
        start_new_session=True,
    )


def _fork(
    address: str,
    words: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    stdout: IO[bytes],
    stderr: IO[bytes],
) -> Forked:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.connect(address)
    asked = json.dumps({"words": list(words), "cwd": str(cwd), "env": dict(env)}).encode()
    head = len(asked).to_bytes(_HEAD, "big")
    socket.send_fds(server, [head], [stdout.fileno(), stderr.fileno()])
    server.sendall(asked)
    said = server.recv(_HEAD, socket.MSG_WAITALL)
    if len(said) < _HEAD:
        raise OSError("the fork server has ended")
    return Forked(server, int.from_bytes(said, "big"))


# -- the server -----------------------------------------------------------------------------------


@dataclass
class _Order:
    """What a child is to do."""

    words: list[str]
    cwd: str
    env: dict[str, str]
    files: list[int]


def _serve(listener: socket.socket, modules: Sequence[str], marks: dict[str, int]) -> _Order | None:
    """Fork a child for each order, until stdin ends. Returns None, and in a child its order."""
    waiting: dict[int, socket.socket] = {}
    ready, signalled = os.pipe()
    for end in (ready, signalled):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(signalled)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        found = select.select([listener, sys.stdin, ready], [], [])[0]
        if sys.stdin in found:
            return None
        if ready in found:
            os.read(ready, 512)
            while waiting and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                caller = waiting.pop(ended[0])
                with contextlib.suppress(OSError):  # who asked may be gone
                    caller.sendall(str(os.waitstatus_to_exitcode(ended[1])).encode())
                caller.close()
        if listener in found:
            caller, _ = listener.accept()
            head, files, _, _ = socket.recv_fds(caller, _HEAD, 2)
            with caller.makefile("rb") as stream:
                asked = json.loads(stream.read(int.from_bytes(head, "big")))
            for name in modules:
                try:
                    importlib.import_module(name)
                except Exception:  # the child that needs it says so in its own log
                    traceback.print_exc()
            gc.collect()
            gc.freeze()  # pages that the collector does not touch stay shared
            child_left, leaving = os.pipe()
            pid = os.fork()
            if pid == 0:
                _leave(asked["env"], marks)
                os.close(child_left)
                os.close(leaving)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for open_end in (ready, signalled):
                    os.close(open_end)
                for other in (listener, caller, *waiting.values()):
                    other.close()
                return _Order(**asked, files=files)
            for file in (*files, leaving):
                os.close(file)
            os.read(child_left, 1)  # nothing comes: the child has closed its end
            os.close(child_left)
            waiting[pid] = caller
            caller.sendall(pid.to_bytes(_HEAD, "big"))


def _leave(env: Mapping[str, str], marks: Mapping[str, int]) -> None:
    """Be no part of the server for whoever looks: before the child's number is told to anyone."""
    os.setsid()
    for name, place in marks.items():
        value = os.fsencode(env.get(name, "")) + _REST
        ctypes.memmove(place, value + b" " * (_ROOM[name] - len(value)), _ROOM[name])


def _become(order: _Order) -> None:
    """Be, as far as can be, what ``python -m MODULE ...`` would have started."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in zip((nothing, *order.files), (0, 1, 2), strict=True):
        os.dup2(source, target)
        os.close(source)
    os.chdir(order.cwd)
    os.environ.clear()
    os.environ.update(order.env)
    paths = order.env.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = list(dict.fromkeys([order.cwd, *filter(None, paths), *sys.path[1:]]))
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = open(number, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
        setattr(sys, name, stream)


def main(argv: Sequence[str]) -> None:
    """The server; in its children, the module that was asked for."""
    address, *modules = argv
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    marks = {name: libc.getenv(name.encode()) for name in _ROOM}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen()
        print("listening", flush=True)
        order = _serve(listener, modules, marks)
    if order is None:
        return
    _become(order)
    sys.argv = order.words
    warnings.filterwarnings("ignore", "'.*' found in sys.modules", RuntimeWarning)
    runpy.run_module(order.words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
