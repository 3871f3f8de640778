"""What keeps one job from one card. Said once: the choice and the explanation both ask here.

A card is one job's alone, or shared by jobs that all say they share. What a
sharer asked counts as taken from its start, whether it uses it yet or not
(hold-off): a trainer takes a minute to fill the card it was given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from forgather_spool.frozen import replace
from forgather_spool.gpu import Gpu, GpuProcess
from forgather_spool.pending import Obstacle
from forgather_spool.phrases import at_text, gib_down, gib_up
from forgather_spool.policy.board import Board
from forgather_spool.policy.values import Holder, Kept, Waiting, ends_by

OUTSIDE = frozenset({"foreign_process", "memory"})  # obstacles that go away without our being told


def obstacle(gpu: Gpu, board: Board, entry: Waiting) -> Obstacle | None:
    """The first thing that keeps a job from this card; None when it may have it.

    Priority comes last, so a card refused for that is refused for nothing else.
    """
    return (
        unusable(gpu, board)
        or _holder_obstacle(gpu, board, entry)
        or _foreign_obstacle(gpu, board)
        or _memory_obstacle(gpu, board, entry)
        or _kept_obstacle(gpu, board, entry)
        or _priority_obstacle(gpu, board, entry)
    )


def lasting_obstacle(gpu: Gpu, board: Board, entry: Waiting) -> Obstacle | None:
    """The same, but for what passes when our own jobs end."""
    empty = board.without({holder.job_id for holder in board.holders_on(gpu)})
    return (
        unusable(gpu, board)
        or _foreign_obstacle(gpu, board)
        or _memory_obstacle(_emptied(gpu, board, empty), empty, entry)
        or _priority_obstacle(gpu, board, entry)
    )


def unusable(gpu: Gpu, board: Board) -> Obstacle | None:
    """What keeps every job from this card, whoever is on it."""
    if gpu.problem is not None:
        return Obstacle(gpu.index, "problem", gpu.problem)
    if gpu.excluded:
        return Obstacle(gpu.index, "excluded", "excluded by CUDA_VISIBLE_DEVICES of the dispatcher")
    if board.view.policy.of(gpu).disabled:
        return Obstacle(gpu.index, "disabled", "disabled")
    return None


def open_to_some(gpu: Gpu, board: Board) -> bool:
    """Whether there may be a job that could have this card now."""
    alone = any(not holder.terms.shares for holder in board.holders_on(gpu))
    return not alone and unusable(gpu, board) is None and _foreign_obstacle(gpu, board) is None


def is_foreigners(gpu: Gpu, board: Board) -> bool:
    """Whether somebody else computes on a card that could be used."""
    return unusable(gpu, board) is None and _foreign_obstacle(gpu, board) is not None


def least_priority(gpu: Gpu, board: Board) -> float:
    """The priority from which the owner gives this card; minus infinity: any."""
    least = board.view.policy.of(gpu).min_priority
    return -math.inf if least is None else least


def emptied_of(gpu: Gpu, board: Board, job_ids: set[str]) -> Gpu:
    """The card as NVML will show it once these jobs are gone from it."""
    return _emptied(gpu, board, board.without(job_ids))


def _emptied(gpu: Gpu, board: Board, after: Board) -> Gpu:
    """What the leaving jobs use comes free; where NVML does not say how much, all that nobody else is known to use."""
    if gpu.memory_used_bytes is None:
        return gpu
    stay = {holder.job_id for holder in after.holders_on(gpu)}
    gone = {holder.job_id for holder in board.holders_on(gpu)} - stay
    ours = board.view.our_pids
    leaving = {process.pid for process in gpu.processes if ours.get(process.pid) in gone}
    used = [board.used_bytes(gpu, job_id) for job_id in gone]
    rest = gpu.memory_used_bytes - sum(size or 0 for size in used)
    if None in used:
        known = sum(p.memory_used_bytes or 0 for p in gpu.processes if p.pid not in leaving)
        rest = min(rest, known)
    processes = tuple(process for process in gpu.processes if process.pid not in leaving)
    return replace(gpu, memory_used_bytes=max(0, rest), processes=processes)


def _holder_obstacle(gpu: Gpu, board: Board, entry: Waiting) -> Obstacle | None:
    holders = board.holders_on(gpu)
    if not holders:
        return None
    alone = next((holder for holder in holders if not holder.terms.shares), None)
    if alone is not None:
        return Obstacle(gpu.index, "job", f"job {alone.job_id}")
    if not entry.asks.terms.shares:
        return Obstacle(gpu.index, "job", f"shared by {_jobs(holders)}")
    numbers = [terms.jobs_per_gpu for terms in (entry.asks.terms, *(holder.terms for holder in holders))]
    most = min((number for number in numbers if number is not None), default=None)
    if most is not None and len(holders) >= most:
        return Obstacle(gpu.index, "job", f"shared by {_jobs(holders)}, at most {most} may")
    return None


def _jobs(holders: Sequence[Holder]) -> str:
    return f"job {holders[0].job_id}" if len(holders) == 1 else f"{len(holders)} jobs"


def _foreign_obstacle(gpu: Gpu, board: Board) -> Obstacle | None:
    policy = board.view.policy
    foreign = [] if policy.ignore_foreign_processes else _foreign(gpu, board)
    return Obstacle(gpu.index, "foreign_process", f"taken by {_describe(foreign)}") if foreign else None


def _foreign(gpu: Gpu, board: Board) -> list[GpuProcess]:
    """Others' processes that compute here in earnest. A desktop only draws, and leaves the card usable."""
    least = board.view.policy.foreign_memory_bytes
    found = [
        process
        for process in gpu.processes
        if process.kind == "compute"
        and process.pid not in board.view.our_pids
        and (process.memory_used_bytes is None or process.memory_used_bytes >= least)
    ]
    return sorted(found, key=lambda process: process.pid)


def _describe(processes: Sequence[GpuProcess]) -> str:
    first, more = processes[0], len(processes) - 1
    user = f" of user {first.user}" if first.user else ""
    name = f" ({first.name})" if first.name else ""
    return f"foreign process {first.pid}{user}{name}" + (f" and {more} more" if more else "")


def _memory_obstacle(gpu: Gpu, board: Board, entry: Waiting) -> Obstacle | None:
    asked_bytes = entry.asks.terms.gpu_memory_bytes
    if asked_bytes is None:
        return None
    free_bytes, total_bytes = gpu.memory_free_bytes, gpu.memory_total_bytes
    if free_bytes is None or total_bytes is None:
        return Obstacle(gpu.index, "memory", f"free memory not known, {gib_up(asked_bytes)} asked")
    promised_bytes = _promised_bytes(gpu, board)
    free_bytes = min(free_bytes - _not_yet_used_bytes(gpu, board), total_bytes - promised_bytes)
    if free_bytes < asked_bytes:
        have = f"{gib_down(max(0, free_bytes))} free of {gib_down(total_bytes)}"
        beside = f" beside {_jobs(board.holders_on(gpu))}" if promised_bytes else ""
        return Obstacle(gpu.index, "memory", f"{have}{beside}, {gib_up(asked_bytes)} asked")
    return None


def _promised_bytes(gpu: Gpu, board: Board) -> int:
    return sum(holder.terms.gpu_memory_bytes or 0 for holder in board.holders_on(gpu))


def _not_yet_used_bytes(gpu: Gpu, board: Board) -> int:
    """Of what holders asked, the part NVML's free memory does not show as used yet.

    Where NVML does not say what a process uses, what nobody is known to use counts as theirs.
    """
    missing, unknown = 0, 0
    for holder in board.holders_on(gpu):
        asked_bytes = holder.terms.gpu_memory_bytes or 0
        used_bytes = board.used_bytes(gpu, holder.job_id)
        if used_bytes is None and _is_on(gpu, board, holder):
            unknown += asked_bytes
        else:
            missing += max(0, asked_bytes - (used_bytes or 0))
    if unknown:
        known = sum(process.memory_used_bytes or 0 for process in gpu.processes)
        missing += max(0, unknown - max(0, (gpu.memory_used_bytes or 0) - known))
    return missing


def _is_on(gpu: Gpu, board: Board, holder: Holder) -> bool:
    return any(board.view.our_pids.get(process.pid) == holder.job_id for process in gpu.processes)


def _kept_obstacle(gpu: Gpu, board: Board, entry: Waiting) -> Obstacle | None:
    for kept in board.kept:
        if gpu.index in kept.cards and keeps_from(kept, entry, board):
            until = "" if kept.starts_at is None else f", which starts by {at_text(kept.starts_at)}"
            return Obstacle(gpu.index, "reserved", f"kept for job {kept.job_id}{until}")
    return None


def keeps_from(kept: Kept, entry: Waiting, board: Board) -> bool:
    """Whether what is kept is kept from this job: it is another's, and this one does not end before that one starts."""
    if kept.job_id == entry.job_id:
        return False
    end = ends_by(board.view.now, entry.asks.terms)
    return end is None or kept.starts_at is None or end > kept.starts_at


def _priority_obstacle(gpu: Gpu, board: Board, entry: Waiting) -> Obstacle | None:
    least = least_priority(gpu, board)
    if least > entry.priority:
        return Obstacle(gpu.index, "min_priority", f"min_priority {least:.0f} > {entry.priority}")
    return None
