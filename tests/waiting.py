"""Waiting in tests: for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

POLL_INTERVAL_S = 0.02
T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout_s: float = 120, what: str = "") -> T:
    """The condition's first true value. Fails, naming `what` was awaited, after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s for {what or condition}; it last gave {value!r}")
        time.sleep(POLL_INTERVAL_S)
    return value
