"""The way into the queue for any one job, with a `unique` key or without."""

from __future__ import annotations

from forgather_spool.document import Document
from forgather_spool.spool.entrance import Entrance


def submit(spool: Entrance, spec: Document) -> str:
    """Put a checked spec into the queue; durable, and therefore acknowledged, on return. The job's id.

    Raises:
        Busy: it has a key, and another job with that waits or runs.
        StorageFailed: nothing was submitted.
    """
    if not spec.get("unique"):
        return spool.submit(spec)
    from forgather_spool.spool import unique
    from forgather_spool.spool.queue import Spool

    return unique.submit(Spool(spool.paths.home), spec)
