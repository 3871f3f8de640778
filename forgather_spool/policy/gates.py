"""What keeps a job waiting however many cards are free: its time, its dependencies, its group, its array."""

from __future__ import annotations

from collections.abc import Callable

from forgather_spool.pending import (
    ArrayFull,
    AwaitsJobs,
    BeginsLater,
    GroupFull,
    GroupPaused,
    NeverStarts,
    Paused,
    TriedAgainLater,
)
from forgather_spool.policy.board import Board
from forgather_spool.policy.values import Never, Unmet, Waiting

Gate = Paused | BeginsLater | TriedAgainLater | AwaitsJobs | NeverStarts | GroupPaused | GroupFull | ArrayFull


def gate(entry: Waiting, board: Board) -> Gate | None:
    """The first that is shut; None: all are open."""
    return _queue_gate(board) or _own_gate(entry, board) or _group_gate(entry, board) or _array_gate(entry, board)


def _queue_gate(board: Board) -> Paused | None:
    return Paused(board.view.settings_problem) if board.view.paused else None


def _own_gate(entry: Waiting, board: Board) -> BeginsLater | TriedAgainLater | AwaitsJobs | NeverStarts | None:
    now, asks = board.view.now, entry.asks
    if asks.begin_at is not None and asks.begin_at > now:
        return BeginsLater(asks.begin_at)
    if entry.not_before_at is not None and entry.not_before_at > now:
        return TriedAgainLater(entry.not_before_at)
    match entry.after:
        case Unmet(job_ids):
            return AwaitsJobs(job_ids)
        case Never(reason) if asks.after_unmet != "run":
            return NeverStarts(reason, asks.after_unmet)
    return None


def _group_gate(entry: Waiting, board: Board) -> GroupPaused | GroupFull | None:
    name = entry.asks.terms.group
    group = None if name is None else board.view.groups.get(name)
    if name is None or group is None:
        return None
    if group.paused:
        return GroupPaused(name)
    if group.limit is None:
        return None
    running, kept_for = board.in_group[name], _kept_for(entry, board, lambda other: other.asks.terms.group == name)
    return GroupFull(name, group.limit, running, kept_for) if running + len(kept_for) >= group.limit else None


def _array_gate(entry: Waiting, board: Board) -> ArrayFull | None:
    family, limit = entry.asks.family, entry.asks.family_limit
    if family is None or limit is None:
        return None
    running, kept_for = board.in_family[family], _kept_for(entry, board, lambda other: other.asks.family == family)
    return ArrayFull(family, limit, running, kept_for) if running + len(kept_for) >= limit else None


def _kept_for(entry: Waiting, board: Board, is_of_it: Callable[[Waiting], bool]) -> tuple[str, ...]:
    """Jobs whose place among the running of a group or an array is kept from this one.

    However soon it ends: while it ran, the limit would shut out whom the place
    is kept for, and at the next pass no cards would be kept for that one any more.
    """
    return tuple(kept.job_id for kept in board.kept if kept.job_id != entry.job_id and is_of_it(kept.entry))
