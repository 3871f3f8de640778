"""Removing ended jobs: the only way anything leaves the spool for good.

    1. that its spec has left queue/ and running/ is made durable
    2. done/<day>/<job_id>.json is renamed to jobs/<job_id>/removed.json
    3. jobs/<job_id>/ is renamed to jobs/.removed.<job_id>/
    4. that folder is removed with all it holds

Each step is taken for all that go and made durable before the next, so that
many jobs cost no more syncs than one. Without the first, a power cut might bring a spec back into running/, and
nothing would say any more that it has run. The second takes the job out of every list at once, so nobody meets half a
job; and it marks the folder, so that what a crash leaves in between is known
for what it is. Without the third, a crash just before the last rmdir would
leave an empty folder, which looks like that of a job being claimed. Folders
without that mark are never touched: a trainer that nobody queued keeps its own
in jobs/ as well.
"""

from __future__ import annotations

from collections.abc import Callable
from os.path import dirname

from forgather_spool.spool import files
from forgather_spool.spool.ended import Ended
from forgather_spool.spool.files import together
from forgather_spool.spool.imported import finish_import
from forgather_spool.spool.names import is_job_id
from forgather_spool.spool.place import (
    Rejected,
)
from forgather_spool.spool.queue import Spool

FEW = 16  # so many folders are synced one by one: a sync of the whole file system waits for everybody's data


def remove(spool: Spool, *places: Ended | Rejected) -> list[Ended | Rejected]:
    """The jobs are gone on return, and those that this call removed are returned: of several at once, each by one.

    Raises:
        StorageFailed: the file system refused; a job that is no longer listed is swept by the next cleanup.
    """
    alone: list[Ended | Rejected] = []
    of_jobs: list[Ended | Rejected] = []
    for place in places:
        (of_jobs if _has_folder(spool, place) else alone).append(place)
        if isinstance(place, Rejected):
            files.discard(place.why_path)
    gone = {place for place in alone if _remove_file(place)}
    gone |= _remove_jobs(spool, of_jobs) if of_jobs else set()
    return [place for place in places if place in gone]


def _remove_jobs(spool: Spool, places: list[Ended | Rejected]) -> set[Ended | Rejected]:
    paths = spool.paths
    files.make_names_durable(paths.queue, *map(paths.running_on, files.names(paths.running)))
    marked = [place for place in places if _is_moved(place.path, paths.removed(place.job_id))]
    if len(marked) > FEW:
        together.sync_file_system(paths.jobs)
    else:
        _sync_those_there([folder for place in marked for folder in (paths.job(place.job_id), dirname(place.path))])
    _remove_folders(spool, [place.job_id for place in marked])
    return set(marked)


def sweep_removed(spool: Spool, go_on: Callable[[], bool] = lambda: True) -> int:
    """Finish removals and imports that were interrupted, for as long as `go_on` says so; how many removals."""
    swept = 0
    for name in files.names(spool.paths.jobs):
        if not go_on():
            break
        finish_import(spool, name)
        if spool.paths.being_removed(name) is not None:
            files.remove_tree(f"{spool.paths.jobs}/{name}")  # this alone: the job may have been imported again since
        elif files.exists(spool.paths.removed(name)):
            _remove_folders(spool, [name])
        else:
            continue
        swept += 1
    return swept


def _sync_those_there(folders: list[str]) -> None:
    """Make the names in each durable. Another cleanup may have taken a marked folder away meanwhile."""
    for folder in dict.fromkeys(folders):
        try:
            files.sync_directory(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise files.failed("sync", folder, error) from None


def _has_folder(spool: Spool, place: Ended | Rejected) -> bool:
    """No folder of jobs/ belongs to a rejected file, unless that is called like a job."""
    if isinstance(place, Rejected) and not is_job_id(place.job_id):
        return False
    return files.is_directory(spool.paths.job(place.job_id))


def _remove_file(place: Ended | Rejected) -> bool:
    """False: it was gone already."""
    if isinstance(place, Rejected) and files.is_directory(place.path):  # dropped as one
        files.remove_tree(place.path)
        return True
    return files.discard(place.path)


def _remove_folders(spool: Spool, job_ids: list[str]) -> None:
    aside = []
    for job_id in job_ids:
        target = spool.paths.removing(job_id)
        files.remove_tree(target)  # left by an interrupted removal of a job that was imported again since
        if _is_moved(spool.paths.job(job_id), target):
            aside.append(target)
    files.make_names_durable(spool.paths.jobs)
    for path in aside:
        files.remove_tree(path)


def _is_moved(source: str, target: str) -> bool:
    """Not durable. False: it was moved already, or another cleanup is at it."""
    try:
        files.move(source, target, durable=False)
    except FileNotFoundError:
        return False
    return True
