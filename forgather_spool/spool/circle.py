"""Whether a waiting job would come after itself: such jobs would wait for each other for ever, without a word.

A submit cannot ask for that, it names only jobs that are there already. `sched edit` can.
"""

from __future__ import annotations

from collections.abc import Iterable

from forgather_spool.document import Document
from forgather_spool.errors import ForgatherError
from forgather_spool.spool import files
from forgather_spool.spool.names import family_of
from forgather_spool.spool.place import Held, Queued, held_places, waiting_places
from forgather_spool.spool.queue import Spool


def circle(spool: Spool, job_id: str, after: Iterable[Document]) -> list[str]:
    """The ids on the way from `job_id`, were it to come after these, back to itself; empty where there is none.

    Only what waits or is on hold leads on. Of an array the first such member
    stands for all: they were submitted as one.
    """
    there = _by_id(spool)
    came_from: dict[str, str] = {}
    ahead = [(str(entry["job"]), job_id) for entry in after]
    while ahead:
        dependency, of = ahead.pop()
        if dependency in came_from:
            continue
        came_from[dependency] = of
        if dependency in (job_id, family_of(job_id)):
            return _way(came_from, dependency, job_id)
        place = there.get(dependency)
        ahead += [(str(entry["job"]), dependency) for entry in _after(place)]
    return []


def _by_id(spool: Spool) -> dict[str, Queued | Held]:
    there: dict[str, Queued | Held] = {}
    places: list[Queued | Held] = [*waiting_places(spool), *held_places(spool)]
    for place in places:
        there[place.job_id] = place
        there.setdefault(family_of(place.job_id) or place.job_id, place)
    return there


def _after(place: Queued | Held | None) -> list[Document]:
    """What the job there waits for; one that has started meanwhile, or cannot be read, waits for nothing."""
    if place is None:
        return []
    try:
        entries = files.read_document(place.path).get("after")
    except (OSError, ForgatherError):
        return []
    return (
        [entry for entry in entries if isinstance(entry, dict) and "job" in entry] if isinstance(entries, list) else []
    )


def _way(came_from: dict[str, str], last: str, job_id: str) -> list[str]:
    way = [last]
    while came_from[way[-1]] != job_id:
        way.append(came_from[way[-1]])
    return [job_id, *reversed(way)]
