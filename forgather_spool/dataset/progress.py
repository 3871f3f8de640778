"""Progress of what may take minutes: copying, indexing, hashing. Who is told is said once, around the call.

Whatever builds takes a `Progress` and calls it as often as it likes: ``what`` is
done, ``done`` of ``total`` (0: not known). It costs well under a microsecond.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Progress = Callable[[str, int, int], None]
QUIET_S, EVERY_S = 2.0, 5.0
_told: ContextVar[Progress | None] = ContextVar("forgather_dataset_progress", default=None)


@contextmanager
def told_to(progress: Progress) -> Iterator[None]:
    """Loads in this block tell `progress` in place of stderr."""
    token = _told.set(progress)
    try:
        yield
    finally:
        _told.reset(token)


def teller() -> Progress:
    """Who is to be told now."""
    return _told.get() or plain_lines()


def plain_lines(say: Callable[[str], None] | None = None) -> Progress:
    """A line on stderr every five seconds, from the second one on: what a log can take."""
    due = time.monotonic() + QUIET_S

    def tell(what: str, done: int, total: int) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + EVERY_S
            (say or _say)(f"forgather dataset: {what}: {amount(done, total)}")

    return tell


def amount(done: int, total: int) -> str:
    """``1,000 of 4,000 (25 %)``, or only what is done."""
    return f"{done:,} of {total:,} ({100 * done // total} %)" if total else f"{done:,}"


def nobody(what: str, done: int, total: int) -> None:
    """For who wants quiet."""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
