"""`sched cleanup`: which ended jobs to remove. How is `spool/remove.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from forgather_spool.errors import UsageError
from forgather_spool.spool.follow import finish_ending
from forgather_spool.spool.look import find
from forgather_spool.spool.place import Ended, Rejected, Taken, ended_places, locate
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.remove import ended_before, remove, sweep_removed


def remove_each(spool: Spool, texts: Sequence[str]) -> int:
    """Remove these; how many.

    Raises:
        NoSuchJob: one is none; nothing was removed.
        UsageError: one has not ended; nothing was removed.
    """
    places = [_ended_place(spool, find(spool, text)) for text in texts]
    for place in places:
        remove(spool, place)
    return len(places)


def remove_ended(spool: Spool, older_than: str | None) -> int:
    """Remove all that ended, or that ended longer ago than `older_than`; how many. Finishes interrupted removals."""
    places = list(ended_places(spool) if older_than is None else ended_before(spool, _this_long_ago(older_than)))
    for place in places:
        remove(spool, place)
    sweep_removed(spool)
    return len(places)


def _this_long_ago(text: str) -> datetime:
    from .quantities import duration_s

    return datetime.now(UTC) - timedelta(seconds=duration_s(text))


def _ended_place(spool: Spool, job_id: str) -> Ended | Rejected:
    place = locate(spool, job_id)
    if isinstance(place, Taken) and spool.has_result(job_id):
        finish_ending(spool, place)
        place = locate(spool, job_id)
    if not isinstance(place, (Ended, Rejected)):
        raise UsageError(f"job {job_id} has not ended", hint=f"forgather job kill {job_id}")
    return place
