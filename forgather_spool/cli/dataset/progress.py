"""How a load's progress is told: a bar on a terminal, plain lines in a log, JSON with --json, nothing with --quiet."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from forgather_spool.dataset.progress import Progress, amount, nobody, plain_lines, told_to

BAR_AFTER_S = 0.5
BAR_CELLS = 24


@contextmanager
def progress_told(*, json_: bool, quiet: bool) -> Iterator[None]:
    """Loads in this block tell of themselves on stderr, in the way that suits who reads it."""
    if quiet:
        with told_to(nobody):
            yield
    elif json_:
        with told_to(_json_lines()):
            yield
    elif sys.stderr.isatty():
        bar = _Bar()
        try:
            with told_to(bar):
                yield
        finally:
            bar.clear()
    else:
        with told_to(plain_lines()):
            yield


def _json_lines() -> Progress:
    """As plain lines, and as often; each a JSON object."""
    said: list[tuple[str, int, int]] = []
    tell = plain_lines(lambda line: _say_json(*said[-1]))

    def told(what: str, done: int, total: int) -> None:
        said[:] = [(what, done, total)]
        tell(what, done, total)

    return told


def _say_json(what: str, done: int, total: int) -> None:
    print(json.dumps({"progress": what, "done": done, "total": total or None}), file=sys.stderr, flush=True)


class _Bar:
    """One line of the terminal, drawn again ten times a second at most, gone when it is done."""

    def __init__(self) -> None:
        import time

        self._now = time.monotonic
        self._due = self._now() + BAR_AFTER_S
        self._drawn = False

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._now() < self._due:
            return
        self._due, self._drawn = self._now() + 0.1, True
        filled = BAR_CELLS * done // total if total else 0
        bar = f"[{'#' * filled}{'.' * (BAR_CELLS - filled)}] " if total else ""
        sys.stderr.write(f"\r\x1b[K{bar}{what}: {amount(done, total)}")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
