"""Keeping cards for a job that has waited long, so that small ones do not starve a wide one.

The first job in start order that wants cards, has waited `reserve_after_s` and
would get enough of them by our own jobs' ends, has them kept as they come
free. Others get a kept card only when their time limit ends before the job
starts at the latest, as known from the time limits of those it waits for. So
what fills the gap never delays it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from forgather_spool.gpu import Gpu
from forgather_spool.policy.board import Board
from forgather_spool.policy.cards import lasting_obstacle, obstacle
from forgather_spool.policy.place import preference
from forgather_spool.policy.values import Kept, Waiting

_NEVER = datetime.max.replace(tzinfo=UTC)


def waits_since(entry: Waiting) -> datetime:
    """When its waiting began: its submit, or the time before which it was not to start."""
    submitted_at = _submitted_at(entry.job_id)
    return max(submitted_at, entry.asks.begin_at) if entry.asks.begin_at is not None else submitted_at


def reserves_at(entry: Waiting, board: Board) -> datetime | None:
    """From when on cards are kept for it; None: never."""
    after_s = board.view.reserve_after_s
    return None if after_s is None or entry.asks.gpus == 0 else waits_since(entry) + timedelta(seconds=after_s)


def reservation(entry: Waiting, board: Board) -> Kept | None:
    """What is kept for a job that found no place; None: it has not waited long, or waiting for our jobs is no help."""
    due_at = reserves_at(entry, board)
    if due_at is None or due_at > board.view.now or board.view.nvml_problem is not None:
        return None
    cards = [(_free_at(gpu, board, entry), preference(gpu, board), gpu) for gpu in board.gpus.values()]
    coming = sorted((found for found in cards if found[0] is not None), key=lambda found: found[:2])
    if len(coming) < entry.asks.gpus:
        return None
    mine = coming[: entry.asks.gpus]
    latest, _, last = mine[-1]
    indexes = frozenset(gpu.index for _, _, gpu in mine)
    if latest == _NEVER:
        endless = next(holder for holder in board.holders_on(last) if holder.ends_by_at is None)
        unknown = f"job {endless.job_id} on card {last.index} has no time limit"
        return Kept(entry=entry, cards=indexes, unknown=unknown)
    return Kept(entry=entry, cards=indexes, starts_at=latest)


def _free_at(gpu: Gpu, board: Board, entry: Waiting) -> datetime | None:
    """When it can have this card at the latest; `_NEVER`: not known. None: not by our jobs' ends."""
    now = board.view.now
    found = obstacle(gpu, board, entry)
    if found is None:
        return now
    if found.code == "reserved" or lasting_obstacle(gpu, board, entry) is not None:
        return None
    ends = [holder.ends_by_at for holder in board.holders_on(gpu)]
    return max((_NEVER if end is None else max(end, now) for end in ends), default=now)


def _submitted_at(job_id: str) -> datetime:
    """From the id: ``q_<unix ms or s>_<8 hex>``, in an array with ``[index]`` behind it."""
    stamp = job_id.split("_")[1]
    return datetime.fromtimestamp(int(stamp) / (1000 if len(stamp) > 10 else 1), UTC)
