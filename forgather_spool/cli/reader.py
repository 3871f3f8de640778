"""Whether anybody reads what we print: asked by what goes on until its reader has had enough.

What ends by itself need not ask. A stdout that was closed before we began
(`>&-`) is the null device by now, as `entry.py` says; a pipe nobody reads any
more is only noticed by writing to it, or here.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from forgather_spool.cli import READER_GONE, closed_at_start

STDOUT = 1


def is_gone(fd: int = STDOUT) -> bool:
    """Whether the pipe, socket or terminal `fd` is open to has nobody at its other end."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


@contextmanager
def leaving() -> Iterator[list[int]]:
    """A descriptor that becomes readable when the reader of stdout goes; none where that one has no such end.

    Ends the program, without a word and with 141, where nobody can read it.
    """
    if STDOUT in closed_at_start or is_gone():
        leave_quietly()
    with select.epoll() as epoll:
        try:
            epoll.register(STDOUT, 0)  # its going is always told of
        except PermissionError:  # a file
            yield []
            return
        yield [epoll.fileno()]


def leave_quietly() -> NoReturn:
    """Whoever read our output has gone; the interpreter must not complain when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    sys.exit(READER_GONE)
