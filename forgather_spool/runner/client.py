"""The dispatcher's side of the nursery: take a waiting child, tell it what to run, or let it go away.

One child more than needed is kept waiting: a fork costs a millisecond, which
the next job then does not wait for. The write end of a go-pipe exists in the
dispatcher alone. So when the dispatcher dies, every child that waits reads the
end of its pipe and exits.

A runner whose pipe is kept open may run another job after its own: `take_back`
it when that has ended, and the next `hatch` gives it out again. Each says through
one pipe of ours that its job is over, a commit or two before it has ended; `over`.

Light: a dispatcher starts its nursery before it loads the rest of itself.
"""

from __future__ import annotations

import _socket
import os
import select
import sys

from forgather_spool.document import Document, parse
from forgather_spool.errors import Missing
from forgather_spool.host import proc
from forgather_spool.runner import signals
from forgather_spool.runner.request import FD_BYTES, GO, HATCH, MAX_REQUEST_BYTES, OVER_BYTES, read_over, spelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REPLY_PATIENCE_S = 10.0  # a fork takes a millisecond; a machine that swaps takes longer
REPLY_BYTES = 64 * 1024
THEIR_FD = 3  # the nursery's end of the socket, as the nursery numbers it
MAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")

# What the nursery, and so every runner, may know of the dispatcher's environment.
# Above all not NOTIFY_SOCKET, LISTEN_FDS, WATCHDOG_USEC, JOURNAL_STREAM: they are the dispatcher's own.
PASSED_ON = frozenset({"PATH", "HOME", "LANG", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"})


class Hatched:
    """A child that waits to run `request`. `go_fd` is ours; use `Nursery.go` and `Nursery.abandon`."""

    __slots__ = ("go_fd", "is_told", "pid", "request", "start_ticks")

    def __init__(self, pid: int, start_ticks: int, go_fd: int, request: bytes = b"") -> None:
        self.pid = pid
        self.start_ticks = start_ticks
        self.go_fd = go_fd
        self.request = request
        self.is_told = False

    def to_run(self, request: bytes) -> Hatched:
        """The same child, for this job."""
        return Hatched(self.pid, self.start_ticks, self.go_fd, request)


class Nursery:
    """Started at the first `hatch`, started again when it has died. Not for several threads."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._pid: int | None = None
        self._sock: _socket.socket | None = None
        self._over_fds: tuple[int, int] | None = None  # the ends of the pipe through which runners say so
        self._awaited_fd = -1  # the go-pipe of the child that is asked for and not taken yet
        self._lent: dict[tuple[int, int], Hatched] = {}  # by pid and start time: those that may run another job
        self._free: list[Hatched] = []  # those of them whose job has ended

    @property
    def pid(self) -> int | None:
        return self._pid

    @property
    def is_prepared(self) -> bool:
        """Whether a child waits, or is on its way, that no job has."""
        return self._awaited_fd >= 0

    def hatch(self, request: Document) -> Hatched:
        """A child that waits to run `request`: what `Request` names, as a document.

        Raises:
            Missing: no child is to be had now; nothing of the job has run.
        """
        data = spelled(request)
        if len(data) > MAX_REQUEST_BYTES:
            raise Missing(f"the environment of this host is too large to pass on ({len(data)} bytes)")
        while self._free:
            child = self._free.pop()
            if proc.is_alive(child.pid, child.start_ticks):
                return child.to_run(data)
            os.close(child.go_fd)
        for _ in range(2):
            try:
                child = self._take()
            except (OSError, EOFError) as error:  # the nursery has died; its waiting children with it
                self._end_nursery()
                why = str(error) or "it ended"
                continue
            if proc.is_alive(child.pid, child.start_ticks):
                return child.to_run(data)
            os.close(child.go_fd)  # somebody killed it while it waited
            why = "the child it forked has gone"
        raise Missing(f"the nursery does not answer: {why}", hint="forgather doctor")

    def prepare(self) -> None:
        """Ask for the next child, without waiting for it. What goes wrong is told by the next `hatch`."""
        try:
            self._ask()
        except OSError:
            self._end_nursery()

    def tell(self, hatched: Hatched) -> None:
        """Have the child make ready for its job while its scope comes up; its claim stands. `go` is still to come."""
        try:
            _write(hatched.go_fd, hatched.request)
            hatched.is_told = True
        except OSError:
            pass  # it has died; see `go`

    def go(self, hatched: Hatched, *, keep: bool = False) -> None:
        """Tell the child to run its job. If it has died meanwhile its scope is empty, and that tells.

        `keep`: it may run another one later, see `take_back`.
        """
        try:
            _write(hatched.go_fd, GO if hatched.is_told else hatched.request + GO)
        except OSError:
            keep = False  # closing tells it to exit
        if keep:
            self._lent[hatched.pid, hatched.start_ticks] = hatched
        else:
            os.close(hatched.go_fd)

    def fileno(self) -> int | None:
        """Readable when `over` has something to tell."""
        return None if self._over_fds is None else self._over_fds[0]

    def over(self) -> list[tuple[str, int]]:
        """Jobs and attempts of which nobody is left, whose runners are at their results; each once. Never blocks."""
        if self._over_fds is None:
            return []
        said = b""
        while True:
            try:
                chunk = os.read(self._over_fds[0], OVER_BYTES)
            except BlockingIOError:
                return read_over(said)
            said += chunk

    def take_back(self, pid: int, start_ticks: int) -> None:
        """The job of this runner lies in done/: the next `hatch` may give it out, until `let_go`. Unknown is fine."""
        lent = self._lent.pop((pid, start_ticks), None)
        if lent is not None:
            self._free.append(lent)

    def let_go(self) -> None:
        """There is nothing to do for those that were taken back: they exit."""
        while self._free:
            os.close(self._free.pop().go_fd)

    def abandon(self, hatched: Hatched) -> None:
        """Have the child exit without running anything."""
        os.close(hatched.go_fd)

    def close(self) -> None:
        """End the nursery; what it hatched lives on, for the job it has."""
        self._end_nursery()
        for fd in self._over_fds or ():
            os.close(fd)
        self._over_fds = None

    def _end_nursery(self) -> None:
        """What it hatched lives on, for the job it has. The next `hatch` starts another."""
        self._free.extend(self._lent.values())
        self._lent.clear()
        self.let_go()
        if self._awaited_fd >= 0:
            os.close(self._awaited_fd)
            self._awaited_fd = -1
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._pid is not None:
            _end(self._pid)
            self._pid = None

    def _ask(self) -> None:
        if self._awaited_fd >= 0:
            return
        sock = self._sock or self._start()
        if self._over_fds is None:
            self._over_fds = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        read_fd, go_fd = os.pipe2(os.O_CLOEXEC)
        try:
            _send_with(sock, HATCH, read_fd, self._over_fds[1])
        except OSError:
            os.close(go_fd)
            raise
        finally:
            os.close(read_fd)
        self._awaited_fd = go_fd

    def _take(self) -> Hatched:
        self._ask()
        assert self._sock is not None
        reply = _reply(self._sock)
        go_fd, self._awaited_fd = self._awaited_fd, -1
        if "error" in reply:
            os.close(go_fd)
            raise Missing(f"the nursery could not fork a runner: {reply['error']}")
        return Hatched(reply["pid"], reply["start_ticks"], go_fd)

    def _start(self) -> _socket.socket:
        self._end_nursery()
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        command = [sys.executable, "-E", "-s", "-S", MAIN, str(THEIR_FD), self._home]
        null = ((os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(THEIR_FD))
        ends = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), THEIR_FD), *null]
        try:
            environ = nursery_environment(os.environ)
            self._pid = os.posix_spawn(sys.executable, command, environ, file_actions=ends, setsid=True)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._sock = ours
        return ours


def nursery_environment(environ: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """The few variables of `environ` that a runner may see."""
    return {name: value for name, value in environ.items() if name in PASSED_ON or name.startswith("FORGATHER_")}


def _end(pid: int) -> None:
    """It reads the end of its socket anyway, unless it is stopped."""
    try:
        os.kill(pid, signals.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # whoever started us has children waited for by the kernel


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _send_with(sock: _socket.socket, data: bytes, *fds: int) -> None:
    """`data`, and descriptors of ours with it."""
    rights = b"".join(fd.to_bytes(FD_BYTES, sys.byteorder) for fd in fds)
    sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])


def _reply(sock: _socket.socket) -> dict[str, Any]:
    if not select.select([sock], [], [], REPLY_PATIENCE_S)[0]:
        raise TimeoutError(f"no reply within {REPLY_PATIENCE_S:g} s")
    data = sock.recv(REPLY_BYTES)
    if not data:
        raise EOFError
    reply: dict[str, Any] = parse(data)
    return reply
