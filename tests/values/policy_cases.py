"""Hosts, cards and jobs for stories about the policy, each with plain defaults to depart from."""

from __future__ import annotations

from typing import Any

from forgather_spool.gpu import CardPolicy, Gpu, GpuPolicy, GpuProcess
from forgather_spool.pending import CardsBusy, PendingReason, PriorityTooLow
from forgather_spool.policy import View, Waiting, decide

GIB = 1 << 30


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
        "policy": GpuPolicy(),
        "taken": {},
        "our_pids": frozenset(),
        "running_without_gpu": 0,
        "no_gpu_limit": 4,
        "paused": False,
        "nvml_problem": None,
    }
    return View(gpus=gpus, **{**given, **facts})


def restricted(**min_priorities: int) -> GpuPolicy:
    """`restricted(card_0=5)`: card 0 is kept for priority 5 and above."""
    return GpuPolicy(cards={k.removeprefix("card_"): CardPolicy(min_priority=v) for k, v in min_priorities.items()})


def job(job_id: str, gpus: int = 1, *, priority: int = 0, memory_gib: float | None = None) -> Waiting:
    return Waiting(job_id, priority, gpus, None if memory_gib is None else int(memory_gib * GIB))


def started(waiting: list[Waiting], view: View) -> dict[str, list[int]]:
    return {start.job_id: [ref.index for ref in start.gpus] for start in decide(waiting, view).starts}


def reason(entry: Waiting, view: View) -> PendingReason:
    return decide([entry], view).reasons([entry])[entry.job_id]


def card_facts(entry: Waiting, view: View) -> list[str]:
    found = reason(entry, view)
    assert isinstance(found, (CardsBusy, PriorityTooLow))
    return [obstacle.text for obstacle in found.details]
