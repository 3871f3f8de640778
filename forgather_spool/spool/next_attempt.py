"""Whether an ended attempt is followed by another, as its files say it; the decision itself is `forgather_spool.again`.

Changes nothing. The dispatcher takes the step; who only looks, or would put the
job away for a runner that died, asks here first and leaves it alone.
"""

from __future__ import annotations

from datetime import timedelta

from forgather_spool import schema
from forgather_spool.again import again
from forgather_spool.document import Document
from forgather_spool.job import Result, format_at
from forgather_spool.spool import attempts, files, preempt
from forgather_spool.spool.queue import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def next_attempt(spool: Spool, job_id: str, attempt: int, spec_path: str) -> Document | None:
    """The ``again.json`` of the attempt after this one, whose result stands. None: the job has ended.

    Raises:
        FileNotFoundError: its spec or its result is not there.
        BadDocument, UnreadableFile: one of them is damaged.
    """
    spec: dict[str, Any] = schema.check(files.read_document(spec_path), schema.SPEC)
    if not (spec["retries"] or spec["requeue"] or spec["preemptible"]):
        return None
    result = Result.from_document(files.read_document(spool.paths.result(job_id, attempt)))
    outcome: Any = result.document["outcome"]
    before: dict[str, Any] = attempts.again(spool.paths, job_id, attempt) or {"retries": 0, "requeues": 0}
    gave_way_to = preempt.gave_way(spool.paths, job_id, attempt, outcome)
    coming = again(
        spec,
        outcome,
        retries=before["retries"],
        requeues=before["requeues"],
        asked_to_stop=spool.asked_to_stop_by(job_id, attempt) is not None,
        gave_way=gave_way_to is not None,
    )
    if coming is None:
        return None
    at = result.ended_at + timedelta(seconds=coming.delay_s)
    return {
        "version": schema.VERSION,
        "reason": coming.reason,
        "retries": coming.retries,
        "requeues": coming.requeues,
        "not_before_at": format_at(at) if coming.delay_s else None,
        "after_outcome": outcome,
        "gave_way_to": gave_way_to,
    }
