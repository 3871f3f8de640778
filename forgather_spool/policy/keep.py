"""What is done for a job that found no cards: others asked to give way, or cards kept as they come free."""

from __future__ import annotations

from forgather_spool.policy.board import Board
from forgather_spool.policy.cards import keeps_from
from forgather_spool.policy.preempt import make_room
from forgather_spool.policy.reserve import reservation
from forgather_spool.policy.values import Kept, Waiting


def keep_cards(entry: Waiting, board: Board) -> tuple[str, ...]:
    """Enter into `board` what is kept for it; the jobs to ask to give way, often none.

    One job at a time reserves; every one may ask.
    """
    room = make_room(entry, board)
    if room is not None and (not room[1] or _would_have(room[0], board)):
        kept, victims = room
        board.kept.append(kept)
        board.ask(victims, entry.job_id)
        return victims
    if all(kept.victims for kept in board.kept):
        reserved = reservation(entry, board)
        if reserved is not None:
            board.kept.append(reserved)
    return ()


def _would_have(wanted: Kept, board: Board) -> bool:
    """Whether these cards, once left, are still for whom they were asked.

    A job before it in order that cards are kept for takes the first that come free, and these may be they.
    """
    left = board.without(set(wanted.victims))
    left.kept = [kept for kept in board.kept if kept.victims]
    for kept in board.kept:
        anew = None if kept.victims else reservation(kept.entry, left)
        if anew is not None and anew.cards & wanted.cards and keeps_from(anew, wanted.entry, left):
            return False
    return True
