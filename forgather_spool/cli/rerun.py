"""`job rerun`: the same spec as a new job."""

from __future__ import annotations

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import UnreadableFile
from forgather_spool.spool.look import Job
from forgather_spool.spool.queue import Spool


def rerun(spool: Spool, job: Job, priority: int | None) -> Document:
    """Submit it; the new job's id, rerun_of, priority and gpus.

    `priority` None keeps the one it had. The commit it ran from is not taken
    over: nobody knows what lies in its directory now.

    Raises:
        UnreadableFile: its spec cannot be read.
        BadDocument: `priority` is beyond the limits.
    """
    if job.spec is None:
        raise UnreadableFile(job.problem or f"job {job.job_id}: its spec cannot be read", hint="submit it anew")
    kept = {key: value for key, value in job.spec.document.items() if key != "git_commit"}
    document: Document = {
        **kept,
        "priority": (job.priority or 0) if priority is None else priority,
        "rerun_of": job.job_id,
    }
    schema.check(document, schema.SPEC)
    job_id = spool.submit(document)
    return {"job_id": job_id, "rerun_of": job.job_id, "priority": document["priority"], "gpus": job.spec.gpus}
