"""Dealing positions out to ranks and readers, and on again to any others: each comes exactly once."""

from __future__ import annotations

import pytest

pytest.importorskip("numpy", reason="needs the extra: pip install 'forgather-spool[dataset]'")

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forgather_spool.dataset.errors import StateMismatch
from forgather_spool.dataset.lanes import Lane, Rest, lockstep, parse_rest, rest_after, rest_document, runs


def lanes(ranks: int, readers: int, block: int, remainder: str = "keep") -> list[Lane]:
    return [
        Lane(ranks, rank, readers, reader, block, remainder)  # type: ignore[arg-type]
        for rank in range(ranks)
        for reader in range(readers)
    ]


def positions(lane: Lane, rest: Rest, done: int = 0) -> list[int]:
    found = [walk.positions(0, walk.count) for walk in lane.walks(rest, done)]
    return np.concatenate(found).tolist() if found else []


def everything(rest: Rest) -> list[int]:
    return rest.positions(np.arange(len(rest))).tolist()


RESTS = st.builds(
    lambda start, length, holes: Rest(start, start + length, tuple(runs(np.array(sorted(holes), np.int64)))),
    st.integers(40, 50), st.integers(0, 80), st.sets(st.integers(0, 39), max_size=12),
)  # fmt: skip
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5))


@given(rest=RESTS, shape=SHAPES)
def test_every_position_goes_to_exactly_one_reader(rest: Rest, shape: tuple[int, int, int]) -> None:
    dealt = [position for lane in lanes(*shape) for position in positions(lane, rest)]

    assert sorted(dealt) == sorted(everything(rest))


@given(rest=RESTS, shape=SHAPES, remainder=st.sampled_from(["drop", "pad"]))
def test_all_ranks_get_the_same_number(rest: Rest, shape: tuple[int, int, int], remainder: str) -> None:
    """Dropped are fewer than there are ranks, and only from the end; padded are the first again."""
    dealt: dict[int, list[int]] = {rank: [] for rank in range(shape[0])}
    for lane in lanes(*shape, remainder):
        dealt[lane.rank] += positions(lane, rest)
    every, together = everything(rest), sorted(position for one in dealt.values() for position in one)

    assert len({len(one) for one in dealt.values()}) == 1
    whole = len(every) // shape[0] * shape[0]
    if remainder == "drop":
        assert together == sorted(every[:whole])
    else:
        short = -len(every) % shape[0]
        assert together == sorted(every + [every[number % len(every)] for number in range(short)])


@given(rest=RESTS, shape=SHAPES, data=st.data())
def test_a_reader_goes_on_where_it_stopped(rest: Rest, shape: tuple[int, int, int], data: st.DataObject) -> None:
    lane = data.draw(st.sampled_from(lanes(*shape)))
    done = data.draw(st.integers(0, lane.count(len(rest))))

    assert positions(lane, rest, done) == positions(lane, rest)[done:]


@settings(max_examples=300)
@given(rest=RESTS, shapes=st.lists(SHAPES, min_size=1, max_size=4), data=st.data())
def test_whoever_takes_over_gets_what_is_left(
    rest: Rest, shapes: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Readers stopped anywhere, then other ranks and readers, again and again: each position once."""
    every, given_ = sorted(everything(rest)), []
    for shape in shapes:
        taken = {lane: data.draw(st.integers(0, lane.count(len(rest)))) for lane in lanes(*shape)}
        for lane, count in taken.items():
            given_ += positions(lane, rest)[:count]
        rest = parse_rest(rest_document(rest_after(rest, taken)), rest.stop)

        assert sorted(given_ + everything(rest)) == every


def test_ranks_in_step_leave_one_position_and_nothing_else() -> None:
    rest = rest_after(Rest(0, 1000), {lane: 30 for lane in lanes(4, 1, 1)})

    assert rest == Rest(120, 1000)


def test_whole_batches_of_readers_leave_one_position_when_blocks_are_batches() -> None:
    taken = dict(zip(lanes(1, 3, 8), (16, 16, 8), strict=True))

    assert rest_after(Rest(0, 1000), taken) == Rest(40, 1000)


def test_one_rank_speaks_for_all_that_are_in_step() -> None:
    alone = dict(zip([lane for lane in lanes(3, 2, 4) if lane.rank == 1], (8, 4), strict=True))

    assert rest_after(Rest(0, 100), lockstep(alone)) == Rest(36, 100)


@pytest.mark.parametrize("left_out", [0, 3])
def test_a_reader_that_is_missing_is_named(left_out: int) -> None:
    taken = {lane: 1 for number, lane in enumerate(lanes(2, 2, 1)) if number != left_out}
    with pytest.raises(StateMismatch, match=f"rank {left_out // 2}: 1 states"):
        rest_after(Rest(0, 10), taken)
