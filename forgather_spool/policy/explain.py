"""Why the others wait: the pending reason of each, with the numbers it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

from forgather_spool.pending import (
    CardsBusy,
    CardsKept,
    NeedsMoreCards,
    NeedsMoreMemory,
    NoCardLimit,
    NoNvml,
    PendingReason,
    PriorityTooLow,
    StartsNext,
)
from forgather_spool.policy.board import Board
from forgather_spool.policy.cards import least_priority, obstacle
from forgather_spool.policy.gates import gate
from forgather_spool.policy.keep import keep_cards
from forgather_spool.policy.place import place
from forgather_spool.policy.reserve import reserves_at
from forgather_spool.policy.values import Start, Waiting


def reasons(entries: Iterable[Waiting], board: Board, starts: Sequence[Start]) -> dict[str, PendingReason]:
    """By job id. Jobs that ask alike at one priority share one reason."""
    answers: dict[str, PendingReason] = {start.job_id: StartsNext(start.gpus) for start in starts}
    by_shape: dict[object, PendingReason] = {}
    found: dict[str, PendingReason] = {}
    for entry in entries:
        reason = answers.get(entry.job_id) or _kept_reason(entry, board)
        if reason is None:
            shape = (id(entry.asks), entry.priority, entry.after, entry.not_before_at)
            reason = by_shape.get(shape)
            if reason is None:
                reason = by_shape[shape] = _reason(entry, board)
        found[entry.job_id] = reason
    return found


def beyond_this_host(entry: Waiting, board: Board) -> NeedsMoreCards | NeedsMoreMemory | None:
    """Set when no waiting helps. What the owner can change (disabled, min_priority) does not count."""
    asked, asked_bytes = entry.asks.gpus, entry.asks.terms.gpu_memory_bytes
    usable = [gpu for gpu in board.gpus.values() if gpu.problem is None and not gpu.excluded]
    if len(usable) < asked:
        return NeedsMoreCards(asked, len(usable))
    # A total NVML does not tell may be large enough, so it rules nothing out.
    totals = sorted((math.inf if g.memory_total_bytes is None else g.memory_total_bytes for g in usable), reverse=True)
    largest_bytes = totals[asked - 1]
    if asked_bytes is not None and largest_bytes < asked_bytes:
        return NeedsMoreMemory(asked, asked_bytes, int(largest_bytes))
    return None


def _reason(entry: Waiting, board: Board) -> PendingReason:
    shut = gate(entry, board)
    if shut is not None:
        return shut
    gpus = place(entry, board)
    if gpus is not None:
        return StartsNext(gpus)
    if entry.asks.gpus == 0:
        return NoCardLimit(board.view.no_gpu_limit)
    if board.view.nvml_problem is not None:
        return NoNvml(board.view.nvml_problem)
    beyond = beyond_this_host(entry, board)
    if beyond is not None:
        return beyond
    keep_cards(entry, board)  # the decision does not get to a job on a host so full that it looks at none
    return _kept_reason(entry, board) or _no_card_now(entry, board)


def _kept_reason(entry: Waiting, board: Board) -> CardsKept | None:
    kept = next((kept for kept in board.kept if kept.job_id == entry.job_id), None)
    if kept is None:
        return None
    busy = [found for gpu in board.gpus.values() if (found := obstacle(gpu, board, entry)) is not None]
    return CardsKept(
        entry.asks.gpus,
        len(board.gpus) - len(busy),
        tuple(busy),
        tuple(sorted(kept.cards)),
        kept.starts_at,
        kept.unknown,
        kept.victims,
    )


def _no_card_now(entry: Waiting, board: Board) -> CardsBusy | PriorityTooLow:
    asked = entry.asks.gpus
    cards = list(board.gpus.values())
    found = [obstacle(gpu, board, entry) for gpu in cards]
    details = tuple(obstacle for obstacle in found if obstacle is not None)
    free = len(cards) - len(details)
    closed = [gpu for gpu, why in zip(cards, found, strict=True) if why and why.code == "min_priority"]
    if free + len(closed) < asked:
        return CardsBusy(asked, free, details, _kept_from_at(entry, board))
    needed = sorted(least_priority(gpu, board) for gpu in closed)[asked - free - 1]
    return PriorityTooLow(asked, entry.priority, int(needed), free, details)


def _kept_from_at(entry: Waiting, board: Board) -> datetime | None:
    due_at = reserves_at(entry, board)
    return due_at if due_at is not None and due_at > board.view.now else None
