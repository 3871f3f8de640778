"""Why jobs wait, as this host's dispatcher would say it at this moment.

The same policy on the same view. Cards are read from NVML, and only when a
waiting job asks for some; which of them the dispatcher's CUDA_VISIBLE_DEVICES
hides is what it published, since the caller's own environment says nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forgather_spool import policy
from forgather_spool.dispatcher.dependencies import Dependencies
from forgather_spool.dispatcher.published import cards_as_dispatched
from forgather_spool.dispatcher.view import claims_on, view_of
from forgather_spool.dispatcher.waitlist import asks_of
from forgather_spool.host import proc
from forgather_spool.host.nvml import GpuReading
from forgather_spool.job import JobSpec, State
from forgather_spool.pending import PendingReason
from forgather_spool.spool.look import Job, read_all
from forgather_spool.spool.place import waiting_places
from forgather_spool.spool.queue import Spool


def pending_reasons(spool: Spool, first: Sequence[Job]) -> Mapping[str, PendingReason]:
    """By job id, for the `first` jobs of the queue: in start order and none left out.

    Whatever comes behind them changes nothing for them. A job whose spec
    cannot be read has no reason; its `problem` is why.
    """
    shapes, dependencies = policy.Shapes(), Dependencies(spool)
    waiting = [_waiting(spool, job, job.spec, shapes, dependencies) for job in first if job.spec is not None]
    if not waiting:
        return {}
    host_name = proc.host_name()
    asks_for_cards = any(entry.asks.gpus for entry in waiting)
    reading = cards_as_dispatched(spool, host_name) if asks_for_cards else GpuReading(gpus=())
    claims = claims_on(spool, host_name)
    view = view_of(spool, claims, {}, reading.gpus, reading.problem)
    return policy.decide(waiting, view).reasons(waiting)


def _waiting(
    spool: Spool, job: Job, spec: JobSpec, shapes: policy.Shapes, dependencies: Dependencies
) -> policy.Waiting:
    asks, not_before_at = asks_of(spool, job.job_id, spec.document, shapes)
    return policy.Waiting(job.job_id, job.priority or 0, asks, dependencies.state(asks.after), not_before_at)


def place_in_queue(spool: Spool, job: Job) -> tuple[int, PendingReason | None] | None:
    """How many start before it, and why it waits. None: it does not wait (any more)."""
    places = waiting_places(spool)
    ahead = next((i for i, place in enumerate(places) if place.job_id == job.job_id), None)
    if ahead is None:
        return None
    first = list(read_all(spool, places[: ahead + 1]))
    return ahead, pending_reasons(spool, first).get(job.job_id)


def reason_of(spool: Spool, job: Job) -> PendingReason | None:
    """Why it waits; None when it does not, or its spec cannot be read."""
    found = place_in_queue(spool, job) if job.state is State.WAITING else None
    return None if found is None else found[1]
