"""Programs of ours without the price of a new interpreter: forked from one that has imported them.

`Interpreter` is the tests' side; ``python -m tests.warm FD name ...`` is what it starts. That forks what runs a
command line as python does (``-m module words`` or ``file words``): the leader of a session, with the
environment it was given, also for who looks at it in /proc, and no descriptor but the three of every
program. What it does with the spool is what the program does; only imports were made before.

Knows nothing of strace or of what is run.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

OPTIONS = ("-B",)
REPOSITORY = str(Path(__file__).resolve().parents[2])
ROOM = {"ROOM": "x" * 16_384}  # in which a program's environment is shown
MAX_REQUEST_BYTES = 64 * 1024
PR_SET_PTRACER, ANYBODY = 0x59616D61, -1
ENV_START, ENV_END = 47, 48  # of /proc/self/stat, behind the name; see proc(5)
Main = Callable[[], object]


class Program:
    """One that was begun; it does nothing before `go`. As much of a Popen as the tests need."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._line = line

    def go(self) -> None:
        self._line.send(b"go")

    def wait(self, timeout: float | None = None) -> int:
        """How it ended, as a Popen says it.

        Raises:
            subprocess.TimeoutExpired: it has not ended after `timeout` seconds.
        """
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                self.returncode = int(self._line.recv(16))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(f"program {self.pid}", timeout or 0) from None
            self._line.close()
        return self.returncode

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class Interpreter:
    """One that has imported what `imports` names, our packages with all their modules; started when first needed.

    `env` is what must be said when it starts: to the loader, to python, to libraries that look at their import.
    """

    def __init__(self, imports: Sequence[str], env: dict[str, str]) -> None:
        self._imports = imports
        self._env = env
        self._lock = threading.Lock()

    def begin(self, argv: Sequence[str], env: dict[str, str], stdout: int, stderr: int, cwd: str = "") -> Program:
        """A program about to run `argv`, a command line that begins with this python and `OPTIONS`.

        From any thread. `stdout` and `stderr` are descriptors, and stay the caller's.
        """
        assert tuple(argv[: 1 + len(OPTIONS)]) == (sys.executable, *OPTIONS), argv
        words = list(argv[1 + len(OPTIONS) :])
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = json.dumps({"argv": words, "env": env, "cwd": cwd or os.getcwd()}).encode()
        with theirs, self._lock:
            socket.send_fds(self._asked, [request], [theirs.fileno(), stdout, stderr])
        return Program(int(ours.recv(16)), ours)

    @functools.cached_property
    def _asked(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen(
            [sys.executable, *OPTIONS, "-m", "tests.warm", str(theirs.fileno()), *self._imports],
            env={**self._env, "PYTHONPATH": REPOSITORY, **ROOM},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # as a program has them: what is written to is no file one may seek in
            stderr=subprocess.PIPE,
        )
        theirs.close()
        atexit.register(lambda: (ours.close(), process.communicate()))
        return ours


# -- the interpreter --------------------------------------------------------------------------------------------------


def main(asked: socket.socket, imports: Sequence[str]) -> None:
    for name in imports:
        module = import_module(name)
        if name.startswith("forgather_spool."):
            for found in pkgutil.walk_packages(module.__path__, f"{name}."):
                if not found.name.endswith("__main__"):
                    import_module(found.name)
    assert threading.active_count() == 1, "a fork has none of its threads"
    gc.freeze()
    serve(asked)()


def serve(asked: socket.socket) -> Main:
    """Fork for each request until nobody can ask any more. Returns what to do: in each fork, and at the end."""
    running: dict[int, tuple[int, socket.socket]] = {}  # by pidfd
    events = select.poll()
    events.register(asked, select.POLLIN)
    while True:
        for fd, _ in events.poll():
            if fd in running:
                events.unregister(fd)
                _tell_the_end(fd, *running.pop(fd))
                continue
            data, fds, _, _ = socket.recv_fds(asked, MAX_REQUEST_BYTES, 3)
            if not data:
                return lambda: None
            pid = os.fork()
            if pid == 0:
                asked.detach()
                return functools.partial(run, json.loads(data), fds)
            line = socket.socket(fileno=fds[0])
            line.send(b"%d" % pid)
            pidfd = os.pidfd_open(pid)
            running[pidfd] = pid, line
            events.register(pidfd, select.POLLIN)
            for one in fds[1:]:
                os.close(one)


def _tell_the_end(pidfd: int, pid: int, line: socket.socket) -> None:
    os.close(pidfd)
    returncode = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with line:
        try:
            line.send(b"%d" % returncode)
        except BrokenPipeError:  # nobody waits for it
            pass


def run(request: dict, fds: list[int]) -> None:
    """Be the program, once told to go."""
    line, stdout, stderr = fds
    os.chdir(request["cwd"])
    os.setsid()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.dup2(line, 3)
    os.closerange(4, 4096)
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)
    _take(request["env"])
    if not os.read(3, 8):
        return
    os.close(3)
    if request["argv"][0] == "-m":
        sys.argv = request["argv"][1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = request["argv"]
        runpy.run_path(sys.argv[0], run_name="__main__")


def _take(env: dict[str, str]) -> None:
    """For this program, for those it starts, and in /proc/self/environ, where others look for it."""
    os.environ.clear()
    os.environ.update(env)
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[ENV_START]), int(fields[ENV_END])
    shown = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in env.items())
    assert len(shown) <= end - start
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, shown, len(shown))


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
