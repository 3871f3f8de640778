"""Feeds a parser: it answers or refuses in a person's words, and takes no second of CPU over anything."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from forgather_spool.errors import ForgatherError

INPUTS = 1_000_000 if os.environ.get("FORGATHER_LONG_TESTS") == "1" else 100_000
HANG_S = 1.0

Given = TypeVar("Given", bytes, str)


class Hung(BaseException):
    """Not an Exception: no handler of ours may take it for a refusal."""


def _hung(*_: object) -> None:
    raise Hung


def endure(
    inputs: Iterator[Given], parser: Callable[[Given], object], *refusals: type[ForgatherError], share: int = 1
) -> tuple[int, int]:
    """Feed `INPUTS` / `share` inputs; how many were taken and how many refused.

    Raises:
        AssertionError: one was answered with anything but a value or one of `refusals`, or took `HANG_S` of CPU.
    """
    taken = refused = 0
    before = signal.signal(signal.SIGVTALRM, _hung)
    try:
        for given in islice(inputs, INPUTS // share):
            signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
            try:
                parser(given)
                taken += 1
            except refusals as error:
                _check_words(given, error)
                refused += 1
            except (Exception, Hung) as error:
                raise AssertionError(f"{type(error).__name__} on {given[:2000]!r}") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return taken, refused


def _check_words(given: bytes | str, error: ForgatherError) -> None:
    words = str(error)
    assert words.strip(), f"refused without a word: {given[:2000]!r}"
    if isinstance(given, bytes):  # a word of the command line is quoted as it came, and rendered by `cli`
        words.encode()
