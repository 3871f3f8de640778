"""The cursor: how far one reader is, as a small document that says whose data and whose order it is of.

    fingerprint   of the rows
    order         its whole text, seeds and epoch included
    size          positions of that order
    epoch
    rest          what was still to come when this reader began (position and holes)
    begun         groups of rows that others had begun to give out (batched maps only)
    lane          which part of the rest is this reader's; null in a state merged from all readers
    taken         how many source rows of its part it has given out wholly
    emitted       how many examples of the group after those
    stages        names of the maps and filters; their code is the caller's affair

A position is counted in source rows, so maps and filters neither lose nor repeat any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import index
from typing import Any, SupportsIndex

import numpy as np

from forgather_spool.dataset.errors import ContentChanged, StateMismatch
from forgather_spool.dataset.lanes import (
    Lane,
    Rest,
    lockstep,
    parse_lane,
    parse_rest,
    rest_after,
    rest_document,
    runs,
)
from forgather_spool.dataset.walk import Walk, saved_walk

VERSION = 1


@dataclass(frozen=True)
class Begun:
    """A group of rows of which `emitted` examples have been given out. `positions` in the order, as walks."""

    positions: tuple[Walk, ...]
    emitted: int


@dataclass(frozen=True)
class Cursor:
    """See above; `finished` groups of `begun` are done."""

    rest: Rest
    lane: Lane | None = None
    taken: int = 0
    emitted: int = 0
    begun: tuple[Begun, ...] = ()
    finished: int = 0

    def mine(self, lane: Lane) -> list[Begun]:
        """The begun groups that fall to `lane`, those finished already left out."""
        place, places = lane.rank * lane.readers + lane.reader, lane.ranks * lane.readers
        return list(self.begun[place::places])[self.finished :]


@dataclass(frozen=True)
class State:
    """A cursor and what it is of."""

    fingerprint: str
    order: str
    size: int
    epoch: int
    stages: tuple[str, ...]
    group: int
    cursor: Cursor

    @property
    def uneven(self) -> bool:
        """Ranks at the same step need not have taken the same number of rows."""
        return self.group > 0 or any(name.startswith("filter") for name in self.stages)

    def document(self) -> dict[str, Any]:
        """Plain JSON."""
        cursor = self.cursor
        return {
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "order": self.order,
            "size": self.size,
            "epoch": self.epoch,
            "stages": list(self.stages),
            "group": self.group,
            "rest": rest_document(cursor.rest),
            "begun": [[_walks(one.positions), one.emitted] for one in cursor.begun],
            "lane": None if cursor.lane is None else asdict(cursor.lane),
            "taken": cursor.taken,
            "emitted": cursor.emitted,
            "finished": cursor.finished,
        }


def _walks(walks: Iterable[Walk]) -> list[list[int]]:
    return [[walk.first, walk.count, walk.block, walk.step, walk.stride] for walk in walks]


def parse_state(value: Mapping[str, Any]) -> State:
    """What `State.document` wrote.

    Raises:
        StateMismatch: not such a document, or of a version to come.
    """
    if not isinstance(value, Mapping) or value.get("version") != VERSION:
        version = value.get("version") if isinstance(value, Mapping) else None
        raise StateMismatch(f"a data set's state of version {version!r}; this program reads version {VERSION}")
    try:
        size = _number(value["size"])
        cursor = Cursor(
            rest=parse_rest(value["rest"], size),
            lane=None if value["lane"] is None else parse_lane(value["lane"]),
            begun=tuple(_begun(walks, emitted, size) for walks, emitted in value["begun"]),
            **{name: _number(value[name]) for name in ("taken", "emitted", "finished")},
        )
        if cursor.taken > (cursor.lane.count(len(cursor.rest)) if cursor.lane else 0):
            raise ValueError(f"{cursor.taken} rows taken are more than there were")
        return State(
            str(value["fingerprint"]), str(value["order"]), size, _number(value["epoch"]),
            tuple(map(str, value["stages"])), _number(value["group"]), cursor,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StateMismatch(f"not a data set's state: {error!r}") from None


def _number(value: SupportsIndex) -> int:
    if index(value) < 0:
        raise ValueError(f"{value!r} is no count")
    return index(value)


def _begun(walks: Iterable[Iterable[SupportsIndex]], emitted: SupportsIndex, size: int) -> Begun:
    return Begun(tuple(saved_walk(walk, size) for walk in walks), _number(emitted))


def check_content(state: State, fingerprint: str) -> None:
    if state.fingerprint != fingerprint:
        raise ContentChanged(
            f"the state is of other data: {state.fingerprint}, and these are {fingerprint}",
            hint="load the data set the state was saved with, or start the epoch anew",
        )


def placed(state: State, lane: Lane) -> Cursor:
    """Where `lane` goes on: at its own cursor, or at its share of what is left when it is of another shape.

    Raises:
        StateMismatch: the state is one reader's of several, and this is not that reader.
    """
    cursor = state.cursor
    if cursor.lane == lane:
        return cursor
    if cursor.lane is None:
        return replace(cursor, lane=lane)
    if cursor.lane.readers > 1 or (cursor.lane.ranks > 1 and state.uneven):
        raise StateMismatch(
            f"the state is of {cursor.lane.name}, and this is {lane.name}",
            hint="merge the states of all readers: forgather_spool.dataset.global_state(states)",
        )
    return replace(merged([state]).cursor, lane=lane)


def merged(states: Sequence[State]) -> State:
    """One state of several readers', for any ranks and readers to go on from.

    Without maps that change counts the readers of one rank speak for all,
    since ranks of a data-parallel run are at the same step.

    Raises:
        StateMismatch: they are of different runs or epochs (each rank may still go on for itself), or some are missing.
    """
    first = states[0]
    for other in states[1:]:
        if other.epoch != first.epoch:
            raise StateMismatch(
                f"these states are of epochs {first.epoch} and {other.epoch}: only as many ranks can go on from there",
                hint="resume with the number of ranks that saved, or from a step at which all are in one epoch",
            )
        if _base(other) != _base(first):
            raise StateMismatch("these states are of different data sets, epochs or beginnings: give those of one step")
    if first.cursor.lane is None:
        return first
    cursors = {one.cursor.lane: one.cursor for one in states if one.cursor.lane is not None}
    if len(cursors) != len(states):
        raise StateMismatch("two states are of the same reader, or one is already merged", hint="give each once")
    rest, taken, begun = first.cursor.rest, {}, []
    for lane, cursor in cursors.items():
        mine, taken[lane] = cursor.mine(lane), cursor.taken
        if cursor.emitted and mine:
            mine[0] = replace(mine[0], emitted=cursor.emitted)
        elif cursor.emitted:
            stop = min(cursor.taken + first.group, lane.count(len(rest)))
            numbers = lane.walk(len(rest)).positions(cursor.taken, stop) % len(rest)
            mine, taken[lane] = [Begun(tuple(runs(rest.positions(numbers))), cursor.emitted)], stop
        begun += mine
    left = rest_after(rest, taken if first.uneven else lockstep(taken))
    return replace(first, cursor=Cursor(left, begun=tuple(begun)))


def _base(state: State) -> tuple[object, ...]:
    cursor = state.cursor
    return state.fingerprint, state.order, state.epoch, state.stages, state.group, cursor.rest, cursor.begun


def skipped(cursor: Cursor, count: int) -> Cursor:
    """`cursor`, of no lane, without the next `count` positions of the rest."""
    rest = cursor.rest
    if count >= len(rest):
        return replace(cursor, rest=Rest(rest.stop, rest.stop))
    if count >= rest.held:
        return replace(cursor, rest=Rest(rest.start + count - rest.held, rest.stop))
    holes = rest.positions(np.arange(count, rest.held))
    return replace(cursor, rest=Rest(rest.start, rest.stop, tuple(runs(holes))))
