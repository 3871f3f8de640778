"""Removing ended jobs: the only way anything leaves the spool for good.

    1. that its spec has left queue/ and running/ is made durable
    2. done/<day>/<job_id>.json is renamed to jobs/<job_id>/removed.json
    3. jobs/<job_id>/ is renamed to jobs/.removed.<job_id>/
    4. that folder is removed with all it holds

Without the first, a power cut might bring a spec back into running/, and
nothing would say any more that it has run. The second takes the job out of every list at once, so nobody meets half a
job; and it marks the folder, so that what a crash leaves in between is known
for what it is. Without the third, a crash just before the last rmdir would
leave an empty folder, which looks like that of a job being claimed. Folders
without that mark are never touched: a trainer that nobody queued keeps its own
in jobs/ as well.
"""

from __future__ import annotations

from collections.abc import Callable

from forgather_spool.spool import files
from forgather_spool.spool.ended import Ended
from forgather_spool.spool.imported import finish_import
from forgather_spool.spool.names import is_job_id
from forgather_spool.spool.place import (
    Rejected,
)
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
    if not files.is_directory(folder):
        files.discard(place.path)
        return
    files.make_names_durable(spool.paths.queue, *map(spool.paths.running_on, files.names(spool.paths.running)))
    try:
        files.move(place.path, spool.paths.removed(place.job_id))
    except FileNotFoundError:
        return
    _remove_folder(spool, place.job_id)


def sweep_removed(spool: Spool, go_on: Callable[[], bool] = lambda: True) -> int:
    """Finish removals and imports that were interrupted, for as long as `go_on` says so; how many removals."""
    swept = 0
    for name in files.names(spool.paths.jobs):
        if not go_on():
            break
        finish_import(spool, name)
        job_id = spool.paths.being_removed(name)
        if job_id is not None or files.exists(spool.paths.removed(name)):
            _remove_folder(spool, job_id or name)
            swept += 1
    return swept


def _remove_file(path: str) -> None:
    """What was dropped, be it a directory. No folder of jobs/ is its own, whatever its name."""
    if not files.is_directory(path):
        files.discard(path)
        return
    files.remove_tree(path)


def _remove_folder(spool: Spool, job_id: str) -> None:
    aside = spool.paths.removing(job_id)
    files.remove_tree(aside)  # left by an interrupted removal of a job that was imported again since
    try:
        files.move(spool.paths.job(job_id), aside)
    except FileNotFoundError:
        return  # it was moved already, or another cleanup is at it
    files.remove_tree(aside)
