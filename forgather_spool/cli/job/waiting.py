"""`job wait`: until one or all of several jobs have ended, and what that means for a script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forgather_spool.cli.job.document import job_document
from forgather_spool.document import Document
from forgather_spool.spool.ends import Ends
from forgather_spool.spool.families import look_all
from forgather_spool.spool.look import Job
from forgather_spool.spool.queue import Spool

SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """What came of it. `ended` in the order they were named, `going_on` likewise."""

    ended: tuple[Job, ...]
    going_on: tuple[str, ...]
    timed_out: bool

    @property
    def problem(self) -> str:
        """E.g. "2 of 3 jobs have not ended: q_..., q_..."."""
        more = ", ..." if len(self.going_on) > SHOWN else ""
        many = len(self.ended) + len(self.going_on)
        what = f"{len(self.going_on)} of {many} jobs have" if many > 1 else "job has"
        return f"{what} not ended: {', '.join(self.going_on[:SHOWN])}{more}"

    def status(self, status_of: Callable[[Job], int]) -> int:
        """That of the first named that did not end well."""
        return next((status for job in self.ended if (status := status_of(job))), 0)

    def document(self, spool: Spool) -> Document:
        """The keys are a promise: version, ended [as `job status --json`], going_on [ids], timed_out."""
        return {
            "version": 1,
            "ended": [job_document(spool, job) for job in self.ended],
            "going_on": list(self.going_on),
            "timed_out": self.timed_out,
        }


def wait_for(
    spool: Spool, job_ids: list[str], deadline: float | None, *, first: bool, say: Callable[[Job], None] | None
) -> Waited:
    """Until all have ended, with `first` until any has, or the monotonic `deadline`. `say` is told of each end.

    Raises:
        NoSuchJob: one was removed.
    """
    ended: dict[str, Job] = {}
    timed_out = False
    with Ends(spool, job_ids) as ends:
        while ends.left and not (first and ended) and not timed_out:
            now_ended = ends.next(deadline)
            timed_out = not now_ended
            for job in look_all(spool, now_ended[:1] if first else now_ended):
                ended[job.job_id] = job
                if say is not None:
                    say(job)
    return Waited(
        ended=tuple(ended[job_id] for job_id in job_ids if job_id in ended),
        going_on=tuple(job_id for job_id in job_ids if job_id not in ended),
        timed_out=timed_out,
    )
