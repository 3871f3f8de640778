"""Whom to ask for its cards: the fewest running jobs that make room, of the lowest priority, the youngest first.

Only jobs that said they may be asked (`preemptible`) and whose priority is
lower; and nobody is asked when it would not be enough. Cards of a job that was
asked already, or has ended, count as coming: they are waited for before
anybody else is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from forgather_spool.job import GpuRef
from forgather_spool.policy.board import Board
from forgather_spool.policy.cards import emptied_of
from forgather_spool.policy.place import place
from forgather_spool.policy.values import Holder, Kept, Waiting

MOST_TRIES = 300  # sets of victims looked at; beyond, the choice makes room but may not be the smallest


def make_room(entry: Waiting, board: Board) -> tuple[Kept, tuple[str, ...]] | None:
    """Cards to keep for a job that found no place, and whom to ask for them (none when they are coming already).

    None: asking would not help.
    """
    if entry.asks.gpus == 0 or not board.may_go:
        return None
    going = [holder for holder in board.may_go if holder.going]
    able = [holder for holder in board.may_go if not holder.going and holder.priority < entry.priority]
    if not going and not able:
        return None
    if _cards_without([*going, *able], entry, board) is None:
        return None
    victims = _fewest(entry, board, going, able)
    cards = _cards_without([*going, *victims], entry, board)
    assert cards is not None
    asked = tuple(victim.job_id for victim in victims)
    indexes = frozenset(ref.index for ref in cards)
    awaited = tuple(h.job_id for h in [*going, *victims] if indexes.intersection(h.cards))
    kept = Kept(entry=entry, cards=indexes, unknown="it has asked others to give way", victims=awaited)
    return kept, asked


def _fewest(entry: Waiting, board: Board, going: Sequence[Holder], able: Sequence[Holder]) -> Sequence[Holder]:
    liked = sorted(able, key=lambda h: (h.priority, -h.started_at.timestamp(), h.job_id))
    tries = 0
    for size in range(len(liked) + 1):
        for victims in combinations(liked, size):
            if _cards_without([*going, *victims], entry, board) is not None:
                return victims
            tries += 1
            if tries >= MOST_TRIES:
                return _enough(entry, board, going, liked)
    return liked


def _enough(entry: Waiting, board: Board, going: Sequence[Holder], liked: Sequence[Holder]) -> Sequence[Holder]:
    """All, less each that is not needed, the best liked spared last."""
    victims = list(liked)
    for spared in sorted(liked, key=lambda h: (len(h.cards), -h.priority)):
        rest = [victim for victim in victims if victim is not spared]
        if _cards_without([*going, *rest], entry, board) is not None:
            victims = rest
    return victims


def _cards_without(gone: Sequence[Holder], entry: Waiting, board: Board) -> tuple[GpuRef, ...] | None:
    """The cards it would get, had these jobs ended.

    First those it need not wait for, then those asked for its own sake: what was asked for another is the other's,
    and each pass until they are gone comes to the same.
    """
    job_ids = {holder.job_id for holder in gone}
    touched: dict[int, int] = {}
    for holder in gone:
        rank = 1 if holder.going_for in (None, entry.job_id) else 2
        touched |= {index: max(rank, touched.get(index, 0)) for index in holder.cards}
    other = board.without(job_ids)
    other.gpus = {
        index: emptied_of(gpu, board, job_ids) if index in touched else gpu for index, gpu in board.gpus.items()
    }
    return place(entry, other, lambda gpu: touched.get(gpu.index, 0))
