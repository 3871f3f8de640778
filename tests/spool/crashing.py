"""A process that dies before its Nth change to the file system, or before which another acts just then.

What is on disk at its death is all there is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from forgather_spool.spool import files

CHANGES = {"open", "write", "fsync", "link", "rename", "unlink", "mkdir", "rmdir", "chmod", "fchmod"}


class Died(BaseException):
    """Not an Exception: no handler of ours may survive its own death."""


class _CountingOs:
    """`os`, whose changing calls count down to death; after it every further call dies too."""

    def __init__(self, calls_left: int) -> None:
        self._left = calls_left

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        return self._counted(real) if name in CHANGES else real

    def _counted(self, real):
        def call(*args, **kwargs):
            if self._left <= 0:
                raise Died
            self._left -= 1
            return real(*args, **kwargs)

        return call


@contextmanager
def dies_after(calls: int) -> Iterator[None]:
    """In the block, the first `calls` changes happen, and the next one never does."""
    files.os = _CountingOs(calls)  # type: ignore[assignment]
    try:
        yield
    except Died:
        pass
    finally:
        files.os = os


class _InterruptedOs:
    """`os`, before whose Nth change `act` has its way, once."""

    def __init__(self, calls_left: int, act: Callable[[], object]) -> None:
        self._left = calls_left
        self._act = act

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        return self._interrupted(real) if name in CHANGES else real

    def _interrupted(self, real):
        def call(*args, **kwargs):
            self._left -= 1
            if self._left == -1:
                files.os, mine = os, files.os
                self._act()
                files.os = mine
            return real(*args, **kwargs)

        return call


@contextmanager
def another_acts_after(calls: int, act: Callable[[], object]) -> Iterator[None]:
    """In the block, `act` happens between the first `calls` changes and the next one."""
    files.os = _InterruptedOs(calls, act)  # type: ignore[assignment]
    try:
        yield
    finally:
        files.os = os
