"""What is done for a job that found no cards: others asked to give way, or cards kept as they come free."""

from __future__ import annotations

from forgather_spool.policy.board import Board
from forgather_spool.policy.preempt import make_room
from forgather_spool.policy.reserve import reservation
from forgather_spool.policy.values import Waiting


def keep_cards(entry: Waiting, board: Board) -> tuple[str, ...]:
    """Enter into `board` what is kept for it; the jobs to ask to give way, often none.

    One job at a time reserves; every one may ask.
    """
    room = make_room(entry, board)
    if room is not None:
        kept, victims = room
        board.kept.append(kept)
        board.ask(victims)
        return victims
    if all(kept.victims for kept in board.kept):
        reserved = reservation(entry, board)
        if reserved is not None:
            board.kept.append(reserved)
    return ()
