"""What an idle dispatcher removes: the ended jobs that its owner said shall not be kept.

Nothing unless ``retention`` is set in dispatch.json. It gives way to work: it
asks before each step whether there is news, and stops after `AT_MOST_S`; what
is left is for the next idle moment, since any pass finds the same again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from forgather_spool.errors import BadDocument, StorageFailed, UnreadableFile
from forgather_spool.spool import settings
from forgather_spool.spool.queue import Spool

AT_ONCE = 16  # jobs; a few milliseconds
AT_MOST_S = 5.0  # no news, yet somebody who stops us wants us gone within seconds


def remove_outdated(spool: Spool, may_go_on: Callable[[], bool], say: Callable[[str], None]) -> int:
    """How many jobs went. What the file system refuses is said, and no reason to do anything else."""
    try:
        document = settings.dispatch(spool.paths)["retention"]
        return _remove(spool, document, may_go_on, say) if isinstance(document, dict) else 0
    except (BadDocument, UnreadableFile, StorageFailed) as error:
        say(f"ended jobs are not removed for now: {error}")
        return 0


def _remove(
    spool: Spool, document: dict[str, object], may_go_on: Callable[[], bool], say: Callable[[str], None]
) -> int:
    from forgather_spool.spool.remove import remove, sweep_removed
    from forgather_spool.spool.retention import BrokenOff, Retention, outdated

    deadline = time.monotonic() + AT_MOST_S

    def go_on() -> bool:
        return time.monotonic() < deadline and may_go_on()

    removed = 0
    try:
        places = outdated(spool, Retention.from_document(document), datetime.now(UTC), go_on=go_on)
    except BrokenOff:
        return 0
    for at in range(0, len(places), AT_ONCE):
        if not go_on():
            break
        removed += len(remove(spool, *places[at : at + AT_ONCE]))
    sweep_removed(spool, go_on)
    if removed:
        say(f"removed {removed} ended jobs, as set by: forgather sched retention")
    return removed
