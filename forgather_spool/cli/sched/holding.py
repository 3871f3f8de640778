"""Holding and releasing jobs from the command line: which are meant, what came of each.

A job that is on hold because what it comes after can never be met would be held
again by the next pass. Named in a release, it is to start all the same: its spec
is replaced on hold, with `after_unmet: run`, then released. Killed in between, it
is still on hold. Of `--all` and `--group` it is none: nobody decided about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from forgather_spool.cli.sched.reasons import unmet_on_hold
from forgather_spool.document import Document, parse
from forgather_spool.job import State
from forgather_spool.outcome import describe
from forgather_spool.spool import files, order
from forgather_spool.spool.families import find_all, where
from forgather_spool.spool.look import Job, look, read_all
from forgather_spool.spool.names import Entry
from forgather_spool.spool.place import Held, Place, Queued, held_places, locate, waiting_places
from forgather_spool.spool.queue import Spool

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
    all_the_same = _start_all_the_same(spool, job_ids, at)
    free = order.release(spool, [(-place.priority, place.job_id) for place in at.values() if isinstance(place, Held)])
    done = {job_id for _, job_id in free}
    came = [Came(job_id, True, True, RELEASED) if job_id in done else _release(spool, job_id) for job_id in job_ids]
    return [
        replace(one, said=f"{one.said}, although {all_the_same[one.job_id]}")
        if one.changed and one.job_id in all_the_same
        else one
        for one in came
    ]


def _start_all_the_same(spool: Spool, job_ids: Sequence[str], at: Mapping[str, Place]) -> dict[str, str]:
    """By job id, what will never be met for those on hold, none of which waits for it any longer."""
    places = [at.get(job_id) or locate(spool, job_id) for job_id in job_ids]
    held = {place.job_id: place for place in places if isinstance(place, Held)}
    unmet = unmet_on_hold(spool, read_all(spool, held.values()))
    for job_id in unmet:
        place = held[job_id]
        try:
            old = files.read_bytes(place.path)
        except FileNotFoundError:
            continue  # released or cancelled in this moment
        order.replace_spec(spool, place, old, {**parse(old), "after_unmet": "run"})
    return {job_id: reason.text for job_id, reason in unmet.items()}


def hold_many(spool: Spool, group: str | None) -> list[Came]:
    """Hold what waits now, of one group or all of it, the last to start first: what is claimed meanwhile runs on."""
    held = order.hold(spool, reversed(entries_of(spool, waiting_places(spool), group)))
    return [Came(job_id, True, True, HELD) for _, job_id in reversed(held)]


def release_many(spool: Spool, group: str | None) -> list[Came]:
    """Release what is on hold now, of one group or all of it, and not what would be held again."""
    jobs = [job for job in read_all(spool, held_places(spool)) if group is None or _is_of(job, group)]
    unmet = unmet_on_hold(spool, jobs)
    released = order.release(spool, [(-(job.priority or 0), job.job_id) for job in jobs if job.job_id not in unmet])
    stay = [Came(job_id, False, False, f"stays on hold unless named: {why.text}") for job_id, why in unmet.items()]
    return [Came(job_id, True, True, RELEASED) for _, job_id in released] + stay


HELD = "on hold"
RELEASED = "released"


def entries_of(spool: Spool, places: Sequence[Queued | Held], group: str | None) -> list[Entry]:
    """The entries at `places`; of one `group` only after reading them all."""
    if group is None:
        return [(-place.priority, place.job_id) for place in places]
    of_group = read_all(spool, places)
    return [(-(job.priority or 0), job.job_id) for job in of_group if _is_of(job, group)]


def _is_of(job: Job, group: str) -> bool:
    return job.spec is not None and job.spec.group == group


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
