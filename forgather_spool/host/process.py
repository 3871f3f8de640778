"""Jobs without systemd: the runner holds its own family together.

Where there is no user manager (a container, a plain ssh session) a scope is the
runner and everything below it: the runner is a subreaper, so daemons stay its
descendants while it lives. Once it is dead, its orphans are known only by
``FORGATHER_SCOPE`` in their environment; a program that clears its environment
and outlives the runner is out of sight, which is the price of this host.

Memory and CPU limits are not enforced here.
"""

from __future__ import annotations

import os
import signal as signals
from typing import Literal

from forgather_spool.host import proc
from forgather_spool.host.base import HostEvent, Limits, ScopeRefused, ScopeStarted

SCOPE_VARIABLE = "FORGATHER_SCOPE"  # the runner sets it for everything it starts
KILL_PASSES = 20  # a family that forks faster than this many passes is left for the next tick


class ProcessHost:
    """Scopes by name, each with the runner that began it."""

    kind: Literal["systemd", "process"] = "process"

    def __init__(self) -> None:
        self._runners: dict[str, tuple[int, int]] = {}
        self._events: list[HostEvent] = []

    def expect(self) -> None:
        """Nothing here takes time."""

    def begin(self, scope: str, pid: int, limits: Limits, description: str) -> None:
        start_ticks = proc.alive_since(pid)
        if scope in self._runners and self.members(scope):
            self._events.append(ScopeRefused(scope, f"{scope} is there already", exists=True))
        elif start_ticks is None:
            self._events.append(ScopeRefused(scope, f"process {pid} ended before it was told to go"))
        else:
            self.adopt(scope, pid, start_ticks)
            self._events.append(ScopeStarted(scope))

    def fileno(self) -> None:
        return None

    def events(self) -> list[HostEvent]:
        events, self._events = self._events, []
        return events

    def adopt(self, scope: str, pid: int, start_ticks: int) -> None:
        """A runner is in one scope at a time: the one it was in before is empty."""
        runner = (pid, start_ticks)
        self._runners = {other: its for other, its in self._runners.items() if its != runner}
        self._runners[scope] = runner

    def live_scopes(self) -> frozenset[str]:
        live = {scope for scope, runner in self._runners.items() if proc.is_alive(*runner)}
        if len(live) < len(self._runners):
            live |= self._runners.keys() & proc.pids_by_env(SCOPE_VARIABLE).keys()
            self._runners = {scope: self._runners[scope] for scope in live}
        return frozenset(live)

    def members(self, scope: str) -> list[int]:
        pids = set(proc.pids_with_env(SCOPE_VARIABLE, scope))
        runner = self._runners.get(scope)
        if runner is not None and proc.is_alive(*runner):
            pids |= {runner[0], *proc.descendants(runner[0])}
        return sorted(pids)

    def signal(self, scope: str, signum: int) -> int:
        told: set[int] = set()
        for _ in range(KILL_PASSES if signum == signals.SIGKILL else 1):
            new = [pid for pid in self.members(scope) if pid not in told]
            told.update(pid for pid in new if send_signal(pid, signum))
            if not new:
                break
        return len(told)

    def close(self) -> None:
        self._events.clear()


def send_signal(pid: int, signum: int) -> bool:
    """False: `pid` is gone already, or another user's."""
    if pid <= 0:  # the kernel lists a process of an outer pid namespace as 0, which to kill(2) is our own group
        return False
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True
