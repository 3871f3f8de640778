"""Attempts: a job that is run again gets a folder for each further time, and the last one counts.

    jobs/<job_id>/               attempt 1
    jobs/<job_id>/attempt-<n>/   attempt n, from 2 on; again.json in it says why there is one

A reader asks once which attempt is the current one and keeps to it; a job may
be run again while it is looked at. Light: submit and the runner come through here.
"""

from __future__ import annotations

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.spool import files
from forgather_spool.spool.names import FIRST_ATTEMPT, parse_attempt
from forgather_spool.spool.paths import AGAIN, Paths


def current(paths: Paths, job_id: str) -> int:
    """The number of the job's latest attempt; 1 also when it has no folder yet. One listing."""
    return max(numbers(paths, job_id))


def numbers(paths: Paths, job_id: str) -> list[int]:
    """Those of all its attempts, in order, 1 always among them. One listing.

    By listing and not by asking for the next name: NFS remembers for half a
    minute that a name was not there.
    """
    found = (parse_attempt(name) for name in files.names(paths.job(job_id)))
    return sorted([FIRST_ATTEMPT, *(number for number in found if number is not None)])


def make(paths: Paths, job_id: str, attempt: int, again: Document) -> bool:
    """Decide that the job is run again: attempt `attempt` exists from now on. False: it did already.

    The folder and again.json in it appear in one rename; what is left to do is
    to bring the spec back to the queue, and whoever looks next does that.
    """
    try:
        files.make_folder_once(paths.attempt(job_id, attempt), AGAIN, again, paths.tmp)
    except FileExistsError:
        return False
    return True


def again(paths: Paths, job_id: str, attempt: int) -> Document | None:
    """Why there is this attempt, checked. None: it is the first. Raises BadDocument, UnreadableFile."""
    if attempt == FIRST_ATTEMPT:
        return None
    try:
        return schema.check(files.read_document(paths.again(job_id, attempt)), schema.AGAIN)
    except FileNotFoundError:
        return None
