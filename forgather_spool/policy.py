"""Which waiting jobs start now, on which cards, and why the others wait.

One pure function of values: no clock, no files, no NVML. Highest priority
first, then the order of submitting. A job that does not fit does not hold up
one behind it that does; so a large job may wait long behind small ones, and
its owner gives it a higher priority or keeps cards for it with `min_priority`.

What keeps a job from a card is said once, in `_obstacle`: the choice and the
explanation both ask it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from forgather_spool.gpu import Gpu, GpuPolicy, GpuProcess
from forgather_spool.job import GpuRef
from forgather_spool.pending import (
    CardsBusy,
    NeedsMoreCards,
    NeedsMoreMemory,
    NoCardLimit,
    NoNvml,
    Obstacle,
    Paused,
    PendingReason,
    PriorityTooLow,
    StartsNext,
    gib_down,
    gib_up,
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What of a queued job decides its turn. `gpu_memory_bytes` must be free on each of its cards."""

    job_id: str
    priority: int
    gpus: int
    gpu_memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """This host and its owner's wishes at one moment; all that is decided rests on it.

    `taken`: card index to the job that holds it, which is until its scope is
    empty. `our_pids`: every process of our jobs; others that compute on a card
    are foreign. `nvml_problem` says why no card can be seen; None when they can.
    """

    gpus: Sequence[Gpu]
    policy: GpuPolicy
    taken: Mapping[int, str]
    our_pids: Collection[int]
    running_without_gpu: int
    no_gpu_limit: int
    paused: bool
    nvml_problem: str | None


@dataclass(frozen=True, slots=True)
class Start:
    """One job to start now. `gpus` are sorted by index; empty for a job that asked for none."""

    job_id: str
    gpus: tuple[GpuRef, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What starts, in start order, and the view with these starts counted in."""

    starts: tuple[Start, ...]
    after: View

    def reasons(self, entries: Iterable[Waiting]) -> dict[str, PendingReason]:
        """By job id, why each of `entries` waits; `StartsNext` for those in `starts`.

        `entries` are any of the jobs decided on. Jobs of one shape share one reason.
        """
        answers: dict[str, PendingReason] = {start.job_id: StartsNext(start.gpus) for start in self.starts}
        by_shape: dict[tuple[int, int, int | None], PendingReason] = {}
        found: dict[str, PendingReason] = {}
        for entry in entries:
            reason = answers.get(entry.job_id)
            if reason is None:
                shape = (entry.priority, entry.gpus, entry.gpu_memory_bytes)
                reason = by_shape.get(shape)
                if reason is None:
                    reason = by_shape[shape] = _reason(entry, self.after)
            found[entry.job_id] = reason
        return found


def start_order(priority: int, job_id: str) -> tuple[int, str]:
    """The sort key `decide` expects: what starts first sorts first. A file's name in `queue/` has both."""
    return (-priority, job_id)


def decide(waiting: Iterable[Waiting], view: View) -> Decision:
    """The starts of this pass. `waiting` must be in `start_order`.

    Takes from `waiting` only while something could still start: give it a
    generator that reads specs on demand, and a full host reads none.
    """
    starts: list[Start] = []
    hopeless = _Hopeless(len(view.gpus))
    lowest_priority = _lowest_that_could_start(view)
    if lowest_priority == math.inf:
        return Decision((), view)
    for entry in waiting:
        if entry.priority < lowest_priority:
            break
        if hopeless.covers(entry):
            continue
        gpus = _place(entry, view)
        if gpus is None:
            hopeless.learn(entry)
            continue
        starts.append(Start(entry.job_id, gpus))
        view = _with_start(view, starts[-1])
        lowest_priority = _lowest_that_could_start(view)
        if lowest_priority == math.inf:
            break
    return Decision(tuple(starts), view)


class _Hopeless:
    """Shapes that found no place in this pass, so that 100,000 alike are looked at once.

    In one pass cards only get fewer and priorities only lower. So whoever asks
    for as many cards and as much memory as one that found no place finds none.
    """

    __slots__ = ("_refused_bytes",)

    def __init__(self, host_cards: int) -> None:
        self._refused_bytes: list[float] = [math.inf] * (host_cards + 1)  # by cards asked

    def covers(self, entry: Waiting) -> bool:
        cards = entry.gpus
        refused_bytes = self._refused_bytes
        return cards >= len(refused_bytes) or (entry.gpu_memory_bytes or 0) >= refused_bytes[cards]

    def learn(self, entry: Waiting) -> None:
        if entry.gpus == 0:
            self._refused_bytes[0] = 0
            return
        asked_bytes = entry.gpu_memory_bytes or 0
        for cards in range(entry.gpus, len(self._refused_bytes)):
            self._refused_bytes[cards] = min(self._refused_bytes[cards], asked_bytes)


def _lowest_that_could_start(view: View) -> float:
    """The priority below which nothing can start, however little it asks for; infinite when nothing can at all."""
    if view.paused:
        return math.inf
    if _has_room_without_gpu(view):
        return -math.inf
    return min((view.policy.of(gpu).min_priority for gpu in _eligible(view, math.inf, None)), default=math.inf)


def _has_room_without_gpu(view: View) -> bool:
    return view.running_without_gpu < view.no_gpu_limit


def _with_start(view: View, start: Start) -> View:
    if not start.gpus:
        return replace(view, running_without_gpu=view.running_without_gpu + 1)
    return replace(view, taken={**view.taken, **{ref.index: start.job_id for ref in start.gpus}})


def _place(entry: Waiting, view: View) -> tuple[GpuRef, ...] | None:
    """The cards it gets, none for a job that asks for none; None when it cannot start."""
    if view.paused:
        return None
    if entry.gpus == 0:
        return () if _has_room_without_gpu(view) else None
    cards = _eligible(view, entry.priority, entry.gpu_memory_bytes)
    if len(cards) < entry.gpus:
        return None
    return tuple(gpu.ref for gpu in sorted(cards[: entry.gpus], key=lambda gpu: gpu.index))


def _eligible(view: View, priority: float, memory_bytes: int | None) -> list[Gpu]:
    """The cards a job may have, in the order to use them.

    Most restricted first: the open ones stay for jobs that may have no others.
    """
    if view.nvml_problem is not None:
        return []
    cards = [gpu for gpu in view.gpus if _obstacle(gpu, view, priority, memory_bytes) is None]
    return sorted(cards, key=lambda gpu: (-view.policy.of(gpu).min_priority, gpu.index))


def _obstacle(gpu: Gpu, view: View, priority: float, memory_bytes: int | None) -> Obstacle | None:
    """The first thing that keeps a job from this card; None when it may have it.

    Priority comes last, so a card refused for that is refused for nothing else.
    """
    obstacle = _obstacle_to_all(gpu, view) or _memory_obstacle(gpu, memory_bytes)
    if obstacle is not None:
        return obstacle
    min_priority = view.policy.of(gpu).min_priority
    if min_priority > priority:
        return Obstacle(gpu.index, "min_priority", f"min_priority {min_priority} > {priority}")
    return None


def _obstacle_to_all(gpu: Gpu, view: View) -> Obstacle | None:
    """What would keep every job from this card."""
    if gpu.problem is not None:
        return Obstacle(gpu.index, "problem", gpu.problem)
    if gpu.excluded:
        return Obstacle(gpu.index, "excluded", "excluded by CUDA_VISIBLE_DEVICES of the dispatcher")
    if view.policy.of(gpu).disabled:
        return Obstacle(gpu.index, "disabled", "disabled")
    if gpu.index in view.taken:
        return Obstacle(gpu.index, "job", f"job {view.taken[gpu.index]}")
    foreign = [] if view.policy.ignore_foreign_processes else _foreign_processes(gpu, view)
    if foreign:
        return Obstacle(gpu.index, "foreign_process", f"taken by {_describe(foreign)}")
    return None


def _memory_obstacle(gpu: Gpu, memory_bytes: int | None) -> Obstacle | None:
    if memory_bytes is None:
        return None
    free_bytes, total_bytes = gpu.memory_free_bytes, gpu.memory_total_bytes
    if free_bytes is None or total_bytes is None:
        return Obstacle(gpu.index, "memory", f"free memory not known, {gib_up(memory_bytes)} asked")
    if free_bytes < memory_bytes:
        have = f"{gib_down(free_bytes)} free of {gib_down(total_bytes)}"
        return Obstacle(gpu.index, "memory", f"{have}, {gib_up(memory_bytes)} asked")
    return None


def _foreign_processes(gpu: Gpu, view: View) -> list[GpuProcess]:
    """Others' processes that compute here. A desktop only draws, and leaves the card usable."""
    found = [process for process in gpu.processes if process.kind == "compute" and process.pid not in view.our_pids]
    return sorted(found, key=lambda process: process.pid)


def _describe(processes: Sequence[GpuProcess]) -> str:
    first, more = processes[0], len(processes) - 1
    user = f" of user {first.user}" if first.user else ""
    name = f" ({first.name})" if first.name else ""
    return f"foreign process {first.pid}{user}{name}" + (f" and {more} more" if more else "")


def _reason(entry: Waiting, view: View) -> PendingReason:
    gpus = _place(entry, view)
    if gpus is not None:
        return StartsNext(gpus)
    if view.paused:
        return Paused()
    if entry.gpus == 0:
        return NoCardLimit(view.no_gpu_limit)
    if view.nvml_problem is not None:
        return NoNvml(view.nvml_problem)
    return _beyond_this_host(entry, view) or _no_card_now(entry, view)


def _beyond_this_host(entry: Waiting, view: View) -> NeedsMoreCards | NeedsMoreMemory | None:
    """Set when no waiting helps. What the owner can change (disabled, min_priority) does not count."""
    usable = [gpu for gpu in view.gpus if gpu.problem is None and not gpu.excluded]
    if len(usable) < entry.gpus:
        return NeedsMoreCards(entry.gpus, len(usable))
    # A total NVML does not tell may be large enough, so it rules nothing out.
    totals = sorted((math.inf if g.memory_total_bytes is None else g.memory_total_bytes for g in usable), reverse=True)
    largest_bytes = totals[entry.gpus - 1]
    if entry.gpu_memory_bytes is not None and largest_bytes < entry.gpu_memory_bytes:
        return NeedsMoreMemory(entry.gpus, entry.gpu_memory_bytes, int(largest_bytes))
    return None


def _no_card_now(entry: Waiting, view: View) -> CardsBusy | PriorityTooLow:
    cards = sorted(view.gpus, key=lambda gpu: gpu.index)
    found = [_obstacle(gpu, view, entry.priority, entry.gpu_memory_bytes) for gpu in cards]
    details = tuple(obstacle for obstacle in found if obstacle is not None)
    free = len(cards) - len(details)
    kept = [gpu for gpu, obstacle in zip(cards, found, strict=True) if obstacle and obstacle.code == "min_priority"]
    if free + len(kept) < entry.gpus:
        return CardsBusy(entry.gpus, free, details)
    needed = sorted(view.policy.of(gpu).min_priority for gpu in kept)[entry.gpus - free - 1]
    return PriorityTooLow(entry.gpus, entry.priority, needed, free, details)
