"""Hosts, cards and jobs for stories about the policy, each with plain defaults to depart from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from forgather_spool.gpu import CardPolicy, Gpu, GpuPolicy, GpuProcess
from forgather_spool.job import Terms
from forgather_spool.pending import CardsBusy, PendingReason, PriorityTooLow
from forgather_spool.policy import Asks, Holder, View, Waiting, decide

GIB = 1 << 30
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def card(index: int, *, used_gib: float = 0, total_gib: float = 24, **facts: Any) -> Gpu:
    given: dict[str, Any] = {
        "uuid": f"GPU-{index}",
        "name": "Test Card",
        "memory_total_bytes": int(total_gib * GIB),
        "memory_used_bytes": int(used_gib * GIB),
    }
    return Gpu(index=index, **{**given, **facts})


def process(pid: int, kind: str = "compute", *, name: str | None = "python", user: str | None = "ann") -> GpuProcess:
    return GpuProcess(pid=pid, kind=kind, memory_used_bytes=GIB, name=name, user=user)


def host(*gpus: Gpu, **facts: Any) -> View:
    given: dict[str, Any] = {
        "now": NOW,
        "policy": GpuPolicy(),
        "no_gpu_limit": 4,
    }
    taken, without_gpu = facts.pop("taken", {}), facts.pop("running_without_gpu", 0)
    holders = [holder(job_id, index) for index, job_id in taken.items()]
    holders += [holder(f"running_{n}") for n in range(without_gpu)]
    return View(gpus=gpus, **{**given, "holders": [*holders, *facts.pop("holders", ())], **facts})


def holder(job_id: str, *cards: int, priority: int = 0, minutes_ago: float = 10, **facts: Any) -> Holder:
    """A job that runs here; `facts` beyond a Holder's own are its terms."""
    own = {name: facts.pop(name) for name in ("going", "ended") if name in facts}
    started_at = NOW - timedelta(minutes=minutes_ago)
    return Holder(job_id=job_id, priority=priority, cards=cards, started_at=started_at, terms=terms(**facts), **own)


def terms(*, memory_gib: float | None = None, **facts: Any) -> Terms:
    return Terms(gpu_memory_bytes=None if memory_gib is None else int(memory_gib * GIB), **facts)


def restricted(**min_priorities: int) -> GpuPolicy:
    """`restricted(card_0=5)`: card 0 is kept for priority 5 and above."""
    return GpuPolicy(cards={k.removeprefix("card_"): CardPolicy(min_priority=v) for k, v in min_priorities.items()})


def job(job_id: str, gpus: int = 1, *, priority: int = 0, **asks: Any) -> Waiting:
    """A waiting job; what is neither of a Waiting nor of its Asks are its terms."""
    own = {name: asks.pop(name) for name in ("after", "not_before_at") if name in asks}
    of_asks = {name: asks.pop(name) for name in Asks.__slots__ if name in asks}
    return Waiting(job_id, priority, Asks(gpus=gpus, terms=terms(**asks), **of_asks), **own)


def submitted(minutes_ago: float, number: int = 0) -> str:
    """The id of a job submitted then."""
    return f"q_{int((NOW - timedelta(minutes=minutes_ago)).timestamp() * 1000)}_{number:08x}"


def started(waiting: list[Waiting], view: View) -> dict[str, list[int]]:
    return {start.job_id: [ref.index for ref in start.gpus] for start in decide(waiting, view).starts}


def reason(entry: Waiting, view: View) -> PendingReason:
    return decide([entry], view).reasons([entry])[entry.job_id]


def card_facts(entry: Waiting, view: View) -> list[str]:
    found = reason(entry, view)
    assert isinstance(found, (CardsBusy, PriorityTooLow))
    return [obstacle.text for obstacle in found.details]
