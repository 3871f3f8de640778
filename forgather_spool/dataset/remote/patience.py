"""How long to go on trying: when to ask again, and when to give up. Knows no server."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable

from forgather_spool.errors import ForgatherError, UsageError

MAX_RETRY_VARIABLE = "FORGATHER_DATASET_CLIENT_MAX_RETRY_SECONDS"
FIRST_S, LONGEST_S = 0.1, 30.0
QUIET_S, TOLD_EVERY_S = 2.0, 60.0
Wait = Callable[[float], object]


def max_retry_s() -> float | None:
    """How long to try without a row; None: for ever.

    Raises:
        UsageError: the variable holds something else than seconds.
    """
    text = os.environ.get(MAX_RETRY_VARIABLE, "").strip()
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e9:
        raise UsageError(f"{MAX_RETRY_VARIABLE} is {text!r}, not a number of seconds")
    return found


def delay_s(failures: int, asked_s: float = 0.0, chance: Callable[[], float] = random.random) -> float:
    """The wait before the next try, after so many in a row: none, then twice as long each time, up to 30 s.

    Each between half and all of it, so that clients that lost a server together do not come back together.
    """
    if failures < 2:
        return asked_s
    longest = min(FIRST_S * 2.0 ** min(failures - 2, 20), LONGEST_S)
    return max(asked_s, longest * (0.5 + chance() / 2))


class Patience:
    """Counts failures since the last progress. `limit_s` None: endless."""

    def __init__(self, limit_s: float | None, wait: Wait = time.sleep, clock: Callable[[], float] = time.monotonic):
        self._limit_s = limit_s
        self._wait = wait
        self._clock = clock
        self._failures = 0
        self._since = 0.0
        self._told_at: float | None = None

    def progress(self) -> None:
        """Something good came."""
        if self._failures:
            if self._told_at is not None:
                print("forgather dataset: goes on", file=sys.stderr, flush=True)
            self._failures, self._told_at = 0, None

    def failed(self, error: ForgatherError, asked_s: float = 0.0) -> None:
        """Return when it is time to try again.

        Raises:
            `error`: the limit would be passed, or is.
        """
        now = self._clock()
        if not self._failures:
            self._since = now
        self._failures += 1
        waited_s = now - self._since
        delay = delay_s(self._failures, asked_s)
        if self._limit_s is not None and self._failures > 1 and waited_s >= self._limit_s:
            raise self._given_up(error, waited_s)
        if self._limit_s is not None:
            delay = min(delay, max(0.0, self._limit_s - waited_s))
        self._tell(error, now, waited_s)
        if delay:
            self._wait(delay)

    def _given_up(self, error: ForgatherError, waited_s: float) -> ForgatherError:
        if waited_s >= 1:
            error.args = (f"{error} (given up after {waited_s:.0f} s)",)
        error.hint = error.hint or f"{MAX_RETRY_VARIABLE} says how long to try"
        return error

    def _tell(self, error: ForgatherError, now: float, waited_s: float) -> None:
        if waited_s < QUIET_S or (self._told_at is not None and now - self._told_at < TOLD_EVERY_S):
            return
        self._told_at = now
        print(f"forgather dataset: {error}; trying again", file=sys.stderr, flush=True)
