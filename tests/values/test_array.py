"""Arrays: what their spelling means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgather_spool import array
from forgather_spool.errors import BadDocument


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("0", [0]),
        ("0-3", [0, 1, 2, 3]),
        ("0-10:5", [0, 5, 10]),
        ("0-9:5", [0, 5]),
        ("7,1,3-4", [1, 3, 4, 7]),
        ("1-3,2-4", [1, 2, 3, 4]),
        (" 1 , 2 ", [1, 2]),
    ],
)
def test_both_ends_are_members_and_each_counts_once(text, members):
    assert array.indexes(text) == members


@pytest.mark.parametrize(
    "text",
    ["", "a", "1,", "3-1", "1:2", "0-4:0", "-1", "1--2", "0-1000000", "10000000", "٣", "1-2-3", "0x1", "9" * 5000],
)
def test_what_spells_no_members_is_refused(text):
    with pytest.raises(BadDocument):
        array.indexes(text)


def test_the_most_members_are_fine_and_lists_of_ranges_are_counted_together():
    assert len(array.indexes("0-999999")) == array.MAX_MEMBERS

    with pytest.raises(BadDocument, match="more than"):
        array.indexes("0-999999,2000000")


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(1, 7)), min_size=1, max_size=4))
def test_the_size_is_the_number_of_members(ranges):
    text = ",".join(f"{low}-{low + length}:{step}" for low, length, step in ranges)

    assert array.size(text) == len(array.indexes(text))


@given(st.lists(st.integers(0, array.MAX_INDEX), min_size=1, max_size=40, unique=True).map(sorted))
def test_what_is_spelled_is_understood_again(members):
    assert array.indexes(array.spell(members)) == members


@pytest.mark.parametrize(("text", "said"), [("0-9", ("0-9", None)), ("0-9%4", ("0-9", 4))])
def test_a_limit_follows_the_indexes(text, said):
    assert array.with_limit(text) == said


@pytest.mark.parametrize("text", ["0-9%", "0-9%0", "0-9%-1", "0-9%a", "%3", "0-9%1%2"])
def test_a_limit_that_is_none_is_refused(text):
    with pytest.raises(BadDocument):
        array.with_limit(text)
