"""The decision: one walk over the waiting jobs in start order.

Highest priority first, then the order of submitting. A job that does not fit
does not hold up one behind it that does, until it has waited so long that
cards are kept for it (`reserve.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from forgather_spool.frozen import dataclass, replace
from forgather_spool.pending import BeginsLater, NeverStarts, PendingReason, TriedAgainLater
from forgather_spool.policy.board import Board
from forgather_spool.policy.cards import OUTSIDE, obstacle
from forgather_spool.policy.explain import reasons
from forgather_spool.policy.gates import gate
from forgather_spool.policy.given_up import GivenUp
from forgather_spool.policy.keep import keep_cards
from forgather_spool.policy.place import lowest_of_use, place, waits_on_strangers
from forgather_spool.policy.values import Kept, NeverMet, Preempt, Start, View, Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What starts, in start order, and what else is to be done.

    `after`: the view with these starts counted in. `preempt`: who is asked to give way. `never_met`: jobs whose
    dependencies can never be met. `kept`: cards kept for a job. `look_again_at`: when something becomes due by the
    clock alone. `watch_cards`: whether somebody waits for what only NVML shows, so look at the cards from time to time.
    """

    starts: tuple[Start, ...] = ()
    after: View
    preempt: tuple[Preempt, ...] = ()
    never_met: tuple[NeverMet, ...] = ()
    kept: tuple[Kept, ...] = ()
    look_again_at: datetime | None = None
    watch_cards: bool = False

    def reasons(self, entries: Iterable[Waiting]) -> dict[str, PendingReason]:
        """By job id, why each of `entries` waits; `StartsNext` for those in `starts`.

        `entries` are the first of the jobs decided on, in start order and none left out, or single ones of them.
        """
        board = Board(self.after)
        board.kept = list(self.kept)
        return reasons(entries, board, self.starts)


def decide(waiting: Iterable[Waiting], view: View, given_up: GivenUp | None = None) -> Decision:
    """The starts of this pass. `waiting` must be in start order: by priority, the highest first.

    Takes from `waiting` only while something could still start: give it a
    generator that reads specs on demand, and a full host reads none. A
    generator that shares `given_up` need not feed what it covers.
    """
    walk = _Walk(view, GivenUp() if given_up is None else given_up)
    lowest_priority = lowest_of_use(walk.board)
    if lowest_priority == float("inf"):
        return walk.decision()
    for entry in waiting:
        if entry.priority < lowest_priority:
            break
        if walk.given_up.covers(entry.asks, entry.priority):
            continue
        if walk.look_at(entry):
            lowest_priority = lowest_of_use(walk.board)
            if lowest_priority == float("inf"):
                break
    return walk.decision()


class _Walk:
    """One decision in the making."""

    def __init__(self, view: View, given_up: GivenUp) -> None:
        self.board = Board(view)
        self.given_up = given_up
        self.starts: list[Start] = []
        self.preempt: list[Preempt] = []
        self.never_met: list[NeverMet] = []
        self.look_again_at: datetime | None = None
        self.watch_cards = False

    def decision(self) -> Decision:
        return Decision(
            starts=tuple(self.starts),
            after=replace(self.board.view, holders=tuple(self.board.holders)),
            preempt=tuple(self.preempt),
            never_met=tuple(self.never_met),
            kept=tuple(self.board.kept),
            look_again_at=self.look_again_at,
            watch_cards=self.watch_cards or waits_on_strangers(self.board),
        )

    def look_at(self, entry: Waiting) -> bool:
        """Start it, or do for it what can be done. Whether it starts."""
        shut = gate(entry, self.board)
        if shut is not None:
            self._note(entry, shut)
            return False
        hopeless = self.given_up.has_no_place(entry)
        gpus = None if hopeless else place(entry, self.board)
        if gpus is not None:
            self.starts.append(Start(entry.job_id, gpus, entry.priority))
            self.board.start(entry, gpus)
            return True
        if not hopeless:
            self._learn(entry)
        kept = len(self.board.kept)
        self.preempt += [Preempt(victim, entry.job_id) for victim in keep_cards(entry, self.board)]
        if len(self.board.kept) == kept:  # else there may be cards to keep for the next that asks alike, too
            self.given_up.add(entry, self._alike_from_s())
        return False

    def _note(self, entry: Waiting, shut: object) -> None:
        match shut:
            case BeginsLater(at) | TriedAgainLater(at):
                self.look_again_at = at if self.look_again_at is None else min(at, self.look_again_at)
            case NeverStarts(reason, then):
                self.never_met.append(NeverMet(entry.job_id, entry.priority, reason, then))
        if not isinstance(shut, (NeverStarts, TriedAgainLater)):  # those two are of this job, not of all that ask alike
            self.given_up.add(entry, self._alike_from_s())

    def _alike_from_s(self) -> float:
        """How long two may last at least so that no end of a wait tells them apart: both are too long to fill it.

        A wait without a known end may get one by somebody's giving way: then it is the end of a job that runs.
        """
        board = self.board
        ends = [kept.starts_at for kept in board.kept]
        if board.may_go and None in ends:
            ends += [holder.ends_by_at for holder in board.holders]
        return max(((end - board.view.now).total_seconds() for end in ends if end is not None), default=0.0)

    def _learn(self, entry: Waiting) -> None:
        """What its having found no place says of others."""
        obstacles = (obstacle(gpu, self.board, entry) for gpu in self.board.gpus.values()) if entry.asks.gpus else ()
        codes = {found.code for found in obstacles if found is not None}
        self.given_up.learn_no_place(entry, shorter_may="reserved" in codes)
        self.watch_cards = self.watch_cards or not OUTSIDE.isdisjoint(codes)
