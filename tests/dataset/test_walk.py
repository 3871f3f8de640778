"""Walks against a plain reading of their definition."""

from __future__ import annotations

import pytest

from forgather_spool.errors import UsageError

pytest.importorskip("numpy", reason="needs the extra: pip install 'forgather-spool[dataset]'")

from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.dataset.walk import Walk, parse_walk, run

WALKS = st.builds(
    Walk, st.integers(0, 50), st.integers(0, 60), st.integers(1, 7), st.integers(0, 9), st.integers(0, 90)
)


def plain(walk: Walk) -> list[int]:
    return [walk.first + (t // walk.block) * walk.stride + (t % walk.block) * walk.step for t in range(walk.count)]


@given(walk=WALKS, data=st.data())
def test_positions_are_those_of_the_definition(walk: Walk, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, walk.count))

    assert walk.positions(start, walk.count).tolist() == plain(walk)[start:]
    assert walk.last == max(plain(walk), default=-1)
    assert not walk.is_run or plain(walk) == list(range(walk.first, walk.first + walk.count))


@given(walk=WALKS)
def test_text_is_the_walk(walk: Walk) -> None:
    assert parse_walk(walk.text, max(walk.last + 1, walk.count)) == walk


@pytest.mark.parametrize(
    "text", ["0:11:1:0:0", "", "1", "0:11:1:1:1", "0:1:0:1:1", "-1:1:1:1:1", "a:1:1:1:1", "0:1:1:1:1:1"]
)
def test_what_leaves_the_order_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="walk"):
        parse_walk(text, 10)


def test_a_run_is_what_it_says() -> None:
    assert run(3, 6).positions(0, 3).tolist() == [3, 4, 5]
