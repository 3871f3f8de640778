"""Removing ended jobs: the only way anything leaves the spool for good.

    1. done/<day>/<job_id>.json is renamed to jobs/<job_id>/removed.json
    2. jobs/<job_id>/ is emptied, removed.json last, and removed

The first step takes the job out of every list at once, so nobody meets half a
job; and it marks the folder, so that what a crash leaves in between is known
for what it is. Folders without that mark are never touched: a trainer that
nobody queued keeps its own in jobs/ as well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.job import Result
from forgather_spool.spool import files
from forgather_spool.spool.paths import is_job_id
from forgather_spool.spool.place import Ended, Rejected, ended_places
from forgather_spool.spool.queue import Spool


def remove(spool: Spool, place: Ended | Rejected) -> None:
    """The job is gone on return. Somebody else having removed it is fine.

    Raises:
        StorageFailed: the file system refused; a job that is no longer listed is swept by the next cleanup.
    """
    if isinstance(place, Rejected) and not is_job_id(place.job_id):
        _remove_file(place.path)
        files.discard(place.why_path)
        return
    folder = spool.paths.job(place.job_id)
    if isinstance(place, Rejected):
        files.discard(place.why_path)
    if not os.path.isdir(folder) or os.path.islink(folder):
        files.discard(place.path)
        return
    try:
        files.move(place.path, spool.paths.removed(place.job_id))
    except FileNotFoundError:
        return
    _remove_folder(spool, place.job_id)


def sweep_removed(spool: Spool) -> int:
    """Finish removals that were interrupted; how many there were."""
    swept = 0
    for job_id in files.names(spool.paths.jobs):
        if os.path.lexists(spool.paths.removed(job_id)):
            _remove_folder(spool, job_id)
            swept += 1
    return swept


def ended_before(spool: Spool, cutoff: datetime) -> Iterator[Ended]:
    """Jobs that ended before `cutoff`; only of the cutoff's own day are the results read.

    One whose result cannot be read counts as having ended when its day did.
    """
    for place in ended_places(spool):
        try:
            next_day = date.fromisoformat(place.day) + timedelta(days=1)
        except ValueError:
            continue  # somebody's own folder
        if datetime(next_day.year, next_day.month, next_day.day, tzinfo=UTC) <= cutoff:
            yield place
        elif place.day <= cutoff.astimezone(UTC).date().isoformat():
            ended_at = _ended_at(spool, place)
            if ended_at is not None and ended_at < cutoff:
                yield place


def _ended_at(spool: Spool, place: Ended) -> datetime | None:
    try:
        return Result.from_document(
            files.read_document(spool.paths.result(place.job_id, spool.attempt(place.job_id)))
        ).ended_at
    except (FileNotFoundError, BadDocument, UnreadableFile):
        return None


def _remove_file(path: str) -> None:
    """What was dropped, be it a directory. No folder of jobs/ is its own, whatever its name."""
    if not os.path.isdir(path) or os.path.islink(path):
        files.discard(path)
        return
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise files.failed("remove", path, error) from None


def _remove_folder(spool: Spool, job_id: str) -> None:
    folder, mark = spool.paths.job(job_id), spool.paths.removed(job_id)
    try:
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            elif entry.path != mark:
                files.discard(entry.path)
        files.discard(mark)
        os.rmdir(folder)
    except FileNotFoundError:
        return  # another cleanup is at it
    except OSError as error:
        raise files.failed("remove", folder, error) from None
