"""Stopping a job, wherever it stands: one that waits is cancelled, one that runs is asked.

Asking leaves word in the job's folder; its runner sees it, sends the signals
and writes the result. Nobody here sends a signal.
"""

from __future__ import annotations

from enum import Enum, auto

from forgather_spool.errors import AlreadyClaimed, Busy, NoSuchJob
from forgather_spool.spool import files
from forgather_spool.spool.follow import finish_ending
from forgather_spool.spool.next_attempt import next_attempt
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.place import LOOKS, Held, Queued, Taken, locate
from forgather_spool.spool.queue import Spool


class Stopped(Enum):
    """What came of it."""

    CANCELLED = auto()  # it waited, and will never start
    ASKED = auto()  # it runs or launches, and its runner has been told
    ASKED_BEFORE = auto()  # the same, and somebody had told it already
    HAD_ENDED = auto()


def stop(spool: Spool, job_id: str, by: str, *, force: bool = False) -> Stopped:
    """Cancel it, or ask its runner: TERM, the spec's grace, KILL; with `force` KILL at once.

    A launch that is interrupted afterwards puts the job back into the queue:
    call again while it is not over.

    Raises:
        NoSuchJob: it is nowhere.
        Busy: it moved each time we looked.
    """
    for _ in range(LOOKS):
        place = locate(spool, job_id)
        if place is None:
            raise NoSuchJob(f"no job {job_id}", hint="forgather sched list --all")
        if isinstance(place, (Queued, Held)):
            try:
                spool.cancel_waiting((-place.priority, job_id), by, held=isinstance(place, Held))
            except AlreadyClaimed:
                continue  # a dispatcher was first: now it is in running/; or it was held or released
            return Stopped.CANCELLED
        if not isinstance(place, Taken):
            return Stopped.HAD_ENDED
        if place.host == CANCEL:
            finish_ending(spool, place)
            return Stopped.CANCELLED
        attempt = spool.attempt(job_id)
        if spool.has_result(job_id, attempt) and not _is_run_again(spool, place, attempt):
            return Stopped.HAD_ENDED
        files.make_directory(spool.paths.job(job_id))  # a claim this young may not have made it yet
        asked = spool.ask_to_stop(job_id, by=by, force=force, attempt=attempt)
        if isinstance(locate(spool, job_id), (Queued, Held)) or spool.attempt(job_id) != attempt:
            continue  # put back, or run again, in this moment: no runner will read what we left
        return Stopped.ASKED if asked else Stopped.ASKED_BEFORE
    raise Busy(f"job {job_id} is being launched and put back", hint="try again in a moment")


def _is_run_again(spool: Spool, place: Taken, attempt: int) -> bool:
    try:
        return next_attempt(spool, place.job_id, attempt, place.path) is not None
    except FileNotFoundError:
        return False
