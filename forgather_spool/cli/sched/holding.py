"""Holding and releasing jobs from the command line: which are meant, what came of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from forgather_spool.document import Document
from forgather_spool.job import State
from forgather_spool.outcome import describe
from forgather_spool.spool import order
from forgather_spool.spool.families import find_all, where
from forgather_spool.spool.look import look, read_all
from forgather_spool.spool.place import Held, Queued, held_places, locate, waiting_places
from forgather_spool.spool.queue import Entry, Spool

FEW = 8  # so many are moved one by one; more, in one look at the queue
TRIES = 3  # a job that is held and released by others while we try is theirs


@dataclass(frozen=True, slots=True)
class Came:
    """What came of it for one job. `as_asked`: it is now as the user wants it, whoever made it so."""

    job_id: str
    as_asked: bool
    changed: bool
    said: str

    def as_document(self) -> Document:
        return {"job_id": self.job_id, "as_asked": self.as_asked, "changed": self.changed, "said": self.said}


def hold_each(spool: Spool, texts: Sequence[str]) -> list[Came]:
    """Hold the jobs named. Raises NoSuchJob: one of them is none; then nothing was done."""
    job_ids = find_all(spool, texts)
    at = where(spool, job_ids) if len(job_ids) > FEW else {}
    held = order.hold(spool, [(-place.priority, place.job_id) for place in at.values() if isinstance(place, Queued)])
    done = {job_id for _, job_id in held}
    return [Came(job_id, True, True, HELD) if job_id in done else _hold(spool, job_id) for job_id in job_ids]


def release_each(spool: Spool, texts: Sequence[str]) -> list[Came]:
    """Release the jobs named. Raises NoSuchJob: one of them is none; then nothing was done."""
    job_ids = find_all(spool, texts)
    at = where(spool, job_ids) if len(job_ids) > FEW else {}
    free = order.release(spool, [(-place.priority, place.job_id) for place in at.values() if isinstance(place, Held)])
    done = {job_id for _, job_id in free}
    return [Came(job_id, True, True, RELEASED) if job_id in done else _release(spool, job_id) for job_id in job_ids]


def hold_many(spool: Spool, group: str | None) -> list[Came]:
    """Hold what waits now, of one group or all of it, the last to start first: what is claimed meanwhile runs on."""
    held = order.hold(spool, reversed(entries_of(spool, waiting_places(spool), group)))
    return [Came(job_id, True, True, HELD) for _, job_id in reversed(held)]


def release_many(spool: Spool, group: str | None) -> list[Came]:
    """Release what is on hold now, of one group or all of it."""
    released = order.release(spool, entries_of(spool, held_places(spool), group))
    return [Came(job_id, True, True, RELEASED) for _, job_id in released]


HELD = "on hold"
RELEASED = "released"


def entries_of(spool: Spool, places: Sequence[Queued | Held], group: str | None) -> list[Entry]:
    """The entries at `places`; of one `group` only after reading them all."""
    if group is None:
        return [(-place.priority, place.job_id) for place in places]
    of_group = read_all(spool, places)
    return [(-(job.priority or 0), job.job_id) for job in of_group if job.spec and job.spec.group == group]


def _hold(spool: Spool, job_id: str) -> Came:
    for _ in range(TRIES):
        place = locate(spool, job_id)
        if isinstance(place, Held):
            return Came(job_id, True, False, "was on hold already")
        if not isinstance(place, Queued):
            break
        if order.hold(spool, [(-place.priority, job_id)]):
            return Came(job_id, True, True, HELD)
    return Came(job_id, False, False, too_late(spool, job_id))


def _release(spool: Spool, job_id: str) -> Came:
    for _ in range(TRIES):
        place = locate(spool, job_id)
        if isinstance(place, Queued):
            return Came(job_id, True, False, "was not on hold: it waits")
        if not isinstance(place, Held):
            break
        if order.release(spool, [(-place.priority, job_id)]):
            return Came(job_id, True, True, RELEASED)
    return Came(job_id, False, False, too_late(spool, job_id))


def too_late(spool: Spool, job_id: str) -> str:
    """Why nothing can be done to its place in the queue any more."""
    job = look(spool, job_id)
    if job.result is not None:
        return f"has ended already: {describe(job.result.outcome)}"
    if job.state in (State.LAUNCHING, State.RUNNING, State.ENDING):
        return f"has started already: {job.state.value}"
    return job.problem or f"is {job.state.value} now"


def all_as_asked(came: Iterable[Came]) -> bool:
    return all(one.as_asked for one in came)
