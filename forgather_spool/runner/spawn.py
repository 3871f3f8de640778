"""Starting the command: one fork and one exec, with everything as a fresh login would have it.

Standard input is /dev/null; output and error are one pipe, or one terminal.
Nothing else is open. `subprocess` would do the same at 2 MB a runner.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from forgather_spool.errors import Missing
from forgather_spool.runner import signals
from forgather_spool.runner.command import Command

PIPE_BYTES = 1 << 20
TTY_BYTES = 4096  # N_TTY_BUF_SIZE in Linux
TTY_ROWS, TTY_COLUMNS = 24, 80
OOM_SCORE_MORE = 300  # of 1000: the kernel takes the job and never its runner
_EXEC_FAILED = 127


class Spawned:
    """The running command, the descriptor its output is read from (non-blocking), and how much that can hold."""

    __slots__ = ("capacity_bytes", "output_fd", "pid")

    def __init__(self, pid: int, output_fd: int, capacity_bytes: int) -> None:
        self.pid = pid
        self.output_fd = output_fd
        self.capacity_bytes = capacity_bytes


def spawn(command: Command) -> Spawned:
    """Start `command` in its own process group, with `tty` in its own session.

    Raises:
        Missing: it could not be started; the sentence says why.
    """
    output_fd, job_fd = _terminal() if command.tty else _pipe()
    report_fd, error_fd = os.pipe2(os.O_CLOEXEC)
    signals.hold_all()
    try:
        pid = os.fork()
        if pid == 0:
            _become(command, job_fd, error_fd)
    finally:
        signals.release_all()
    os.close(job_fd)
    os.close(error_fd)
    report = os.read(report_fd, 64)  # its end: exec has closed the other one
    os.close(report_fd)
    if report:
        os.waitpid(pid, 0)
        os.close(output_fd)
        step, number = report.decode().split()
        raise Missing(_why(command, step, int(number)))
    os.set_blocking(output_fd, False)
    capacity_bytes = TTY_BYTES if command.tty else fcntl.fcntl(output_fd, fcntl.F_GETPIPE_SZ)
    return Spawned(pid, output_fd, capacity_bytes)


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


def _become(command: Command, job_fd: int, error_fd: int) -> None:
    """In the child: turn into the command, or say into `error_fd` which step failed. Does not return."""
    step = "setup"
    try:
        _leave_the_runner(command.tty, job_fd)
        step = "cwd"
        os.chdir(command.cwd.encode())
        step = "exec"
        env = {name.encode(): value.encode() for name, value in command.env.items()}
        os.execve(command.program.encode(), [word.encode() for word in command.argv], env)
    except OSError as error:
        os.write(error_fd, f"{step} {error.errno or 0}".encode())
    finally:
        os._exit(_EXEC_FAILED)


def _leave_the_runner(tty: bool, job_fd: int) -> None:
    null_fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null_fd, 0)
    os.dup2(job_fd, 1)
    os.dup2(job_fd, 2)
    if tty:
        import termios

        os.setsid()
        fcntl.ioctl(1, termios.TIOCSCTTY, 0)
    else:
        os.setpgid(0, 0)
    _volunteer_for_oom()
    signals.as_the_kernel_made_them()


def _volunteer_for_oom() -> None:
    try:
        with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
            score = min(1000, int(file.read() or b"0") + OOM_SCORE_MORE)
            file.seek(0)
            file.write(str(score).encode())
    except OSError:
        pass  # no /proc here; the runner is small and rarely chosen


def _why(command: Command, step: str, number: int) -> str:
    if step == "cwd":
        return f"its directory {command.cwd} cannot be entered: {os.strerror(number)}"
    if step == "setup":
        return f"its process could not be set up: {os.strerror(number)}"
    return f"the command {command.program} {_EXEC_SAYS.get(number, 'cannot be executed')}: {os.strerror(number)}"


_EXEC_SAYS = {
    errno.ENOEXEC: "is neither a program nor a script with a first line such as #!/bin/sh",
    errno.ENOENT: "cannot be executed because the interpreter its first line names is not there",
    errno.EACCES: "may not be executed (its mode, its folder, or a file system mounted noexec)",
    errno.E2BIG: "has too many arguments or too large an environment",
}
