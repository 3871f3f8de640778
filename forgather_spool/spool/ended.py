"""What has ended, from the names in done/ alone: no file is opened here.

A folder a day, and a spec that lies in one moves no more. Days are looked
through from the newest on, so that what ended last is found first, however
much ended before.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterator

from forgather_spool.frozen import dataclass
from forgather_spool.spool import files
from forgather_spool.spool.names import is_job_id, submitted_unix_s
from forgather_spool.spool.queue import Spool

ORDERED_AT_MOST = 20_000  # to look at the times of a million files takes seconds
CLOCKS_DIFFER_S = 86400  # a job may seem to have ended before it was submitted, on another host


@dataclass(frozen=True, slots=True)
class Ended:
    """In done/<day>/, the UTC day it ended."""

    job_id: str
    path: str
    day: str


def ended_places(spool: Spool, *, up_to_day: str | None = None, exact: bool = True) -> Iterator[Ended]:
    """What has ended, latest first, a day at a time; none that ended after `up_to_day`.

    Within a day the order is that of the files' change times: the rename into
    done/ sets it, and reading 100,000 results instead would take seconds. A
    copy or a restored backup has other change times; then only the days are
    in order. Not `exact`: of a day on which more than `ORDERED_AT_MOST` ended,
    those are put in order that were submitted last, and lead.
    """
    for day in ended_days(spool):
        if up_to_day is not None and day > up_to_day:
            continue
        for name in _latest_first(spool.paths.done_on(day), None if exact else ORDERED_AT_MOST):
            job_id = name.removesuffix(".json")
            if job_id != name and is_job_id(job_id):
                yield Ended(job_id, spool.paths.ended(day, job_id), day)


def ended_ids(spool: Spool, *, since_unix_s: float, beginning: str = "q_") -> Iterator[str]:
    """Ids of what has ended that begin so, in no order, from names alone; of days before that time, none."""
    for day in _days_since(spool, since_unix_s):
        ids = ended_ids_in(spool.paths.done_on(day))
        yield from (job_id for job_id in ids if job_id.startswith(beginning) and is_job_id(job_id))


def ended_among(spool: Spool, wanted: frozenset[str]) -> Iterator[Ended]:
    """Those of `wanted` that have ended, in no order, from names alone; of days before the first was made, none."""
    if not wanted:
        return
    for day in _days_since(spool, min(map(submitted_unix_s, filter(is_job_id, wanted)), default=0.0)):
        for job_id in wanted.intersection(ended_ids_in(spool.paths.done_on(day))):
            yield Ended(job_id, spool.paths.ended(day, job_id), day)


def ended_count(spool: Spool, at_most: int | None = None) -> int | None:
    """How many have ended; None: more than `at_most`, and not worth counting for somebody who waits."""
    count = 0
    for day in ended_days(spool):
        folder = spool.paths.done_on(day)
        names = files.names(folder) if at_most is None else files.some_names(folder, at_most - count + 1)
        if at_most is not None and count + len(names) > at_most:
            return None
        count += sum(name.endswith(".json") and is_job_id(name[:-5]) for name in names)
    return count


def ended_place(spool: Spool, job_id: str) -> Ended | None:
    """Where the spec of a job that has ended lies."""
    for day in ended_days(spool):
        path = spool.paths.ended(day, job_id)
        if os.path.lexists(path):
            return Ended(job_id, path, day)
    return None


def ended_days(spool: Spool) -> list[str]:
    """The folders of done/, newest first."""
    return sorted((name for name in files.names(spool.paths.done) if not name.startswith(".")), reverse=True)


def ended_ids_in(folder: str) -> Iterator[str]:
    """Of a folder of done/, unchecked."""
    return (name[:-5] for name in files.names(folder) if name.endswith(".json"))


def _days_since(spool: Spool, since_unix_s: float) -> list[str]:
    first_day = time.strftime("%Y-%m-%d", time.gmtime(since_unix_s - CLOCKS_DIFFER_S))
    return [day for day in ended_days(spool) if day >= first_day]


def _latest_first(folder: str, at_most: int | None) -> Iterator[str]:
    """Names by change time, of the greatest `at_most` names; then the others, greatest first."""
    names = files.names(folder)
    first = names
    if at_most is not None and len(names) > at_most:
        first = heapq.nlargest(at_most, names)
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise files.failed("look into", folder, error) from None
    try:
        timed = [(_changed_at(name, fd), name) for name in first]
    except OSError as error:
        raise files.failed("look into", folder, error) from None
    finally:
        os.close(fd)
    yield from (name for _, name in sorted(timed, reverse=True))
    if first is not names:
        yield from sorted(set(names).difference(first), reverse=True)


def _changed_at(name: str, folder_fd: int) -> int:
    try:
        return os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_ctime_ns
    except FileNotFoundError:
        return 0  # removed meanwhile; whoever reads it finds out
