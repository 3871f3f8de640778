"""Which ended jobs may go: by age, by number, by the room they take, by how they ended.

A job goes when it ended longer ago than `older_than_s`, or when it and all that
ended after it take more than `max_bytes`; with neither limit all go. Whatever
the limits, these stay:

    the `keep` that ended last
    one whose outcome is none of those asked for
    one that a job names in its `after` and that has not started yet

Living jobs are never looked at: only done/ is. How one is removed is `remove.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any

from forgather_spool import schema
from forgather_spool.document import parse
from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.frozen import dataclass
from forgather_spool.job import Result
from forgather_spool.outcome import words_for
from forgather_spool.spool import files
from forgather_spool.spool.ended import Ended, ended_places
from forgather_spool.spool.names import family_of
from forgather_spool.spool.queue import Spool


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is kept; see the module. `outcomes` are words of `job.words_for`; empty: whatever the outcome."""

    older_than_s: float | None = None
    keep: int = 0
    max_bytes: int | None = None
    outcomes: frozenset[str] = frozenset()

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Retention:
        """From the object under `retention` in dispatch.json. Raises BadDocument."""
        full: dict[str, Any] = schema.check(document, schema.RETENTION, where="$.retention")
        return cls(
            older_than_s=full["older_than_s"],
            keep=full["keep"],
            max_bytes=full["max_bytes"],
            outcomes=frozenset(full["outcomes"]),
        )

    def as_document(self) -> dict[str, Any]:
        return {
            "older_than_s": self.older_than_s,
            "keep": self.keep,
            "max_bytes": self.max_bytes,
            "outcomes": sorted(self.outcomes),
        }


class BrokenOff(Exception):
    """The one who asked has something better to do; nothing was changed."""


def outdated(
    spool: Spool, retention: Retention, now: datetime, *, go_on: Callable[[], bool] = lambda: True
) -> list[Ended]:
    """The jobs that go, the one that ended first of all leading.

    Raises:
        BrokenOff: `go_on`, asked before each job, said no.
    """
    spared = needed_by_the_living(spool)
    found = []
    for place in _candidates(spool, retention, now, go_on):
        if place.job_id not in spared and family_of(place.job_id) not in spared:
            found.append(place)
    found.reverse()
    return found


def _candidates(spool: Spool, retention: Retention, now: datetime, go_on: Callable[[], bool]) -> Iterator[Ended]:
    """Latest first, those that stay for another's sake included."""
    cutoff = None if retention.older_than_s is None else _before(now, retention.older_than_s)
    by_age_alone = cutoff is not None and not retention.keep and retention.max_bytes is None
    up_to_day = cutoff.date().isoformat() if cutoff is not None and by_age_alone else None
    seen, taken_bytes = 0, 0
    for place in ended_places(spool, up_to_day=up_to_day):
        if not go_on():
            raise BrokenOff
        if retention.outcomes and not retention.outcomes & _words(spool, place):
            continue
        seen += 1
        if retention.max_bytes is not None and taken_bytes <= retention.max_bytes:
            taken_bytes += size_bytes(spool, place.job_id)
        if seen <= retention.keep:
            continue
        too_much = retention.max_bytes is not None and taken_bytes > retention.max_bytes
        no_limit = cutoff is None and retention.max_bytes is None
        if no_limit or too_much or (cutoff is not None and _ended_before(spool, place, cutoff)):
            yield place


def needed_by_the_living(spool: Spool) -> set[str]:
    """Ids that jobs which have not ended name in `after`; what cannot be read needs nothing."""
    found: set[str] = set()
    for path in specs_of_the_living(spool):
        try:
            data = files.read_bytes(path)
            after = parse(data).get("after") if b'"after"' in data else None
        except (FileNotFoundError, BadDocument, UnreadableFile):
            continue
        for one in after if isinstance(after, list) else []:
            if isinstance(one, dict):
                found.add(str(one.get("job")))
    return found


def every_spec(spool: Spool) -> Iterator[bytes]:
    """The text of every spec, ended jobs' too; those that cannot be read are left out."""
    ended = (place.path for place in ended_places(spool))
    for path in chain(specs_of_the_living(spool), ended):
        try:
            yield files.read_bytes(path)
        except (FileNotFoundError, UnreadableFile):
            continue


def specs_of_the_living(spool: Spool) -> Iterator[str]:
    """Their paths, in the order jobs move, so that one that moves meanwhile is met.

    A job may also be put on hold or back into the queue: what is in those two then, and was not before, follows.
    """
    paths, met = spool.paths, set()
    batches = [paths.batch(name) for name in files.names(paths.batches)]
    folders = [
        paths.incoming, *batches, *(f"{batch}/held" for batch in batches), paths.held, paths.queue,
        *(paths.running_on(host) for host in files.names(paths.running)),
    ]  # fmt: skip
    for folder in [*folders, paths.held, paths.queue]:
        for name in files.names(folder):
            path = f"{folder}/{name}"
            if name.endswith(".json") and path not in met:
                met.add(path)
                yield path


def size_bytes(spool: Spool, job_id: str) -> int:
    """What the job's folder takes on the disk; 0 when it is gone. Links are not followed."""
    return _tree_bytes(spool.paths.job(job_id))


def _tree_bytes(folder: str) -> int:
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    total += _tree_bytes(entry.path)
    except OSError:
        return total  # somebody removes it just now
    return total


def _before(now: datetime, seconds: float) -> datetime:
    try:
        return now - timedelta(seconds=seconds)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _ended_before(spool: Spool, place: Ended, cutoff: datetime) -> bool:
    """Read from its result only on the cutoff's own day; what cannot be read ended with its day."""
    try:
        next_day = date.fromisoformat(place.day) + timedelta(days=1)
    except (ValueError, OverflowError):
        return False  # somebody's own folder
    if datetime(next_day.year, next_day.month, next_day.day, tzinfo=UTC) <= cutoff:
        return True
    if place.day > cutoff.astimezone(UTC).date().isoformat():
        return False
    result = _result(spool, place)
    return result is not None and result.ended_at < cutoff


def _words(spool: Spool, place: Ended) -> frozenset[str]:
    result = _result(spool, place)
    return frozenset() if result is None else words_for(result.outcome)


def _result(spool: Spool, place: Ended) -> Result | None:
    try:
        return Result.from_document(files.read_document(spool.paths.result(place.job_id, spool.attempt(place.job_id))))
    except (FileNotFoundError, BadDocument, UnreadableFile):
        return None
