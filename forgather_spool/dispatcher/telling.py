"""Having ends told: starts `forgather_spool.notify` while something is owed, and never waits for it.

It is a process of its own because a hook or a mail server may hang. Where
systemd runs the dispatcher it ends with the unit, so the dispatcher stays awake
while it lives; killed in between, what is owed is told by the next one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from forgather_spool.dispatcher.launch import host_environment
from forgather_spool.dispatcher.starting import finding_us
from forgather_spool.spool import notices
from forgather_spool.spool.notices import Notice
from forgather_spool.spool.queue import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

RETRY_S = 1.0  # until the next, when one leaves something owed; doubles up to RETRY_MAX_S
RETRY_MAX_S = 60.0
TRIES = 5  # by one dispatcher; after that it may leave, and the next one goes on


class Telling:
    """Keeps one teller alive while this host owes anything."""

    def __init__(self, spool: Spool, host_name: str, say: Callable[[str], None]) -> None:
        self._spool = spool
        self._host_name = host_name
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._tries = 0
        self._not_before = 0.0
        self._owed: set[Notice] = set()

    def look(self) -> None:
        """Whether anything is owed, from the directory; a new notice is not kept waiting by an old one's failure."""
        owed = set(notices.pending(self._spool.paths, self._host_name))
        if owed - self._owed:
            self._tries, self._not_before = 0, 0.0
        self._owed = owed

    def step(self) -> None:
        """See how the teller is; start one when it is time."""
        if self._process is not None:
            if self._process.poll() is None:
                return
            self._let_go()
            self.look()
        if self._owed and self._tries < TRIES and time.monotonic() >= self._not_before:
            self._not_before = time.monotonic() + min(RETRY_S * 2**self._tries, RETRY_MAX_S)
            self._tries += 1
            self._start()

    @property
    def pidfds(self) -> list[int]:
        """Readable once the teller has ended."""
        return [] if self._pidfd < 0 else [self._pidfd]

    @property
    def is_idle(self) -> bool:
        return self._process is None and (not self._owed or self._tries >= TRIES)

    @property
    def patience_s(self) -> float:
        """Until `step` has something to do that nothing tells of."""
        if self._process is not None or self.is_idle:
            return float("inf")
        return max(0.0, self._not_before - time.monotonic())

    def close(self) -> None:
        """Let go; the teller lives on, where systemd lets it."""
        if self._process is not None:
            self._let_go()

    def _let_go(self) -> None:
        self._process = None
        os.close(self._pidfd)
        self._pidfd = -1

    def _start(self) -> None:
        passed = {name: value for name, value in os.environ.items() if name.startswith("FORGATHER_") or name in _PASSED}
        import subprocess

        env = {**host_environment(os.environ), **passed, "FORGATHER_HOME": self._spool.paths.home}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "forgather_spool.notify"],
                env=finding_us(env),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self._say(f"nobody is told of what has ended: {error}")
            return
        self._pidfd = os.pidfd_open(self._process.pid)


_PASSED = ("DISPLAY", "WAYLAND_DISPLAY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE")
