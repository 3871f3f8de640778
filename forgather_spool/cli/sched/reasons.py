"""Why jobs wait, as this host's dispatcher would say it at this moment.

The same policy on the same view. Cards are read from NVML, and only when a
waiting job asks for some; which of them the dispatcher's CUDA_VISIBLE_DEVICES
hides is what it published, since the caller's own environment says nothing of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from forgather_spool import policy
from forgather_spool.dispatcher.dependencies import Dependencies
from forgather_spool.dispatcher.published import cards_as_dispatched
from forgather_spool.dispatcher.view import claims_on, view_of
from forgather_spool.dispatcher.waitlist import Waitlist, asks_of
from forgather_spool.host import proc
from forgather_spool.host.nvml import GpuReading
from forgather_spool.job import JobSpec, State
from forgather_spool.pending import NeverStarts, PendingReason
from forgather_spool.spool.look import Job
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


def reasons_of(spool: Spool, jobs: Collection[Job]) -> Mapping[str, PendingReason]:
    """By job id, why those of `jobs` that wait do, wherever in the queue they are; and `unmet_on_hold`.

    None for one whose spec cannot be read, or that no longer waits.
    """
    waiting = [job for job in jobs if job.state is State.WAITING]
    return {**unmet_on_hold(spool, jobs), **(_decided(spool, waiting)[1] if waiting else {})}


def unmet_on_hold(spool: Spool, jobs: Iterable[Job]) -> dict[str, NeverStarts]:
    """By job id, those that `--after-unmet hold` keeps on hold: released as they are, they would be held again."""
    dependencies, shapes = Dependencies(spool), policy.Shapes()
    found = {}
    for job in jobs:
        if job.state is not State.HELD or job.spec is None or job.spec.document.get("after_unmet") != "hold":
            continue
        asks, _ = asks_of(spool, job.job_id, job.spec.document, shapes)
        stands = dependencies.state(asks.after)
        if isinstance(stands, policy.Never):
            found[job.job_id] = NeverStarts(stands.reason, "held")
    return found


def place_in_queue(spool: Spool, job: Job) -> tuple[int, PendingReason | None] | None:
    """How many start before it, and why it waits. None: it does not wait (any more)."""
    ahead, reasons = _decided(spool, [job])
    return (ahead[job.job_id], reasons.get(job.job_id)) if job.job_id in ahead else None


def _decided(spool: Spool, jobs: Sequence[Job]) -> tuple[dict[str, int], Mapping[str, PendingReason]]:
    """Of each that waits, how many start before it; and why it does not start now.

    Decided as a dispatcher does, which reads what waits before it only while something of that could start.
    """
    waitlist = Waitlist(spool, _leave_it, _leave_it)
    waitlist.load()
    entries = [entry for job in jobs if (entry := (-(job.priority or 0), job.job_id)) in waitlist]
    ahead = {entry[1]: waitlist.ahead_of(entry) for entry in entries}
    dependencies, given_up = Dependencies(spool), policy.GivenUp()
    asked = waitlist.waiting([entry for entry in entries if waitlist.asks(entry)], dependencies.state)
    if not asked:
        return ahead, {}
    host_name = proc.host_name()
    reading = cards_as_dispatched(spool, host_name) if any(map(_looks_at_cards, asked)) else GpuReading(gpus=())
    view = view_of(spool, claims_on(spool, host_name), {}, reading.gpus, reading.problem)
    decision = policy.decide(waitlist.candidates(lambda _: False, given_up, dependencies.state), view, given_up)
    return ahead, decision.reasons(asked)


def _looks_at_cards(entry: policy.Waiting) -> bool:
    """Also for one whose group may be full of jobs with cards."""
    return entry.asks.gpus > 0 or entry.asks.terms.group is not None


def _leave_it(*_: object) -> None:
    """What cannot be read is the dispatcher's to set aside."""


def reason_of(spool: Spool, job: Job) -> PendingReason | None:
    """Why it waits; None when it does not, or its spec cannot be read."""
    return reasons_of(spool, [job]).get(job.job_id)
