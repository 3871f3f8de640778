"""Another place in the queue: by another priority, which is all the place there is.

A job's name carries its priority and its id, and these are the order: nothing
else says who is first, so nothing can disagree with it. To go before another,
a job takes the smallest change of its own priority that does it. Other jobs
are never touched; what it passes besides is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forgather_spool.cli.sched.holding import TRIES, Came, too_late
from forgather_spool.errors import JobFailed, UsageError
from forgather_spool.schema import PRIORITY_LIMIT
from forgather_spool.spool import order
from forgather_spool.spool.families import find_one
from forgather_spool.spool.names import Entry, start_order
from forgather_spool.spool.place import Held, Queued, locate
from forgather_spool.spool.queue import Spool

_STARTED = "forgather sched list shows what still waits"


@dataclass(frozen=True, slots=True)
class Before:
    """The wish to start before `job`; None: before all others."""

    job: str | None


@dataclass(frozen=True, slots=True)
class After:
    """The wish to start after `job`; None: after all others."""

    job: str | None


def reprioritize_each(spool: Spool, job_ids: Sequence[str], priority: int) -> list[Came]:
    """Give each of the waiting jobs this priority."""
    return [_reprioritize(spool, job_id, priority) for job_id in job_ids]


def _reprioritize(spool: Spool, job_id: str, priority: int) -> Came:
    for _ in range(TRIES):
        place = locate(spool, job_id)
        if not isinstance(place, (Queued, Held)):
            break
        if place.priority == priority:
            return Came(job_id, True, False, f"has priority {priority} already")
        if order.reprioritize(spool, place, priority):
            return Came(job_id, True, True, f"priority {place.priority} -> {priority}; {_position(spool, job_id)}")
    return Came(job_id, False, False, too_late(spool, job_id))


def move(spool: Spool, text: str, wish: Before | After) -> Came:
    """Move one waiting job as wished.

    Raises:
        NoSuchJob: it, or the other one, is none.
        JobFailed: the other one no longer waits.
        UsageError: no priority is that high or low.
    """
    job_id = find_one(spool, text)
    other_id = None if wish.job is None else find_one(spool, wish.job)
    if other_id == job_id:
        raise UsageError(f"{text} and {wish.job} are the same job", hint="name another")
    place = locate(spool, job_id)
    if not isinstance(place, (Queued, Held)):
        return Came(job_id, False, False, too_late(spool, job_id))
    entry = (-place.priority, job_id)
    others = [one for one in _all_waiting(spool) if one[1] != job_id]
    if not others and other_id is None:
        return Came(job_id, True, False, "is the only one that waits")
    priority = priority_for(entry, _reference(spool, others, wish, other_id), wish)
    if not -PRIORITY_LIMIT <= priority <= PRIORITY_LIMIT:
        raise UsageError(f"that would be priority {priority}, beyond the limits", hint="reprioritize the other one")
    if priority == place.priority:
        return Came(job_id, True, False, f"is there already; {_position(spool, job_id)}")
    return _reprioritize(spool, job_id, priority)


def priority_for(entry: Entry, other: Entry, wish: Before | After) -> int:
    """The priority nearest to its own with which `entry` starts before, or after, `other`."""
    own, mark = start_order(entry), start_order(other)
    if isinstance(wish, Before):
        if own < mark:
            return -entry[0]
        return -other[0] if start_order((other[0], entry[1])) < mark else -other[0] + 1
    if own > mark:
        return -entry[0]
    return -other[0] if start_order((other[0], entry[1])) > mark else -other[0] - 1


def _reference(spool: Spool, others: Sequence[Entry], wish: Before | After, other_id: str | None) -> Entry:
    if other_id is None:
        return others[0 if isinstance(wish, Before) else -1]
    found = next((one for one in others if one[1] == other_id), None)
    if found is None:
        raise JobFailed(f"{other_id} {too_late(spool, other_id)}", hint=_STARTED)
    return found


def _all_waiting(spool: Spool) -> list[Entry]:
    """What waits and what is on hold, as it would start."""
    return sorted({*spool.held(), *spool.waiting()}, key=start_order)


def _position(spool: Spool, job_id: str) -> str:
    entries = [job_id for _, job_id in _all_waiting(spool)]
    if job_id not in entries:
        return "it has just started"
    return f"number {entries.index(job_id) + 1} of {len(entries)} that wait"
