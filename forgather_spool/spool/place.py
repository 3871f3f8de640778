"""Where each job's spec lies, from names alone: no file is opened here.

A spec moves forward, held to queue to running to done, and back only when it
is held or a launch was interrupted. So whoever looks in that order finds it, unless it
went back in this very moment; `locate` looks again then.
"""

from __future__ import annotations

from forgather_spool.frozen import dataclass
from forgather_spool.job import State
from forgather_spool.spool import files
from forgather_spool.spool.batch import help_along
from forgather_spool.spool.ended import Ended, ended_days, ended_ids_in, ended_place
from forgather_spool.spool.names import Entry, is_job_id, parse_entry, start_order
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.queue import Spool

LOOKS = 3  # a job that goes back to the queue does so once in a while, not three times in a row


@dataclass(frozen=True, slots=True)
class Queued:
    """Waiting, in queue/."""

    job_id: str
    priority: int
    path: str


@dataclass(frozen=True, slots=True)
class Held:
    """Waiting, in held/: it does not start until it is released."""

    job_id: str
    priority: int
    path: str


@dataclass(frozen=True, slots=True)
class Taken:
    """In running/<host>/. `host` is `CANCEL` for one that is cancelled before it ran."""

    job_id: str
    priority: int
    path: str
    host: str

    @property
    def entry(self) -> Entry:
        return -self.priority, self.job_id


@dataclass(frozen=True, slots=True)
class Rejected:
    """Set aside with its reason beside it. A file dropped into incoming/ has no job id: its name stands there."""

    job_id: str
    path: str

    @property
    def why_path(self) -> str:
        return f"{self.path}.why"


Place = Queued | Held | Taken | Ended | Rejected


def locate(spool: Spool, job_id: str) -> Place | None:
    """Where the job's spec lies. None: there is no such job."""
    if not is_job_id(job_id):
        return _rejected(spool, job_id)
    if (place := locate_at_a_glance(spool, job_id)) is not None:
        return place
    for _ in range(LOOKS):
        place = _unclaimed(spool, job_id) or _taken(spool, job_id)
        place = place or ended_place(spool, job_id) or _rejected(spool, job_id)
        if place is not None:
            return place
        help_along(spool)
    return None


def locate_at_a_glance(spool: Spool, job_id: str) -> Place | None:
    """Where the spec of this id lies, unless that takes a look through all that waits. None: nobody knows yet."""
    return ended_place(spool, job_id) or _taken(spool, job_id) or _queued_as_usual(spool, job_id)


def state_at(spool: Spool, place: Place, attempt: int | None = None) -> State:
    """The state table of `queue.py`, from which files stand. `attempt` None: the current one, by one listing."""
    match place:
        case Queued():
            return State.WAITING
        case Held():
            return State.HELD
        case Ended():
            return State.DONE
        case Rejected():
            return State.REJECTED
    attempt = attempt or spool.attempt(place.job_id)
    if place.host == CANCEL or spool.has_result(place.job_id, attempt):
        return State.ENDING
    return State.RUNNING if spool.has_started(place.job_id, attempt) else State.LAUNCHING


def waiting_places(spool: Spool) -> list[Queued]:
    """What waits, in start order."""
    return [waiting_place(spool, entry) for entry in spool.waiting()]


def waiting_place(spool: Spool, entry: Entry) -> Queued:
    """The place of one of `Spool.waiting`."""
    return Queued(entry[1], -entry[0], spool.paths.queued(entry[1], -entry[0]))


def held_places(spool: Spool) -> list[Held]:
    """What is on hold, in the order it would start."""
    return [_held_at(spool, entry) for entry in spool.held()]


def _held_at(spool: Spool, entry: Entry) -> Held:
    return Held(entry[1], -entry[0], spool.paths.waiting_at(entry[1], -entry[0], held=True))


def active_places(spool: Spool) -> list[Taken]:
    """What is launching, running or ending, on every host, in start order."""
    found = [
        (entry, host) for host in (*spool.hosts_with_jobs(), CANCEL) for entry in spool.taken(host)
    ]  # fmt: skip
    return [_taken_at(spool, entry, host) for entry, host in sorted(found, key=lambda one: start_order(one[0]))]


def rejected_places(spool: Spool) -> list[Rejected]:
    """What was set aside, by name."""
    folder = spool.paths.rejected
    names = sorted(name for name in files.names(folder) if not name.endswith(".why"))
    return [Rejected(_id_in(name) or name, f"{folder}/{name}") for name in names]


def all_job_ids(spool: Spool, part: str = "") -> set[str]:
    """Every job there is in whose id this stands. One that goes back to the queue just now may be missing."""
    help_along(spool)
    found = {job_id for _, job_id in (*spool.held(), *spool.waiting())}
    found.update(place.job_id for place in active_places(spool))
    for day in ended_days(spool):
        ids = ended_ids_in(spool.paths.done_on(day))
        found.update(job_id for job_id in ids if part in job_id and is_job_id(job_id))
    found.update(place.job_id for place in rejected_places(spool) if is_job_id(place.job_id))
    return {job_id for job_id in found if part in job_id}


def _unclaimed(spool: Spool, job_id: str) -> Queued | Held | None:
    if (entry := _entry_in(spool.paths.held, job_id)) is not None:
        return _held_at(spool, entry)
    entry = _entry_in(spool.paths.queue, job_id)
    return None if entry is None else waiting_place(spool, entry)


def _queued_as_usual(spool: Spool, job_id: str) -> Queued | None:
    """Where it waits, if its priority is the one that most have."""
    place = waiting_place(spool, (0, job_id))
    return place if files.exists(place.path) else None


def _entry_in(folder: str, job_id: str) -> Entry | None:
    for name in files.names(folder):
        if name.startswith(job_id) and (entry := parse_entry(name)) is not None and entry[1] == job_id:
            return entry
    return None


def _taken(spool: Spool, job_id: str) -> Taken | None:
    for host in (*spool.hosts_with_jobs(), CANCEL):
        for entry in spool.taken(host):
            if entry[1] == job_id:
                return _taken_at(spool, entry, host)
    return None


def _taken_at(spool: Spool, entry: Entry, host: str) -> Taken:
    return Taken(entry[1], -entry[0], spool.paths.taken(host, entry[1], -entry[0]), host)


def _rejected(spool: Spool, job_id: str) -> Rejected | None:
    return next((place for place in rejected_places(spool) if place.job_id == job_id), None)


def _id_in(rejected_name: str) -> str | None:
    """The id in the name of a spec that was set aside out of queue/ or running/."""
    job_id, dot, _ = rejected_name.partition(".p")
    return job_id if dot and is_job_id(job_id) else None
