"""Signals without the `signal` module, whose enums cost a runner 0.4 MB and 5 ms.

In the runner a signal is a byte to poll for; in the job every one is as the
kernel made it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

SIGHUP: int = _signal.SIGHUP
SIGINT: int = _signal.SIGINT
SIGKILL: int = _signal.SIGKILL
SIGTERM: int = _signal.SIGTERM
SIGCHLD: int = _signal.SIGCHLD
SIGCONT: int = _signal.SIGCONT
SIGPIPE: int = _signal.SIGPIPE
SIGXFSZ: int = _signal.SIGXFSZ
IGNORED = (SIGINT, SIGHUP, SIGPIPE, SIGXFSZ)  # by a runner: they are meant for its job, or come from a disk
_FIXED = (SIGKILL, _signal.SIGSTOP)  # nobody may change these


class Caught:
    """The `numbers` arrive here instead of acting; `fileno` is readable when some have. One per process."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in numbers:
            _signal.signal(number, _nothing)

    def fileno(self) -> int:
        return self._read_fd

    def read(self) -> set[int]:
        """Which came since the last call; each once, however often it came."""
        try:
            return set(os.read(self._read_fd, 4096))
        except BlockingIOError:
            return set()

    def close(self) -> set[int]:
        """Let them act as the kernel made them; those that came and were not read."""
        for number in self._numbers:
            _signal.signal(number, _signal.SIG_DFL)
        heard = self.read()
        _signal.set_wakeup_fd(-1)
        os.close(self._read_fd)
        os.close(self._write_fd)
        return heard


def reap_by_itself() -> None:
    """Let the kernel forget this process's children as they end: nobody waits for them."""
    _signal.signal(SIGCHLD, _signal.SIG_IGN)


def ignore(*numbers: int) -> None:
    for number in numbers:
        _signal.signal(number, _signal.SIG_IGN)


def heed(*numbers: int) -> None:
    """They act by default again."""
    for number in numbers:
        _signal.signal(number, _signal.SIG_DFL)


def as_the_kernel_made_them() -> None:
    """Every signal acts by default and none is blocked, whatever was inherited."""
    _signal.set_wakeup_fd(-1)
    for number in _signal.valid_signals():
        if number not in _FIXED:
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def _nothing(number: int, frame: object) -> None:
    """Being caught is all: the byte in the pipe tells."""
