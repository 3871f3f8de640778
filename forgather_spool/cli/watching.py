"""Showing something again whenever it changes: on a terminal in place, elsewhere one after the other.

Woken by the spool's changes and by the terminal's own; a look that is slow, as
of 100,000 jobs, is taken more seldom, so that it never takes more than a fifth
of a CPU. Ctrl-C ends it, as does the reader of our output going away, or one who was never there (`>&-`).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from forgather_spool.cli.reader import is_gone, leave_quietly, leaving
from forgather_spool.cli.table import clipped
from forgather_spool.spool.changes import Changes
from forgather_spool.spool.queue import Spool

AGES_S = 10.0  # "12s ago" grows by itself
ECHO_S = 1.0  # after a change: what follows from it and wakes nobody, such as a runner's start
AT_MOST_EVERY_S = 0.25
SHARE = 5.0  # rest so many times as long as a look took

_OTHER_SCREEN, _BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _TO_LINE_END, _TO_SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"


def show_changes(spool: Spool, look: Callable[[], tuple[str, object]], *, title: str, every_s: float = AGES_S) -> None:
    """Show the text `look` gives, now and whenever it may be different, until interrupted.

    What it gives beside the text is all that counts for what is no terminal:
    there it is shown again only when that differs, and not because time passed.
    `every_s` without a change it looks all the same.
    """
    on_terminal = can_draw()
    last: object = None
    with leaving() as leaving_fds, Changes(spool) as changes, _resizes() as resized_fd, _screen(on_terminal):
        limit_s = ECHO_S
        while True:
            began = time.monotonic()
            text, facts = look()
            if on_terminal:
                _draw(title, text)
            elif facts != last:
                print(text, flush=True)
            last = facts
            rest_s = max(AT_MOST_EVERY_S, SHARE * (time.monotonic() - began))
            heard = changes.wait(limit_s, (resized_fd, *leaving_fds))
            if is_gone():
                leave_quietly()
            _drain(resized_fd)
            left_s = began + rest_s - time.monotonic()
            if left_s > 0:
                time.sleep(left_s)
            limit_s = ECHO_S if (changes.take() or heard) and every_s > ECHO_S else every_s


def can_draw() -> bool:
    """Whether stdout is a terminal that can show something in place."""
    return sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


def fitted(lines: list[str], columns: int, rows: int) -> list[str]:
    """At most `rows` of `lines`, none wider than `columns`; the last says what is left out."""
    if len(lines) > rows:
        lines = [*lines[: rows - 1], f"… {len(lines) - rows + 1} more lines; the terminal is too low"]
    return [clipped(line, columns) for line in lines]


def _draw(title: str, text: str) -> None:
    size = shutil.get_terminal_size()
    head = f"{title}    {time.strftime('%H:%M:%S')}    Ctrl-C ends it"
    lines = fitted([head, "", *text.split("\n")], size.columns, size.lines - 1)
    body = "\n".join(line + _TO_LINE_END for line in lines)
    sys.stdout.write(f"{_HOME}{body}\n{_TO_SCREEN_END}")
    sys.stdout.flush()


@contextmanager
def _screen(on_terminal: bool) -> Iterator[None]:
    """The terminal's other screen, and the first one back as it was."""
    if not on_terminal:
        yield
        return
    sys.stdout.write(_OTHER_SCREEN)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.stdout.write(_BACK)
        sys.stdout.flush()


@contextmanager
def _resizes() -> Iterator[int]:
    """A descriptor that becomes readable when the terminal's size changes."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before = signal.signal(signal.SIGWINCH, lambda *_: os.write(writer, b"!"))
    try:
        yield reader
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(reader)
        os.close(writer)


def _drain(fd: int) -> None:
    try:
        os.read(fd, 4096)
    except BlockingIOError:
        return
