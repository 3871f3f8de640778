"""Feeds a parser: it answers or refuses in a person's words, and takes no second of CPU over anything."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from forgather_spool.errors import ForgatherError

LONG = os.environ.get("FORGATHER_LONG_TESTS") == "1"
INPUTS = 1_000_000 if LONG else 100_000
FEWEST = 100_000 if LONG else 1  # of what is dear to read, where there is time
HANG_S = 1.0

Given = TypeVar("Given", bytes, str)


class Hung(BaseException):
    """Not an Exception: no handler of ours may take it for a refusal."""


def _hung(*_: object) -> None:
    raise Hung


def endure(
    inputs: Iterator[Given], parser: Callable[[Given], object], *refusals: type[ForgatherError], share: int = 1
) -> tuple[int, int]:
    """Feed `INPUTS` / `share` inputs, at least `FEWEST`; how many were taken and how many refused.

    Raises:
        AssertionError: one was answered with anything but a value or one of `refusals`, or took `HANG_S` of CPU.
    """
    taken = refused = 0
    before = signal.signal(signal.SIGVTALRM, _hung)
    try:
        for given in islice(inputs, max(INPUTS // share, FEWEST)):
            signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
            try:
                parser(given)
                taken += 1
            except refusals as error:
                _check_words(given, error)
                refused += 1
            except (Exception, Hung) as error:
                # A report with the half of a character in it cannot be sent between the processes of pytest-xdist.
                trace = ascii("".join(traceback.format_exception(error))[-4000:]).replace("\\n", "\n")
                raise AssertionError(f"{type(error).__name__} on {given[:2000]!a}:\n{trace}") from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return taken, refused


def _check_words(given: bytes | str, error: ForgatherError) -> None:
    words = str(error)
    assert words.strip(), f"refused without a word: {given[:2000]!a}"
    if isinstance(given, bytes):  # a word of the command line is quoted as it came, and rendered by `cli`
        words.encode()


def put(path: Path, content: bytes | str) -> None:
    """The file, anew: ext4 waits for the disk where one that is there is cut and written again."""
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
