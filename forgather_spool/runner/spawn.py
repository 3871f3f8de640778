"""Starting the command: one exec, with everything as a fresh login would have it.

Standard input is /dev/null; output and error are one pipe, or one terminal.
Nothing else is open. `subprocess` would do the same at 2 MB a runner.
"""

from __future__ import annotations

import fcntl
import os
import sys

from forgather_spool.errors import Missing
from forgather_spool.host.program import not_started
from forgather_spool.runner import signals
from forgather_spool.runner.command import Command

PIPE_BYTES = 1 << 20
TTY_BYTES = 4096  # N_TTY_BUF_SIZE in Linux
TTY_ROWS, TTY_COLUMNS = 24, 80
OOM_SCORE = "/proc/self/oom_score_adj"
OOM_SCORE_BYTES = 16
OOM_SCORE_MORE = 300  # of 1000: the kernel takes the job and never its runner


class Spawned:
    """The running command, the descriptor its output is read from (non-blocking), and how much that can hold."""

    __slots__ = ("capacity_bytes", "output_fd", "pid")

    def __init__(self, pid: int, output_fd: int, capacity_bytes: int) -> None:
        self.pid = pid
        self.output_fd = output_fd
        self.capacity_bytes = capacity_bytes


def spawn(command: Command) -> Spawned:
    """Start `command` in its own process group, with `tty` in its own session, every signal as the kernel made it.

    posix_spawn(3) borrows this process's memory until the command has taken its
    place; a fork would copy its tables, and then each page that either writes.

    Raises:
        Missing: it could not be started; the sentence says why.
    """
    output_fd, job_fd = _terminal() if command.tty else _pipe()
    try:
        pid = _spawn(command, job_fd)
    except BaseException:
        os.close(output_fd)
        raise
    finally:
        os.close(job_fd)
    os.sched_yield()  # where both share a core the kernel has us go on, and the command is ready and waits
    os.set_blocking(output_fd, False)
    capacity_bytes = TTY_BYTES if command.tty else fcntl.fcntl(output_fd, fcntl.F_GETPIPE_SZ)
    return Spawned(pid, output_fd, capacity_bytes)


def _spawn(command: Command, job_fd: int) -> int:
    with _Volunteered():
        try:
            os.chdir(command.cwd.encode())  # the command inherits it
        except OSError as error:
            raise Missing(f"its directory {command.cwd} cannot be entered: {error.strerror}") from None
        try:
            return _posix_spawn(command, job_fd)
        except OSError as error:
            raise not_started(command.program, error) from None
        finally:
            os.chdir("/")


def _posix_spawn(command: Command, job_fd: int) -> int:
    program, argv = command.program.encode(), [word.encode() for word in command.argv]
    env = {name.encode(): value.encode() for name, value in command.env.items()}
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    error = (os.POSIX_SPAWN_DUP2, 1, 2)
    if command.tty:  # who leads a session and opens a terminal is given it for its own
        actions = [null, (os.POSIX_SPAWN_OPEN, 1, os.ttyname(job_fd), os.O_RDWR, 0), error]
        return os.posix_spawn(
            program, argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=signals.IGNORED
        )
    actions = [null, (os.POSIX_SPAWN_DUP2, job_fd, 1), error]
    return os.posix_spawn(
        program, argv, env, file_actions=actions, setpgroup=0, setsigmask=(), setsigdef=signals.IGNORED
    )


class _Volunteered:
    """While inside, who is born is taken by the kernel for memory, rather than this process."""

    def __enter__(self) -> None:
        self._score: int | None = None
        self._fd = -1
        try:
            self._fd = os.open(OOM_SCORE, os.O_RDWR | os.O_CLOEXEC)
            self._score = int(os.pread(self._fd, OOM_SCORE_BYTES, 0) or b"0")
            self._write(min(1000, self._score + OOM_SCORE_MORE))
        except OSError:
            pass  # no /proc here; the runner is small and rarely chosen

    def __exit__(self, *_: object) -> None:
        if self._score is not None:
            try:
                self._write(self._score)  # back to what its owner set: that is refused to nobody
            except OSError:
                pass
        if self._fd >= 0:
            os.close(self._fd)

    def _write(self, score: int) -> None:
        os.pwrite(self._fd, b"%d" % score, 0)


def _pipe() -> tuple[int, int]:
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass  # over pipe-user-pages-soft (pipe(7)): the small one works too
    return read_fd, write_fd


def _terminal() -> tuple[int, int]:
    import termios

    ours, theirs = os.openpty()
    size = b"".join(n.to_bytes(2, sys.byteorder) for n in (TTY_ROWS, TTY_COLUMNS, 0, 0))
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    return ours, theirs
