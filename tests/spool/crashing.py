"""A process that dies before its Nth change to the file system, to whom it is refused, or before which another acts.

What is on disk at its death is all there is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests import file_system

CHANGES = {"open", "write", "fsync", "link", "rename", "unlink", "mkdir", "rmdir", "chmod", "fchmod"}
LOOKS = {"read", "lstat", "listdir", "fstat", "stat", "scandir"}


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
    file_system.work_on(_CountingOs(calls))
    try:
        yield
    except Died:
        pass
    finally:
        file_system.work_on(os)


class _InterruptedOs:
    """`os`, before whose Nth call of these `act` has its way, once."""

    def __init__(self, calls_left: int, act: Callable[[], object], names: Collection[str]) -> None:
        self._left = calls_left
        self._act = act
        self._names = names

    @property
    def has_acted(self) -> bool:
        return self._left < 0

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        return self._interrupted(real) if name in self._names else real

    def _interrupted(self, real):
        def call(*args, **kwargs):
            self._left -= 1
            if self._left == -1:
                mine = file_system.working_on()
                file_system.work_on(os)
                self._act()
                file_system.work_on(mine)
            return real(*args, **kwargs)

        return call


@contextmanager
def another_acts_after(
    calls: int, act: Callable[[], object], *, names: Collection[str] = frozenset(CHANGES)
) -> Iterator[_InterruptedOs]:
    """In the block, `act` happens between the first `calls` changes (or calls of `names`) and the next one."""
    interrupted = _InterruptedOs(calls, act, names)
    file_system.work_on(interrupted)
    try:
        yield interrupted
    finally:
        file_system.work_on(os)


class _RefusingOs:
    """`os`, whose Nth call fails with `number`, once. `refused`: that call's name, once it was made."""

    def __init__(self, calls_left: int, number: int) -> None:
        self._left = calls_left
        self._number = number
        self.refused = ""

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        return self._refusing(name, real) if name in CHANGES | LOOKS else real

    def _refusing(self, name: str, real):
        def call(*args, **kwargs):
            self._left -= 1
            if self._left == -1:
                self.refused = name
                raise OSError(self._number, os.strerror(self._number))
            return real(*args, **kwargs)

        return call


@contextmanager
def refused_after(calls: int, number: int) -> Iterator[_RefusingOs]:
    """In the block, the call after the first `calls` fails with errno `number`; the others are carried out."""
    refusing = _RefusingOs(calls, number)
    file_system.work_on(refusing)
    try:
        yield refusing
    finally:
        file_system.work_on(os)


class Killed(BaseException):
    """What no `except Exception` keeps from ending a process."""


def killed_at(step: int, names: Collection[str], act: Callable[[], object]) -> bool:
    """Whether `act` was killed before its `step`th call of these of `os`, whoever makes it."""
    left = [step]

    def counting(real: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(*args, **more)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(os, name, counting(getattr(os, name)))
        try:
            act()
        except Killed:
            return True
    return False
