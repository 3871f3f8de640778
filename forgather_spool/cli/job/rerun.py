"""`job rerun`: the same spec as a new job, with what the user wants otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from forgather_spool import array, schema
from forgather_spool.cli import warn
from forgather_spool.cli.submit.one import check_together, in_words, refuse_too_many_gpus
from forgather_spool.cli.submit.options import Given, fields
from forgather_spool.cli.submit.order_checks import drop_what_means_nothing_now
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, UnreadableFile, UsageError
from forgather_spool.outcome import words_for
from forgather_spool.spool.batch import submit_one
from forgather_spool.spool.families import look_all
from forgather_spool.spool.look import Job
from forgather_spool.spool.names import family_of, index_of
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.submit import submit

_OF_THAT_TIME = frozenset({"git_commit", "after", "after_unmet", "begin_at", "hold"})


def rerun_each(spool: Spool, job_ids: Sequence[str], given: Given, *, failed: bool) -> Iterator[Document]:
    """Submit them once more; of each new job or array its job_id, rerun_of, priority, gpus and hold.

    With `failed` only those that ended otherwise than with exit 0 or a cancel. Members of one array
    that were submitted alike are one array again.

    Raises:
        NoSuchJob: one is gone.
        UnreadableFile: a spec cannot be read.
        UsageError: an option that cannot be meant, or none of them failed.
        Busy: another job with its key waits or runs.
    """
    found = list(look_all(spool, job_ids))
    if failed:
        found = [job for job in found if job.result is not None and "failed" in words_for(job.result.outcome)]
        if not found:
            raise UsageError("none of them has failed", hint="forgather sched list --all")
    for members in _alike(found):
        yield _rerun(spool, members, given)


def _alike(jobs: Sequence[Job]) -> list[list[Job]]:
    """Each job of its own alone; members of an array together, unless one was edited."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        family = family_of(job.job_id)
        spec = "" if job.spec is None else repr(sorted(job.spec.document.items()))
        groups.setdefault(job.job_id if family is None else f"{family} {job.priority} {spec}", []).append(job)
    return list(groups.values())


def _rerun(spool: Spool, jobs: Sequence[Job], given: Given) -> Document:
    """`jobs` is one job, or members of one array that were submitted alike.

    What held it back then (dependencies, a time, a hold) is not taken over,
    nor the commit it ran from: nobody knows what lies in its directory now.
    A snapshot is: it runs the same files again.
    """
    job = jobs[0]
    if job.spec is None:
        raise UnreadableFile(job.problem or f"job {job.job_id}: its spec cannot be read", hint="submit it anew")
    left_out = _OF_THAT_TIME - {"git_commit"} if job.spec.document.get("snapshot") else _OF_THAT_TIME
    kept = {key: value for key, value in job.spec.document.items() if key not in left_out}
    family = family_of(job.job_id)
    changed = fields(given)
    document: Document = {
        **kept,
        "priority": job.priority or 0,
        **changed,
        "rerun_of": family or job.job_id,
    }
    if family is not None:
        document["array"] = _array_of(kept, jobs)
    drop_what_means_nothing_now(document, {key: value for key, value in kept.items() if key not in changed})
    check_together(document, spool)
    try:
        schema.check(document, schema.SPEC)
        schema.check({"argv": ["-"], **changed}, schema.SPEC, unknown="refuse")  # what is new has to be as at submit
    except BadDocument as error:
        raise UsageError(f"{in_words(error.where)}: {error.problem}", hint="forgather job rerun --help") from None
    for remark in refuse_too_many_gpus(document, spool.paths):
        warn(remark)
    job_id = submit(spool, document) if family is None else submit_one(spool, document)
    return {
        **({} if family is None else {"members": len(jobs)}),
        "job_id": job_id if family is None else f"{job_id}[*]",
        "rerun_of": document["rerun_of"],
        "priority": document["priority"],
        "gpus": document.get("gpus", 0),
        "hold": bool(document.get("hold")),
    }


def _array_of(spec: Document, jobs: Sequence[Job]) -> Document:
    """These members with the numbers they had: each still counts as many as there were."""
    was = spec.get("array")
    wanted = dict(was) if isinstance(was, dict) else {}
    size = wanted.get("size") or (array.size(str(wanted["indexes"])) if wanted else len(jobs))
    return {**wanted, "indexes": array.spell(sorted(index_of(job.job_id) or 0 for job in jobs)), "size": size}
