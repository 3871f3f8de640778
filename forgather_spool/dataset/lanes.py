"""Lanes: how the positions still to come are dealt out to ranks and their readers, and what is left when they stop.

What is left of an epoch is a `Rest`: single positions left over (holes), then
everything from one position on. It is dealt like cards: the q-th of the rest goes to rank ``q % ranks``; what a rank
gets is dealt on to its readers (a DataLoader's) in blocks, so that a reader fills whole batches.
Each reader counts what it has taken. From those counts follows the rest again, for
any other number of ranks and readers: nothing comes twice and nothing is lost.

    remainder   rank r of n, of a rest of m           so that
    drop        m // n                                all ranks get the same; the last m % n are left out
    pad         -(-m // n), from the start again      all ranks get the same; up to n - 1 come twice
    keep        (m - r + n - 1) // n                  all come once; ranks differ by one

Pure arithmetic: knows no rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, Literal, get_args

import numpy as np

from forgather_spool.dataset.errors import StateMismatch
from forgather_spool.dataset.walk import Walk, at, part, saved_walk

Remainder = Literal["drop", "pad", "keep"]
MAX_READERS = 1 << 20  # of all ranks: each of them is looked at when states are merged
MAX_BLOCK = 1 << 40  # the positions of all readers' blocks are still int64


@dataclass(frozen=True)
class Rest:
    """Positions still to come: those of `holes` in their sequence, then `start` up to, not including, `stop`."""

    start: int
    stop: int
    holes: tuple[Walk, ...] = ()

    def __len__(self) -> int:
        return self.held + self.stop - self.start

    @property
    def held(self) -> int:
        return sum(hole.count for hole in self.holes)

    def positions(self, numbers: np.ndarray) -> np.ndarray:
        """The `numbers`-th positions of the rest."""
        if not self.holes:
            return numbers + self.start
        holes = np.concatenate([hole.positions(0, hole.count) for hole in self.holes])
        late = numbers >= len(holes)
        return np.where(late, numbers - len(holes) + self.start, holes[np.where(late, 0, numbers)])


@dataclass(frozen=True)
class Lane:
    """Reader `reader` of `readers` in rank `rank` of `ranks`, which takes `block` at a time."""

    ranks: int = 1
    rank: int = 0
    readers: int = 1
    reader: int = 0
    block: int = 1
    remainder: Remainder = "drop"

    @property
    def name(self) -> str:
        reader = f"reader {self.reader} of {self.readers} in " if self.readers > 1 else ""
        return f"{reader}rank {self.rank} of {self.ranks}"

    def rank_count(self, rest: int) -> int:
        """How many of a rest of this length the whole rank gets."""
        if self.remainder == "drop":
            return rest // self.ranks
        if self.remainder == "pad":
            return -(-rest // self.ranks)
        return max(0, (rest - self.rank + self.ranks - 1) // self.ranks)

    def count(self, rest: int) -> int:
        """How many this reader gets."""
        blocks, over = divmod(self.rank_count(rest), self.block)
        mine = (blocks - self.reader + self.readers - 1) // self.readers
        return max(0, mine) * self.block + (over if blocks % self.readers == self.reader else 0)

    def walk(self, rest: int) -> Walk:
        """Which numbers of a rest of this length this reader takes. With "pad", numbers past the end begin again."""
        return Walk(
            first=self.reader * self.block * self.ranks + self.rank,
            count=self.count(rest),
            block=self.block,
            step=self.ranks,
            stride=self.readers * self.block * self.ranks,
        )

    def walks(self, rest: Rest, done: int) -> Iterator[Walk]:
        """The positions this reader has yet to take after `done`, as few walks as may be."""
        walk = self.walk(len(rest))
        plain = max(done, _first_past(walk, rest.held))
        if done < plain:
            yield from runs(rest.positions(walk.positions(done, plain) % max(1, len(rest))))
        end = max(plain, _first_past(walk, len(rest)))
        if plain < end:
            yield from part(walk, plain, end, by=rest.start - rest.held)
        if end < walk.count:
            yield from runs(rest.positions(walk.positions(end, walk.count) % len(rest)))


def _first_past(walk: Walk, number: int) -> int:
    """The first step of a rising walk that is at `number` or past it; its count when none is."""
    low, high = 0, walk.count
    while low < high:
        middle = (low + high) // 2
        runs_, within = divmod(middle, walk.block)
        if walk.first + runs_ * walk.stride + within * walk.step >= number:
            high = middle
        else:
            low = middle + 1
    return low


def runs(positions: np.ndarray) -> Iterator[Walk]:
    """Any positions as walks, in their sequence: one walk for each stretch of equal rising distances."""
    apart = np.diff(positions)
    turns = np.append(np.flatnonzero(apart[1:] != apart[:-1]) + 1, len(apart))  # where another distance begins
    start = 0
    while start < len(positions):
        step = int(apart[start]) if start < len(apart) else 0
        stop = start + 1
        if step > 0:
            stop = int(turns[np.searchsorted(turns, start, side="right")]) + 1
        yield Walk(int(positions[start]), stop - start, 1, 1, max(step, 1))
        start = stop


def rest_after(rest: Rest, taken: Mapping[Lane, int]) -> Rest:
    """What is left of `rest` when each lane has taken so many of its positions.

    `taken` names every reader of every rank.

    Raises:
        StateMismatch: readers are missing, or do not belong together.
    """
    _check_complete(taken)
    walks = {lane: lane.walk(len(rest)) for lane in taken}
    ahead = [at(walk, taken[lane] - 1) for lane, walk in walks.items() if taken[lane]]
    stop = min(max(ahead, default=-1) + 1, len(rest))
    behind = [at(walk, taken[lane]) for lane, walk in walks.items() if taken[lane] < walk.count]
    start = min(min(behind, default=stop), stop)
    left = np.ones(stop - start, bool)
    for lane, walk in walks.items():
        from_ = _first_past(walk, start)
        if from_ < taken[lane]:
            numbers = walk.positions(from_, taken[lane])
            left[numbers[numbers < stop] - start] = False
    numbers = np.flatnonzero(left) + start
    moved = max(stop, rest.held)
    if stop < rest.held:
        numbers = np.concatenate([numbers, np.arange(stop, rest.held)])
    return Rest(moved - rest.held + rest.start, rest.stop, tuple(runs(rest.positions(numbers))))


def _check_complete(taken: Mapping[Lane, int]) -> None:
    ranks = {lane.ranks for lane in taken}
    if len(ranks) != 1 or len({lane.remainder for lane in taken}) != 1:
        raise StateMismatch("these states are of runs with different numbers of ranks")
    of_rank: dict[int, list[Lane]] = {}
    for lane in taken:
        of_rank.setdefault(lane.rank, []).append(lane)
    for rank in range(ranks.pop()):
        mine = of_rank.get(rank, [])
        readers = {lane.readers for lane in mine}
        if len(readers) != 1 or len({lane.block for lane in mine}) != 1 or len(mine) != readers.pop():
            raise StateMismatch(
                f"rank {rank}: {len(mine)} states, not one for each of its readers",
                hint="give the states of all ranks and workers, all saved at the same step",
            )


def lockstep(lanes: Mapping[Lane, int]) -> dict[Lane, int]:
    """The lanes of all ranks, given those of one: ranks of a data-parallel run are at the same step."""
    found = dict(lanes)
    present = {lane.rank for lane in lanes}
    model: Sequence[tuple[Lane, int]] = [(lane, count) for lane, count in lanes.items() if lane.rank == min(present)]
    for rank in range(next(iter(lanes)).ranks):
        if rank not in present:
            found |= {
                Lane(lane.ranks, rank, lane.readers, lane.reader, lane.block, lane.remainder): count
                for lane, count in model
            }
    return found


def parse_rest(value: Mapping[str, Any], size: int) -> Rest:
    """The rest that `rest_document` wrote.

    Raises:
        StateMismatch: it is none, or one outside `size` positions.
    """
    try:
        holes = tuple(saved_walk(hole, size) for hole in value["holes"])
        start = index(value["position"])
        rest = Rest(start, size, holes)
        if 0 <= start <= size and rest.held <= size:
            return rest
    except (KeyError, TypeError, ValueError):
        pass
    raise StateMismatch(f"a saved position outside the {size} rows of this data set")


def parse_lane(value: Mapping[str, Any]) -> Lane:
    """The lane whose fields a saved state holds.

    Raises:
        ValueError, TypeError: there is no such lane.
    """
    lane = Lane(**value)
    is_dealt = 0 <= index(lane.rank) < index(lane.ranks) and 0 <= index(lane.reader) < index(lane.readers)
    if not is_dealt or not 1 <= index(lane.block) <= MAX_BLOCK or lane.ranks * lane.readers > MAX_READERS:
        raise ValueError(f"no such lane: {lane}")
    if lane.remainder not in get_args(Remainder):
        raise ValueError(f"no such remainder: {lane.remainder!r}")
    return lane


def rest_document(rest: Rest) -> dict[str, Any]:
    """As plain JSON: where everything from then on is still to come, and what was left over before it."""
    holes: Iterable[Walk] = rest.holes
    return {"position": rest.start, "holes": [[w.first, w.count, w.block, w.step, w.stride] for w in holes]}
