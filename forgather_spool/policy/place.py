"""Which cards a job gets, and whether anything could get any."""

from __future__ import annotations

import math
from collections.abc import Callable

from forgather_spool.gpu import Gpu
from forgather_spool.job import GpuRef
from forgather_spool.policy.board import Board
from forgather_spool.policy.cards import is_foreigners, least_priority, obstacle, open_to_some
from forgather_spool.policy.values import Waiting


def place(entry: Waiting, board: Board, rank: Callable[[Gpu], int] = lambda _: 0) -> tuple[GpuRef, ...] | None:
    """The cards it gets, none for a job that asks for none; None when it cannot start for want of a place.

    Those of the lowest `rank` first, and of these as `preference` has it.
    """
    asked = entry.asks.gpus
    if asked == 0:
        return () if board.has_room_without_gpu else None
    if board.view.nvml_problem is not None or asked > len(board.gpus):
        return None
    cards = [gpu for gpu in board.gpus.values() if obstacle(gpu, board, entry) is None]
    if len(cards) < asked:
        return None
    chosen = sorted(cards, key=lambda gpu: (rank(gpu), *preference(gpu, board)))[:asked]
    return tuple(gpu.ref for gpu in sorted(chosen, key=lambda gpu: gpu.index))


def preference(gpu: Gpu, board: Board) -> tuple[bool, float, int]:
    """What is used first sorts first.

    Cards that are shared already, so that whole ones stay for jobs that want them whole; then the most restricted,
    so that the open ones stay for jobs that may have no others.
    """
    return (not board.holders_on(gpu), -least_priority(gpu, board), gpu.index)


def lowest_of_use(board: Board) -> float:
    """The priority below which nothing can start or ask another to give way; infinite when nothing can at all."""
    if board.view.paused:
        return math.inf
    if board.has_room_without_gpu:
        return -math.inf
    if board.view.nvml_problem is not None:
        return math.inf
    cards = (least_priority(gpu, board) for gpu in board.gpus.values() if open_to_some(gpu, board))
    victims = (holder.priority + 1 for holder in board.may_go if not holder.going)
    return min(min(cards, default=math.inf), min(victims, default=math.inf))


def waits_on_strangers(board: Board) -> bool:
    """Whether a card would be of use but for somebody else's process, whose end nobody tells us."""
    view = board.view
    if view.paused or view.nvml_problem is not None:
        return False
    return any(is_foreigners(gpu, board) for gpu in board.gpus.values())
