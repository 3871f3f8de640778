"""The jobs that run on this host, and when each has let go of its cards.

A pidfd per runner says at once that it ended, also for runners an earlier
dispatcher launched. A job's cards are free when its scope is empty, not when
its result stands: a dying CUDA process may hold its memory for seconds.
A job without cards is over as soon as its runner says so, and another has its place.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable

from forgather_spool.host import proc
from forgather_spool.host.base import Host
from forgather_spool.job import Claim
from forgather_spool.spool.names import Entry

MOST_OVER = 8  # a disk that takes results slowly must not gather runners without end


class Running:
    """Claims of running jobs, and of ended ones whose scope still holds a process."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._entries: dict[str, Entry] = {}
        self._claims: dict[str, Claim] = {}
        self._pidfds: dict[str, int] = {}
        self._poll = select.poll()  # of all pidfds
        self._lingering: dict[str, Claim] = {}
        self._over: set[str] = set()

    def __len__(self) -> int:
        return len(self._claims) + len(self._lingering)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._claims

    def has_cards(self, job_id: str) -> bool:
        """Whether it runs on cards; True also for one that is not running here."""
        claim = self._claims.get(job_id)
        return claim is None or bool(claim.gpus)

    @property
    def claims(self) -> dict[str, Claim]:
        """Of jobs in running/, by job id."""
        return dict(self._claims)

    @property
    def busy(self) -> dict[str, Claim]:
        """Of those of them that are not over, by job id."""
        over = self._over
        return {job_id: claim for job_id, claim in self._claims.items() if job_id not in over}

    @property
    def some_are_over(self) -> bool:
        """Whether any result is still to come of which nobody waits for a place."""
        return bool(self._over)

    def is_over(self, job_id: str, attempt: int) -> None:
        """Nobody of this attempt is left but its runner, which writes the result: another may have its place.

        Not so with cards, nor when `MOST_OVER` others are at their results.
        """
        claim = self._claims.get(job_id)
        if claim is not None and claim.attempt == attempt and not claim.gpus and len(self._over) < MOST_OVER:
            self._over.add(job_id)

    @property
    def lingering(self) -> dict[str, Claim]:
        """Of ended jobs that still hold their cards, by job id."""
        return dict(self._lingering)

    @property
    def pidfds(self) -> list[int]:
        """Readable once the runner behind it has ended."""
        return list(self._pidfds.values())

    def watch(self, entry: Entry, claim: Claim) -> None:
        """From now on this job is running."""
        job_id = entry[1]
        self._host.adopt(claim.scope, claim.runner_pid, claim.runner_start_ticks)
        self._entries[job_id], self._claims[job_id] = entry, claim
        if job_id not in self._pidfds:
            try:
                pidfd = os.pidfd_open(claim.runner_pid)
            except OSError:
                return  # ended already: `ended` finds it by its start time
            self._pidfds[job_id] = pidfd
            self._poll.register(pidfd, select.POLLIN)
            if not proc.is_alive(claim.runner_pid, claim.runner_start_ticks):
                self._close_pidfd(job_id)  # of another process, or a dead one, which would wake us for ever

    def ended(self) -> list[Entry]:
        """Entries whose runner is no longer there: to be settled, then `forget` or `watch` again."""
        readable = {fd for fd, _ in self._poll.poll(0)}
        gone = [job_id for job_id, claim in self._claims.items() if self._is_gone(job_id, claim, readable)]
        return [self._entries[job_id] for job_id in gone]

    def _is_gone(self, job_id: str, claim: Claim, readable: set[int]) -> bool:
        pidfd = self._pidfds.get(job_id)
        if pidfd is not None:
            return pidfd in readable
        return not proc.is_alive(claim.runner_pid, claim.runner_start_ticks)

    def forget(self, job_id: str) -> Claim:
        """It has left running/; its claim. Its cards, if it has any, stay taken while its scope holds anybody."""
        claim = self._claims.pop(job_id)
        self._over.discard(job_id)
        del self._entries[job_id]
        self._close_pidfd(job_id)
        if claim.gpus and self._host.members(claim.scope):
            self._lingering[job_id] = claim
        return claim

    def unwatch_pid(self, job_id: str) -> None:
        """Its runner is dead but the job is not settled: a dead pidfd would wake us for ever."""
        self._close_pidfd(job_id)

    def linger(self, job_id: str, claim: Claim) -> None:
        """An ended job, found at start, whose scope is not empty."""
        if job_id not in self._claims:
            self._lingering[job_id] = claim

    def release(self) -> list[str]:
        """Let go of cards whose scope is empty now; the jobs that held them."""
        empty = [job_id for job_id, claim in self._lingering.items() if not self._host.members(claim.scope)]
        for job_id in empty:
            del self._lingering[job_id]
        return empty

    def job_ids(self) -> Iterable[str]:
        return self._claims.keys()

    def close(self) -> None:
        for job_id in list(self._pidfds):
            self._close_pidfd(job_id)

    def _close_pidfd(self, job_id: str) -> None:
        pidfd = self._pidfds.pop(job_id, None)
        if pidfd is not None:
            self._poll.unregister(pidfd)
            os.close(pidfd)
