"""`job rerun`: the same spec as a new job, with what the user wants otherwise."""

from __future__ import annotations

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, UnreadableFile, UsageError
from forgather_spool.spool.look import Job
from forgather_spool.spool.queue import Spool

from .submit import check_together, in_words
from .submit_options import Given, fields

_OF_THAT_TIME = frozenset({"git_commit", "after", "after_unmet", "begin_at", "hold"})


def rerun(spool: Spool, job: Job, given: Given) -> Document:
    """Submit it, changed by what was `given`; the new job's id, rerun_of, priority, gpus and hold.

    What held it back then (dependencies, a time, a hold) is not taken over,
    nor the commit it ran from: nobody knows what lies in its directory now.

    Raises:
        UnreadableFile: its spec cannot be read.
        UsageError: an option that cannot be meant.
    """
    if job.spec is None:
        raise UnreadableFile(job.problem or f"job {job.job_id}: its spec cannot be read", hint="submit it anew")
    kept = {key: value for key, value in job.spec.document.items() if key not in _OF_THAT_TIME}
    document: Document = {
        **kept,
        "priority": job.priority or 0,
        **fields(given),
        "rerun_of": job.job_id,
    }
    check_together(document, spool)
    try:
        schema.check(document, schema.SPEC)
    except BadDocument as error:
        raise UsageError(f"{in_words(error.where)}: {error.problem}", hint="forgather job rerun --help") from None
    job_id = spool.submit(document)
    return {
        "job_id": job_id,
        "rerun_of": job.job_id,
        "priority": document["priority"],
        "gpus": document.get("gpus", 0),
        "hold": bool(document.get("hold")),
    }
