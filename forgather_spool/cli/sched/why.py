"""`sched why`: the pending reason of one job in full, with what stands before it."""

from __future__ import annotations

from forgather_spool.cli.sched.reasons import place_in_queue, unmet_on_hold
from forgather_spool.cli.show import shown
from forgather_spool.document import Document
from forgather_spool.job import State
from forgather_spool.outcome import describe
from forgather_spool.spool.look import Job
from forgather_spool.spool.queue import Spool


def why_document(spool: Spool, job: Job) -> Document:
    """What `sched why --json` prints; `ahead` and `code` are null for a job that does not wait.

    job_id, state, ahead, code, text, details [{gpu_index, code, why}].
    """
    ahead, reason = place_in_queue(spool, job) or (None, None)
    return {
        "job_id": job.job_id,
        "state": job.state.value,
        "ahead": ahead,
        "code": reason and reason.code,
        "text": reason.text if reason else _not_waiting(spool, job),
        "details": [
            {"gpu_index": found.gpu_index, "code": found.code, "why": found.why}
            for found in getattr(reason, "details", ())
        ],
    }


def explain(spool: Spool, job: Job) -> list[str]:
    """Lines for a person."""
    ahead, reason = place_in_queue(spool, job) or (None, None)
    if reason is None:
        return [f"{shown(job.job_id)}: {shown(_not_waiting(spool, job))}"]
    lines = [f"{job.job_id}: {shown(reason.text)}"]
    lines += [f"  {shown(found.text)}" for found in getattr(reason, "details", ())]
    return [*lines, f"  {ahead} ahead of it in the queue"] if ahead else lines


def _not_waiting(spool: Spool, job: Job) -> str:
    if job.problem is not None:
        return job.problem
    if job.state is State.DONE and job.result is not None:
        return f"does not wait: {describe(job.result.outcome)}"
    if job.state is State.HELD:
        unmet = unmet_on_hold(spool, [job]).get(job.job_id)
        held, start = ("", "let it start") if unmet is None else (f": {unmet.text}", "start it all the same")
        return f"is on hold{held}; to {start}: forgather sched release {job.job_id}"
    return f"does not wait: {job.state.value}"
