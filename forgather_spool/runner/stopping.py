"""Ending a job: TERM, grace, KILL, each said in the result.

Whoever asks first decides what the result calls it; a later, harsher wish only
makes it faster. KILL is repeated while anybody is left: a family may fork faster
than it is killed, and a process deep in a driver dies late.
"""

from __future__ import annotations

from forgather_spool.document import Document
from forgather_spool.runner import signals
from forgather_spool.runner.family import Family
from forgather_spool.spool.queue import utc_now

KILL_AGAIN_S = 0.05  # doubled each time
KILL_AGAIN_AT_MOST_S = 30.0


class Stopping:
    """What is being done to end `family`. `deadline` (monotonic) is when `act` wants to be called; None: never.

    `asked` is the outcome when the command ends because of us: cancelled or timed out.
    """

    def __init__(self, family: Family) -> None:
        self.asked: Document | None = None
        self.steps: list[Document] = []
        self.deadline: float | None = None
        self._family = family
        self._killing = False
        self._kill_again_s = KILL_AGAIN_S

    def stop(self, outcome: Document, why: str, grace_s: float, now: float) -> None:
        """End the job for the reason `outcome`, unless it is being ended already."""
        if self.asked is None:
            self.asked = outcome
        self.clear_out(why, grace_s, now)

    def kill(self, outcome: Document, why: str, now: float) -> None:
        """The same without grace, also when a gentler end has begun."""
        if self.asked is None:
            self.asked = outcome
        self.hasten(why, now)

    def hasten(self, why: str, now: float) -> None:
        """KILL whoever is left, now."""
        if not self._killing:
            self._kill(why, now)

    def clear_out(self, why: str, grace_s: float, now: float) -> None:
        """End whoever is left: TERM now, KILL after `grace_s`. Nothing new when that has begun."""
        if self.deadline is None:
            self._tell(signals.SIGTERM, "TERM", why)
            self.deadline = now + grace_s

    def act(self, now: float) -> None:
        """What the clock asks for."""
        if self.deadline is None or now < self.deadline:
            return
        if not self._killing:
            self._kill("the grace is over", now)
            return
        self._family.signal(signals.SIGKILL)
        self._kill_again_s = min(2 * self._kill_again_s, KILL_AGAIN_AT_MOST_S)
        self.deadline = now + self._kill_again_s

    def _kill(self, why: str, now: float) -> None:
        self._killing = True
        self._tell(signals.SIGKILL, "KILL", why)
        self.deadline = now + self._kill_again_s

    def _tell(self, signal: int, name: str, why: str) -> None:
        told = self._family.signal(signal)
        if told:
            processes = "1 process" if told == 1 else f"{told} processes"
            self.steps.append({"at": utc_now(), "did": f"{name} to {processes}: {why}"})
